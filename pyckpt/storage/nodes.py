"""A directory on each node's own disk, together one store.

Data objects lie on the node that wrote them; whatever is small (markers, manifests, assets, roots, tombstones) on every
node. So any node that is left knows every checkpoint, and a checkpoint is whole as long as every object of it is on
some node. The root is the last thing that a node gets.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from types import TracebackType

from pyckpt.errors import PyckptError
from pyckpt.format.keys import ROOT_NAME, tombstone_key
from pyckpt.format.root import Root, decode_root
from pyckpt.limits import MAX_ROOT_BYTES
from pyckpt.storage.base import (
    AlreadyThere,
    Bytes,
    ObjectInfo,
    ObjectMissing,
    ObjectReader,
    ObjectWriter,
    check_key,
    read_whole,
)
from pyckpt.storage.local import LocalStore
from pyckpt.storage.node_link import NodeClient

__all__ = ["NodeStore"]


class NodeStore:
    """This node's directory and, once ``join`` was called, those of the other nodes of the job."""

    parallel_writes = True
    conditional_put = "native"

    def __init__(self, url: str, local: LocalStore, node: str) -> None:
        self.url = url
        self.local = local
        self.node = node
        self._others: tuple[NodeClient, ...] = ()

    def __repr__(self) -> str:
        return f"NodeStore({self.url!r}, {self.node!r})"

    def join(self, others: Sequence[NodeClient]) -> None:
        """Makes the other nodes' directories part of the store."""
        self._others = tuple(others)

    def leave(self) -> None:
        """Ends the connections to the other nodes."""
        for each in self._others:
            each.close()
        self._others = ()

    def get(self, key: str, *, limit: int) -> bytes:
        """Give the whole object. ObjectMissing, LimitExceeded."""
        if _is_root(key) and self._others:
            data = self._root(key, limit)
            if data is None:
                raise ObjectMissing(key)
            return data
        with self.open_reader(key) as reader:
            return read_whole(reader, key, limit)

    def read_into(self, key: str, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectMissing, ObjectShort."""
        with self.open_reader(key) as reader:
            reader.read_into(offset, views)

    def open_reader(self, key: str) -> ObjectReader:
        """Open an object, on whichever node it is. ObjectMissing."""
        try:
            return self.local.open_reader(key)
        except ObjectMissing:
            for each in self._others:
                info = each.info(key)
                if info is not None:
                    return _RemoteReader(each, info)
            raise

    def create_writer(self, key: str, size: int | None) -> ObjectWriter:
        """Begin a new object on this node. AlreadyThere."""
        return self.local.create_writer(key, size)

    def replace_writer(self, key: str, size: int | None) -> ObjectWriter:
        """Begin an object on this node."""
        return self.local.replace_writer(key, size)

    def put_new(self, key: str, data: Bytes) -> None:
        """Create a small object on all nodes if the key is free on all of them. AlreadyThere."""
        if self.info(key) is not None:
            raise AlreadyThere(key)
        if _is_root(key):
            # What is left of a checkpoint that was deleted while its node was away would stand in the way.
            for each in self._others:
                if each.info(key) is not None:
                    each.delete(key)
            self.local.delete(key)
        self.local.put_new(key, data)
        for each in self._others:
            each.put_new(key, data)

    def put(self, key: str, data: Bytes) -> None:
        """Create or replace a small object on all nodes."""
        check_key(key)
        for each in self._others:
            each.put(key, data)
        self.local.put(key, data)

    def info(self, key: str) -> ObjectInfo | None:
        """Give size and time of an object, or None if no node has one."""
        infos = [self.local.info(key)]
        if infos[0] is None or _is_root(key):
            infos += [each.info(key) for each in self._others]
        found = next((info for info in infos if info is not None), None)
        if found is None or not _is_root(key) or not self._others or None not in infos:
            return found
        return found if self._root(key, MAX_ROOT_BYTES) is not None else None

    def list_names(self, prefix: str) -> list[str]:
        """Give the distinct first segments below a prefix, on any node, sorted."""
        return sorted({*self.local.list_names(prefix)}.union(*(each.list_names(prefix) for each in self._others)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Give all the objects below a prefix, on any node, sorted by key; of one key the youngest."""
        last: ObjectInfo | None = None
        rows = [self.local.list(prefix), *(each.list(prefix) for each in self._others)]
        for info in heapq.merge(*rows, key=lambda each: (each.key, -each.modified)):
            if last is None or info.key != last.key:
                yield info
            last = info

    def delete(self, key: str) -> None:
        """Remove an object from all nodes; one that is absent is no error."""
        check_key(key)
        for each in self._others:
            each.delete(key)
        self.local.delete(key)

    def now(self) -> float:
        """Give this node's clock: the nodes of a job have one time, as far as a grace period goes."""
        return self.local.now()

    def _root(self, key: str, limit: int) -> bytes | None:
        """The newest root that nodes have under a key, but none whose deletion a node has missed."""
        copies: list[bytes | None] = []
        for at in (None, *self._others):
            try:
                copies.append(self.local.get(key, limit=limit) if at is None else _whole(at, key, limit))
            except ObjectMissing:
                copies.append(None)
        name = key.split("/", 1)[0]
        best: tuple[tuple[int, str], bytes] | None = None
        damaged: bytes | None = None
        for data in {each for each in copies if each is not None}:
            root = _decoded(data, name)
            if root is None:
                damaged = data
            elif copies.count(data) == len(copies) or not self._is_deleted(name, root.digest):
                best = max(best or ((0, ""), b""), ((root.sequence, root.digest), data))
        return best[1] if best is not None else damaged

    def _is_deleted(self, name: str, digest: str) -> bool:
        key = tombstone_key(name, digest)
        return self.local.info(key) is not None or any(each.info(key) is not None for each in self._others)


class _RemoteReader:
    """An object on another node; thread-safe."""

    def __init__(self, node: NodeClient, info: ObjectInfo) -> None:
        self._node = node
        self._key = info.key
        self.size = info.size

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None:
        """Fill all the views from one contiguous range. ObjectShort."""
        self._node.read_into(self._key, offset, views)

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> _RemoteReader:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def _whole(node: NodeClient, key: str, limit: int) -> bytes:
    info = node.info(key)
    if info is None:
        raise ObjectMissing(key)
    return read_whole(_RemoteReader(node, info), key, limit)


def _is_root(key: str) -> bool:
    name, _, rest = key.partition("/")
    return bool(name) and rest == ROOT_NAME


def _decoded(data: bytes, name: str) -> Root | None:
    try:
        return decode_root(data, checkpoint=name)
    except PyckptError:
        return None
