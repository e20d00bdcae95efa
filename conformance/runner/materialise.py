"""The stores of a case, made anew in a temporary place (CASES.md, section "Stores")."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from ..transactions.s3_faults import Fault
from ..transactions.simulator import Simulator
from .snapshot import Snapshot, of_directory, of_objects
from .suite import CaseFile, SuiteError

__all__ = ["Scene", "fill"]

Json = dict[str, Any]

_OUTSIDE: Final = "$outside"
_PIECE: Final = 1 << 20


class Scene:
    """The stores of one case while it runs; below one temporary directory, or in a simulator."""

    def __init__(self, case: CaseFile) -> None:
        self._case = case
        self._close = ExitStack()
        self._outs = 0
        self._round = 0
        self._simulators: dict[str, Simulator] = {}
        self._saved: Path | None = None

    def __enter__(self) -> Scene:  # noqa: PYI034  typing.Self needs Python 3.11
        with ExitStack() as stack:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="scf-case-", ignore_cleanup_errors=True))
            self._base = Path(os.path.realpath(made))
            for name in ("stores", "outs", "views"):
                (self._base / name).mkdir()
            outside = self._base / "outside"
            _copy(self._case.directory / "outside", outside)
            for name, members in self._case.stores.items():
                fill(self._base / "stores" / name, self._case.directory, members, outside)
                if self.is_s3(name):
                    self._simulators[name] = stack.enter_context(_simulator(members))
            self._upload()
            self._outside = of_directory(outside)
            self._close = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close.close()

    def simulator(self, name: str) -> Simulator:
        """The server of a store of kind s3."""
        if name not in self._simulators:
            raise SuiteError(f"{self._case.id}: the store {name} is not of kind s3")
        return self._simulators[name]

    def faults(self, name: str) -> list[Fault]:
        """The faults of a store of kind s3 that the case asks for."""
        return [Fault(**fault) for fault in self._members(name).get("faults", ())]

    def is_s3(self, name: str) -> bool:
        """Whether a store of the case is of kind s3."""
        return bool(self._members(name).get("kind") == "s3")

    @property
    def directory(self) -> Path:
        """Where all stores of kind directory are."""
        return self._base / "stores"

    def path(self, name: str) -> Path:
        """The directory of a store of kind directory."""
        return self._base / "stores" / name

    def message(self, name: str) -> Json:
        """A store as requests have it."""
        if not self.is_s3(name):
            return {"kind": "directory", "path": str(self.path(name))}
        return {
            "kind": "s3",
            "endpoint": self.simulator(name).endpoint,
            "bucket": self._bucket(name),
            "prefix": "",
        }

    def out(self) -> Path:
        """A fresh directory for files of a response."""
        self._outs += 1
        directory = self._base / "outs" / str(self._outs)
        directory.mkdir()
        return directory

    def snapshot(self, name: str) -> Snapshot:
        """What lies in a store now."""
        if self.is_s3(name):
            return of_objects(self.simulator(name).dump(self._bucket(name)))
        return of_directory(self.path(name))

    def view(self, name: str) -> Path:
        """A directory with what lies in a store now, to be looked at by the oracle."""
        if not self.is_s3(name):
            return self.path(name)
        directory = self._base / "views" / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        self.simulator(name).dump_tree(directory, self._bucket(name))
        return directory

    def outside_findings(self) -> list[str]:
        """What changed outside the stores; nothing may."""
        found = [f"outside/{each}" for each in self._outside.differences(of_directory(self._base / "outside"))]
        found += _others(self._base, {"stores", "outs", "views", "outside", "saved"}, "")
        return found + _others(self._base / "stores", set(self._case.stores), "stores/")

    def save(self) -> None:
        """Remember the stores as they are now, for ``reset``."""
        self._saved = self._base / "saved"
        for name in self._case.stores:
            _copy(self.view(name), self._saved / name, times=True)

    def reset(self) -> None:
        """Make the stores as they were when saved; those of kind s3 under another bucket's name."""
        if self._saved is None:
            raise SuiteError(f"{self._case.id}: nothing was saved")
        for name in self._case.stores:
            shutil.rmtree(self.path(name))
            _copy(self._saved / name, self.path(name), times=True)
        self._round += 1
        self._upload()

    def _members(self, name: str) -> Mapping[str, Any]:
        if name not in self._case.stores:
            raise SuiteError(f"{self._case.id}: there is no store {name}")
        return self._case.stores[name]

    def _bucket(self, name: str) -> str:
        return f"scf-{name}-{self._round}"

    def _upload(self) -> None:
        for name, simulator in self._simulators.items():
            simulator.add_bucket(self._bucket(name))
            simulator.load(self.path(name), self._bucket(name))
            simulator.clear()
            simulator.plan(*self.faults(name))


def fill(directory: Path, case: Path, members: Mapping[str, Any], outside: Path) -> None:
    """Make one store of a case in a directory."""
    if "from" in members:
        if not (case / members["from"]).is_dir():
            raise SuiteError(f"{case.name}: there is no directory {members['from']}")
        _copy(case / members["from"], directory)
    directory.mkdir(exist_ok=True)
    for pad in members.get("pads", ()):
        _pad(directory / pad["path"], pad["byte"], pad["count"])
    for key, target in members.get("links", {}).items():
        place = directory / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(str(outside) + target[len(_OUTSIDE) :] if target.startswith(_OUTSIDE) else target)
    ages = members.get("ages", {})
    if ages:
        _age(directory, ages)


def _simulator(members: Mapping[str, Any]) -> Simulator:
    """A server for one store."""
    made = Simulator(ignore_conditions=members.get("ignore_conditions", False), page=members.get("page", 1000))
    made.clock.offset = members.get("clock", 0)
    return made


def _pad(path: Path, byte: int, count: int) -> None:
    """Append bytes; zeros take no space where the file system has holes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if byte == 0:
            file.truncate(file.tell() + count)
            return
        while count:
            piece = min(count, _PIECE)
            file.write(bytes([byte]) * piece)
            count -= piece


def _age(directory: Path, ages: Mapping[str, float]) -> None:
    now = time.time()
    for path in directory.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            continue
        age = ages.get(path.relative_to(directory).as_posix(), ages.get("*"))
        if age is not None:
            os.utime(path, (now - age, now - age), follow_symlinks=False)


def _copy(source: Path, target: Path, *, times: bool = False) -> None:
    """Copy a directory with its links, and the times of its files if wanted; an absent one is an empty one."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(source) if source.is_dir() else ():
        place = target / entry.name
        if entry.is_symlink():
            place.symlink_to(os.readlink(entry.path))
        elif entry.is_dir():
            _copy(Path(entry.path), place, times=times)
        else:
            shutil.copyfile(entry.path, place)
            if times:
                shutil.copystat(entry.path, place)


def _others(directory: Path, known: set[str], prefix: str) -> list[str]:
    return [f"{prefix}{name} is new" for name in sorted(os.listdir(directory)) if name not in known]
