"""A model of a checkpoint as a directory that transformers and serving engines load."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.open import OpenCheckpoint, open_root
from pyckpt.engine.options import Progress
from pyckpt.engine.rounds import Fate, round_trip
from pyckpt.engine.threads import default_threads
from pyckpt.errors import RankError, UsageError
from pyckpt.frameworks import framework_for
from pyckpt.interop.hf.config import config_text
from pyckpt.interop.hf.draft import Draft, Wishes, make_draft
from pyckpt.interop.hf.files import copy_asset, copy_tokenizer
from pyckpt.interop.hf.new_directory import NewDirectory, free_target
from pyckpt.interop.hf.plan import PlannedFile, deal_files, file_header, pack_files, unpack_files
from pyckpt.interop.hf.report import ExportReport, pack_report, unpack_report
from pyckpt.interop.hf.write import write_files
from pyckpt.storage.url import open_store, split_url

__all__ = ["export"]

_TIMEOUT = 86_400.0
_SILENCE = 60.0
"""Seconds. A rank may write for hours; one that gives no sign of life meanwhile is dead."""


def export(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    item: str | None = None,
    tokenizer: Any = None,
    config: Any = None,
    dtype: Any = None,
    max_shard_size: int | str = "5GB",
    map_key: Callable[[str], str | None] | None = None,
    strict: bool = True,
    link: bool = True,
    verify: bool = True,
    expect: str | None = None,
    threads: int | None = None,
    collective: bool | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Writes a model of a checkpoint to ``out``, a directory that is absent or empty, as transformers would save it.

    ``item`` is the model to take, if there are several. ``config`` (a path, a dict, a config of transformers) and
    ``tokenizer`` (a directory, a tokenizer of transformers) take the place of the item's assets. ``dtype`` casts
    floating-point tensors; ``map_key`` maps names of the checkpoint to names of the export, None leaves one out.
    ``strict`` refuses names and shapes other than those of the config's model. ``link`` makes hard links where a data
    object is such a file already: those must not be edited in place. ``expect`` is the digest that the root must have.

    With a process group, all ranks call it together and share the files; the arguments of rank 0 count. Nothing is
    left behind if it fails. Raises StateMismatch, UsageError, NotFound, Corrupt, Unsupported, StoreError, RankError.
    """
    begin = time.perf_counter()
    store_url, name = split_url(checkpoint)
    store = open_store(store_url)
    threads = default_threads() if threads is None else threads
    if threads < 1:
        raise UsageError("usage.invalid", f"threads is {threads}, expected at least 1")
    wishes = Wishes(item, tokenizer, config, dtype, max_shard_size, map_key, strict, link, verify)
    coordinator = framework_for("auto").coordinator(
        f"export {store.url} {name}", collective=collective, timeout=_TIMEOUT, silence=_SILENCE
    )
    work = _Export(coordinator, wishes, begin)
    fate = Fate()
    try:
        plan = round_trip(
            coordinator,
            "plan",
            lambda: work.look(open_root(store, name, expect=expect), free_target(out)),
            work.plan,
        )
        answer = round_trip(coordinator, "write", lambda: work.write(plan, threads, progress), work.finish, fate)
    except BaseException:
        work.discard(fate)
        raise
    finally:
        coordinator.close()
    return unpack_report(answer)


