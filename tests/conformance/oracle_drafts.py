"""Small checkpoints for tests of the oracle, and a store in memory to read them from."""

from __future__ import annotations

import random
from math import prod

import pytest

from conformance.oracle.encode import Draft, Item, Object, Shard, Tensor, build
from conformance.oracle.errors import Rejected
from conformance.oracle.opening import open_item, open_root
from conformance.oracle.reading import read_region
from conformance.oracle.regions import whole
from conformance.oracle.store import Listed, NoSuchKey, TooLarge
from conformance.oracle.verify import verify


class MemoryStore:
    """A store in a dictionary; `broken` keys fail."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.broken: set[str] = set()
        self.asked: list[tuple[str, int, int]] = []

    def _object(self, key: str) -> bytes:
        if key in self.broken:
            raise Rejected("store.io", "the disk is gone", subject=key)
        if key not in self.objects:
            raise NoSuchKey(key)
        return self.objects[key]

    def get(self, key: str, limit: int | None = None) -> bytes:
        data = self._object(key)
        if limit is not None and len(data) > limit:
            raise TooLarge(len(data))
        return data

    def get_range(self, key: str, begin: int, end: int) -> bytes:
        self.asked.append((key, begin, end))
        data = self._object(key)
        assert 0 <= begin <= end <= len(data)
        return data[begin:end]

    def size(self, key: str) -> int:
        return len(self._object(key))

    def list(self, prefix: str) -> list[Listed]:
        return [Listed(key, len(data), 0.0) for key, data in self.objects.items() if key.startswith(prefix)]

    def names(self, prefix: str) -> list[str]:
        return sorted({key[len(prefix) :].split("/")[0] for key in self.objects if key.startswith(prefix)})


def numbered(count: int, width: int = 4) -> bytes:
    return b"".join(number.to_bytes(width, "little") for number in range(count))


W = Tensor("w", "F32", (4, 6), numbered(24))
B = Tensor("b", "BF16", (3,), numbered(3, 2))
S = Tensor("s", "F64", (), numbered(1, 8))


def draft(**changes) -> Draft:
    """Three tensors of one item in one object."""
    return Draft(items={"model": Item(**{"tensors": (W, B, S), "assets": {"config.json": b"{}"}, **changes})})


def store_of(one: Draft, name: str = "c", **others: Draft) -> MemoryStore:
    checkpoints = {name: one, **others}
    return MemoryStore(
        {f"{place}/{key}": data for place, each in checkpoints.items() for key, data in build(each).items()},
    )


def codes(one: Draft | MemoryStore, *, deep: bool = True) -> list[str]:
    """The codes that verification finds."""
    store = store_of(one) if isinstance(one, Draft) else one
    return sorted({finding.code for finding in verify(store, "c", deep=deep)})


def opened(one: Draft | MemoryStore, item: str = "model"):
    store = store_of(one) if isinstance(one, Draft) else one
    return open_item(store, open_root(store, "c"), item)


def refused(one: Draft | MemoryStore, item: str = "model") -> str:
    """The code with which opening the item is refused; verification finds the same one."""
    with pytest.raises(Rejected) as caught:
        opened(one, item)
    assert codes(one) == [caught.value.code]
    return caught.value.code


def read_all(one: Draft | MemoryStore, path: str, **options) -> bytes:
    item = opened(one)
    number = item.number((path,))
    return read_region(item, number, whole(item.manifest.tensors[number].shape), **options)


def cut(rng: random.Random, shape: tuple[int, ...], pieces: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """A random tiling by boxes: boxes are halved until there are enough."""
    found = [((0,) * len(shape), shape)]
    for _ in range(pieces * 3):
        if len(found) >= pieces:
            break
        offset, size = found.pop(rng.randrange(len(found)))
        wide = [d for d, length in enumerate(size) if length > 1]
        if not wide:
            found.append((offset, size))
            continue
        d = rng.choice(wide)
        at = rng.randrange(1, size[d])
        found.append((offset, (*size[:d], at, *size[d + 1 :])))
        found.append(((*offset[:d], offset[d] + at, *offset[d + 1 :]), (*size[:d], size[d] - at, *size[d + 1 :])))
    return found


def volume(size: tuple[int, ...]) -> int:
    return prod(size)


__all__ = [
    "B",
    "Draft",
    "Item",
    "MemoryStore",
    "Object",
    "S",
    "Shard",
    "Tensor",
    "W",
    "codes",
    "cut",
    "draft",
    "numbered",
    "opened",
    "read_all",
    "refused",
    "store_of",
    "volume",
]
