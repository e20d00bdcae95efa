"""Makes ``SHA256SUMS`` of a checkpoint while it is verified: from the very bytes whose digests were checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from pyckpt.cli.arguments import BadArgument
from pyckpt.engine.open import OpenCheckpoint, descriptor_key, open_root
from pyckpt.format.keys import ROOT_NAME, join
from pyckpt.storage.base import Bytes, ObjectInfo, ObjectReader, ObjectWriter, Store

__all__ = ["SummingStore", "own_keys", "write_sums"]

_PIECE = 8 << 20


class SummingStore:
    """A store that remembers the SHA-256 of every object that is read from its first byte to its last, in order."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url
        self.parallel_writes = store.parallel_writes
        self.conditional_put = store.conditional_put
        self.sums: dict[str, str] = {}
        """Key -> 64 hex digits."""

    def get(self, key: str, *, limit: int) -> bytes:
        """As the store's, remembered."""
        data = self._store.get(key, limit=limit)
        self.sums[key] = hashlib.sha256(data).hexdigest()
        return data

    def open_reader(self, key: str) -> ObjectReader:
        """As the store's, remembered if it is read to the end."""
        return _SummingReader(self._store.open_reader(key), key, self.sums)

    def sum_of(self, key: str) -> str:
        """The digest of an object; it is read once more only if it was not read in order before."""
        if key not in self.sums:
            with self.open_reader(key) as reader:
                buffer = memoryview(bytearray(min(reader.size, _PIECE)))
                for at in range(0, reader.size, _PIECE):
                    reader.read_into(at, [buffer[: min(_PIECE, reader.size - at)]])
        return self.sums[key]

    def read_into(self, key: str, offset: int, views: Sequence[memoryview]) -> None:
        """As the store's."""
        self._store.read_into(key, offset, views)

    def create_writer(self, key: str, size: int | None) -> ObjectWriter:
        """As the store's."""
        return self._store.create_writer(key, size)

    def replace_writer(self, key: str, size: int | None) -> ObjectWriter:
        """As the store's."""
        return self._store.replace_writer(key, size)

    def put_new(self, key: str, data: Bytes) -> None:
        """As the store's."""
        self._store.put_new(key, data)

    def put(self, key: str, data: Bytes) -> None:
        """As the store's."""
        self._store.put(key, data)

    def info(self, key: str) -> ObjectInfo | None:
        """As the store's."""
        return self._store.info(key)

    def list_names(self, prefix: str) -> list[str]:
        """As the store's."""
        return self._store.list_names(prefix)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As the store's."""
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        """As the store's."""
        self._store.delete(key)

    def now(self) -> float:
        """As the store's."""
        return self._store.now()


class _SummingReader:
    """An object being read by one thread, hashed as long as the reads follow each other."""

    def __init__(self, reader: ObjectReader, key: str, sums: dict[str, str]) -> None:
        self._reader = reader
        self._key = key
        self._sums = sums
        self._state = hashlib.sha256()
        self._at = 0

    @property
    def size(self) -> int:
        return self._reader.size

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        self._reader.read_into(offset, views)
        if offset == self._at:
            for view in views:
                self._state.update(view)
                self._at += view.nbytes

    def close(self) -> None:
        if self._at == self._reader.size:
            self._sums[self._key] = self._state.hexdigest()
        self._reader.close()

    def __enter__(self) -> _SummingReader:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def own_keys(opened: OpenCheckpoint) -> list[str]:
    """Store keys of everything that the checkpoint names by ``key``: root, manifests, data objects, assets."""
    prefix = join(opened.name, "")
    keys = {join(opened.name, ROOT_NAME)}
    for name, entry in opened.root.items.items():
        keys.update(descriptor_key(opened.name, each) for each in (entry.manifest, *entry.assets.values()))
        keys.update(opened.item(name).object_keys)
    return sorted(key for key in keys if key.startswith(prefix))


def write_sums(path: str, store: SummingStore, name: str) -> int:
    """Writes a verified checkpoint's sums, for ``sha256sum -c`` in its directory; gives the number of lines."""
    prefix = join(name, "")
    keys = own_keys(open_root(store, name))
    text = "".join([f"{store.sum_of(key)}  {key.removeprefix(prefix)}\n" for key in keys])
    with _writing(path) as file:
        file.write(text.encode())
    return len(keys)


def _writing(path: str) -> Any:
    try:
        return open(os.fspath(path), "wb")
    except OSError as error:
        raise BadArgument("usage.invalid", f"the sums can't be written: {error.strerror}", key=path) from error
