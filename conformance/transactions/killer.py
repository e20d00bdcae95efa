"""Kills an implementation that works over a directory at its k-th call that changes what lies there."""

from __future__ import annotations

import hashlib
import mmap
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TypeAlias

__all__ = ["Call", "Killer", "KillerUnavailable", "When"]

When: TypeAlias = Literal["before", "after"]

_SOURCE: Final = Path(__file__).with_name("killer.c")
_RECORD: Final = struct.Struct("=i20s1000s")
_CAPACITY: Final = 16384
_SIZE: Final = _RECORD.size * (1 + _CAPACITY)
_WORD: Final = struct.Struct("=I")
_LONG: Final = struct.Struct("=Q")
_ARMED, _AFTER, _SPARED, _ATTACHED, _KILLED, _AT, _COUNT = 0, 4, 8, 12, 16, 24, 32
"""Places in the control file, whose layout killer.c has; its first 1024 bytes precede the table of calls."""


class KillerUnavailable(Exception):
    """Processes can't be killed so on this computer; the text says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changes what lies below the directory: a C library's function, and the path that it is about."""

    number: int
    pid: int
    name: str
    path: str


class Killer:
    """Counts the calls of the processes that are started with its environment, and kills them at one.

    The implementation is started as the leader of a session or process group of its own, as the whole group is killed.
    Nothing counts before ``arm``, so that what happens while a program starts does not matter.
    """

    def __init__(self, library: Path, directory: str, files: Path) -> None:
        self._library = library
        self._directory = directory
        self._files = files
        path = files / "control"
        with path.open("xb+") as file:
            file.truncate(_SIZE)
            self._control = mmap.mmap(file.fileno(), _SIZE)
        self._path = path
        self._set(_WORD, _SPARED, os.getpgrp())

    @classmethod
    def prepare(cls, directory: str | os.PathLike[str]) -> Killer:
        """Make a killer for the changes below a directory; it counts, and kills nobody yet. KillerUnavailable."""
        if platform.system() != "Linux":
            raise KillerUnavailable("the calls of a process are intercepted on Linux only")
        library = _library()
        return cls(library, os.path.realpath(directory), Path(tempfile.mkdtemp(prefix="scf-killer-")))

    def __enter__(self) -> Killer:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the files of this killer; no process of its environment may be left."""
        self._control.close()
        shutil.rmtree(self._files, ignore_errors=True)

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Give the environment for the implementation: ``base``, or this process's, with what the killer needs."""
        found = dict(os.environ if base is None else base)
        preload = [str(self._library), *found.get("LD_PRELOAD", "").split()]
        return {
            **found,
            "LD_PRELOAD": " ".join(preload),
            "SCF_KILL_CONTROL": str(self._path),
            "SCF_KILL_DIR": self._directory,
            "UV_USE_IO_URING": "0",  # Node.js: by calls, not by rings
        }

    def kill_at(self, number: int, when: When = "before") -> None:
        """Let the call of this number be deadly, before or after it takes effect; 0: only count. Counts begin anew."""
        if not 0 <= number < 1 << 64:
            raise ValueError("the number of a call is not negative")
        self.disarm()
        used = min(self.count, _CAPACITY) * _RECORD.size
        self._control[_RECORD.size : _RECORD.size + used] = bytes(used)
        self._set(_WORD, _KILLED, 0)
        self._set(_WORD, _AFTER, int(when == "after"))
        self._set(_LONG, _COUNT, 0)
        self._set(_LONG, _AT, number)

    def arm(self) -> None:
        """Begin or go on to count."""
        self._set(_WORD, _ARMED, 1)

    def disarm(self) -> None:
        """Cease to count."""
        self._set(_WORD, _ARMED, 0)

    @property
    def count(self) -> int:
        """How many calls there were."""
        return self._get(_LONG, _COUNT)

    @property
    def attached(self) -> int:
        """How many programs were started within reach; 0 means that the implementation can't be killed so."""
        return self._get(_WORD, _ATTACHED)

    @property
    def killed(self) -> bool:
        """Whether the deadly call has come."""
        return bool(self._get(_WORD, _KILLED))

    def calls(self) -> list[Call]:
        """Give the calls in their order; no more than the first 16384."""
        return [self._call(number) for number in range(1, min(self.count, _CAPACITY) + 1)]

    def _call(self, number: int) -> Call:
        pid, name, path = _RECORD.unpack_from(self._control, number * _RECORD.size)
        return Call(number, pid, _text(name), _text(path))

    def _set(self, form: struct.Struct, place: int, value: int) -> None:
        form.pack_into(self._control, place, value)

    def _get(self, form: struct.Struct, place: int) -> int:
        return int(form.unpack_from(self._control, place)[0])


def _text(field: bytes) -> str:
    return os.fsdecode(field.split(b"\0", 1)[0])


def _library() -> Path:
    """Give the library, compiled now or earlier from the same source. KillerUnavailable."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise KillerUnavailable("there is no C compiler: none of cc, gcc and clang is on the PATH")
    if sys.maxsize < 1 << 32:
        raise KillerUnavailable("the calls of a process are intercepted on 64-bit computers only")
    home = _private_directory()
    identity = b"\0".join((_SOURCE.read_bytes(), compiler.encode(), platform.machine().encode()))
    library = home / f"killer-{hashlib.sha256(identity).hexdigest()[:32]}.so"
    if not library.exists():
        _compile(compiler, library)
    return library


def _private_directory() -> Path:
    home = Path(tempfile.gettempdir()) / f"scf-killer-{os.getuid()}"
    if any(character in " :" for character in str(home)):
        raise KillerUnavailable(f"a preloaded library can't lie in {str(home)!r}: the path has a space or a colon")
    home.mkdir(mode=0o700, exist_ok=True)
    status = home.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise KillerUnavailable(f"{home} does not belong to this user alone")
    return home


def _compile(compiler: str, library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        made = Path(scratch) / "killer.so"
        options = ("-std=c11", "-O2", "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-o", str(made), str(_SOURCE), "-ldl")
        run = subprocess.run((compiler, *options), capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise KillerUnavailable(f"{compiler} can't compile {_SOURCE.name}: {run.stderr.strip()[-400:]}")
        made.replace(library)