class _Export:
    """One export as one rank sees it, step by step."""

    def __init__(self, coordinator: Coordinator, wishes: Wishes, begin: float) -> None:
        self._ranks, self._wishes, self._begin = coordinator, wishes, begin
        self._opened: OpenCheckpoint | None = None
        self._path = ""
        self._target = ""
        self._draft: Draft | None = None
        self._directory: NewDirectory | None = None
        self._has_written = False

    def look(self, opened: OpenCheckpoint, target: str) -> bytes:
        """Every rank: which checkpoint it sees, and where the export goes."""
        self._opened, self._target = opened, target
        data: bytes = msgpack.packb([opened.root.digest, target])
        return data

    def plan(self, gathered: Sequence[bytes]) -> bytes:
        """Rank 0: everything is decided, and the directory is made."""
        for rank, data in enumerate(gathered):
            if data != gathered[0]:
                digest, target = msgpack.unpackb(data)
                raise RankError(
                    "store.split",
                    f"sees the checkpoint {digest} and writes to {target!r}, rank 0 {self._seen.root.digest} and "
                    f"{self._target!r}",
                    key=f"rank {rank}",
                    hint="all ranks pass the same checkpoint and the same directory of a file system that they share",
                )
        self._draft = make_draft(self._seen, self._wishes)
        # Headers are made once before the first byte is written: a name that none can hold is an error by then.
        for file in self._draft.files:
            file_header(file)
        self._directory = NewDirectory(self._target)
        plan: bytes = msgpack.packb([self._draft.item, self._directory.path, pack_files(self._draft.files)])
        return plan

    def write(self, plan: bytes, threads: int, progress: Progress | None) -> bytes:
        """Every rank: its share of the files that were planned."""
        name, self._path, files = msgpack.unpackb(plan)
        item = self._seen.item(name)
        if not os.path.isdir(self._path):
            raise RankError(
                "store.split",
                "does not see the directory that rank 0 has made",
                key=f"rank {self._ranks.rank}",
                hint=f"{os.path.dirname(self._path)} must be one file system for all ranks",
            )
        linked = write_files(
            self._seen.store,
            item,
            self._path,
            deal_files(unpack_files(files, item), self._ranks.size)[self._ranks.rank],
            verify=self._wishes.verify,
            threads=threads,
            progress=progress,
        )
        self._has_written = True
        data: bytes = msgpack.packb(linked)
        return data

    def finish(self, gathered: Sequence[bytes]) -> bytes:
        """Rank 0: everything beside the weights, and the directory gets its name."""
        draft, directory = self._draft, self._directory
        assert draft is not None
        assert directory is not None
        for file in draft.files:
            if not os.path.exists(os.path.join(directory.path, file.name)):
                raise RankError(
                    "store.split",
                    f"{file.name}, which another rank has written, is not in {directory.path}",
                    key="rank 0",
                    hint="the directory must be on one file system for all ranks",
                )
        for name in draft.assets:
            copy_asset(self._seen, draft.item, name, directory)
        if self._wishes.tokenizer is not None:
            copy_tokenizer(self._wishes.tokenizer, directory)
        if draft.generation_config is not None:
            directory.write("generation_config.json", draft.generation_config)
        directory.write("config.json", config_text(draft.config))
        if len(draft.files) > 1:
            directory.write("model.safetensors.index.json", _index(draft.files))
        directory.publish()
        return pack_report(self._report(draft, sum(msgpack.unpackb(data) for data in gathered)))

    def discard(self, fate: Fate) -> None:
        """What there is of the directory goes.

        Other ranks than 0 remove what they wrote only after they heard that all gave up: before, somebody may still be
        writing, or the directory be about to get its name. Rank 0 may have given this one up, and removed it too early.
        """
        if self._directory is not None:
            self._directory.discard()
        elif self._has_written and fate.known:
            shutil.rmtree(self._path, ignore_errors=True)

    @property
    def _seen(self) -> OpenCheckpoint:
        assert self._opened is not None
        return self._opened

    def _report(self, draft: Draft, linked: int) -> ExportReport:
        weights = [weight for file in draft.files for weight in file.weights]
        return ExportReport(
            path=self._target,
            checkpoint=self._seen.url,
            digest=self._seen.root.digest,
            item=draft.item,
            files=tuple(file.name for file in draft.files),
            tensors=len(weights),
            parameters=sum(weight.elements for weight in weights),
            bytes=sum(weight.nbytes for weight in weights),
            linked=linked,
            dtype=draft.dtype,
            architecture=draft.architecture,
            unchecked=draft.unchecked,
            aliases=draft.aliases,
            findings=draft.findings,
            left_out=draft.left_out,
            remarks=draft.remarks,
            seconds=time.perf_counter() - self._begin,
        )


def _index(files: Sequence[PlannedFile]) -> bytes:
    weights = [(weight, file.name) for file in files for weight in file.weights]
    index = {
        "metadata": {
            "total_parameters": sum(weight.elements for weight, _ in weights),
            "total_size": sum(weight.nbytes for weight, _ in weights),
        },
        "weight_map": {weight.name: name for weight, name in weights},
    }
    return (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()
