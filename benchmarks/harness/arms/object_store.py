"""Arms of an object store of the S3 protocol, which is found by the AWS variables of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.harness.arms.base import Arm, Unavailable, copy_into
from benchmarks.harness.arms.limits import Pieces
from benchmarks.harness.state import State

__all__ = ["DcpFsspec", "FsspecFile", "RawObjects", "remove"]

OBJECT = 16 << 20
"""Bytes of one object of the raw writer."""


def remove(url: str) -> None:
    """Deletes all objects below a URL."""
    import obstore

    store = _store(url)
    for page in obstore.list(store):
        obstore.delete(store, [each["path"] for each in page])


def _store(url: str) -> Any:
    from obstore.store import S3Store

    return S3Store.from_url(url, client_options={"allow_http": True})


class RawObjects(Pieces):
    """The bytes as they lie in memory, as objects of equal size, sent and fetched in parallel."""

    piece = OBJECT
    durable = True

    def save(self, path: str) -> None:
        """Sends all."""
        import obstore

        store, memory = _store(path), self.state.memory

        def put(start: int, stop: int) -> None:
            obstore.put(store, self._key(start), memory[start:stop])

        self.each(put, len(memory))

    def load(self, path: str) -> None:
        """Fetches all."""
        import obstore

        store, memory = _store(path), self.target.memory

        def get(start: int, stop: int) -> None:
            memory[start:stop] = memoryview(obstore.get(store, self._key(start)).bytes())

        self.each(get, len(memory))

    def _key(self, start: int) -> str:
        return f"{self.state.rank}-{start // self.piece}"


class FsspecFile(Arm):
    """``torch.save``, or safetensors, into a file that fsspec opens."""

    durable = True

    def open(self, state: State, target: State) -> None:
        """Imports."""
        super().open(state, target)
        if state.ranks > 1:
            raise Unavailable("writes whole tensors from one process")
        import fsspec
        import s3fs  # noqa: F401 - without it the first save would fail
        from safetensors.torch import load, save

        self._open: Callable[..., Any] = fsspec.open
        self._to_bytes, self._from_bytes = save, load

    def save(self, path: str) -> None:
        """One object."""
        with self._open(f"{path}/file", "wb") as file:
            if self.options["format"] == "torch":
                torch.save(dict(self.state.tensors), file)
            else:
                file.write(self._to_bytes(dict(self.state.tensors)))

    def load(self, path: str) -> None:
        """All of it, then copies."""
        with self._open(f"{path}/file", "rb") as file:
            if self.options["format"] == "torch":
                copy_into(self.target, torch.load(file, weights_only=True))
            else:
                copy_into(self.target, self._from_bytes(file.read()))


class DcpFsspec(Arm):
    """DCP with its reader and writer for fsspec."""

    durable = True

    def open(self, state: State, target: State) -> None:
        """Imports."""
        super().open(state, target)
        import s3fs  # noqa: F401
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader, FsspecWriter

        self._dcp, self._reader, self._writer = dcp, FsspecReader, FsspecWriter

    def save(self, path: str) -> None:
        """All ranks together, or one process without a group."""
        writer = self._writer(path, thread_count=self.options["threads"])
        self._dcp.save(dict(self.state.tensors), storage_writer=writer, no_dist=self.state.ranks == 1)

    def load(self, path: str) -> None:
        """In place."""
        reader = self._reader(path)
        self._dcp.load(dict(self.target.tensors), storage_reader=reader, no_dist=self.target.ranks == 1)
