"""A store as it was at one moment, in memory: what audits compare with."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import Rejected
from .store import Listed, NoSuchKey, Store, TooLarge


class Snapshot:
    """A store that only reads, made of the bytes under each key."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        """Keep the objects; times are not kept."""
        self.objects = objects

    @staticmethod
    def take(store: Store) -> Snapshot:
        """Everything that a store lists."""
        return Snapshot({one.key: store.get(one.key) for one in store.list("")})

    def get(self, key: str, limit: int | None = None) -> bytes:
        """All bytes of the object."""
        if key not in self.objects:
            raise NoSuchKey(key)
        data = self.objects[key]
        if limit is not None and len(data) > limit:
            raise TooLarge(len(data))
        return data

    def get_range(self, key: str, begin: int, end: int) -> bytes:
        """The bytes [begin, end)."""
        data = self.get(key)
        if not 0 <= begin <= end <= len(data):
            raise Rejected("store.io", f"bytes [{begin}, {end}) of an object of {len(data)} bytes", subject=key)
        return data[begin:end]

    def size(self, key: str) -> int:
        """Bytes of the object."""
        return len(self.get(key))

    def names(self, prefix: str) -> list[str]:
        """The distinct first segments below the prefix."""
        below = (key[len(prefix) :] for key in self.objects if key.startswith(prefix))
        return sorted({rest.partition("/")[0] for rest in below})

    def list(self, prefix: str) -> list[Listed]:
        """Every object whose key begins with the prefix."""
        return [Listed(key, len(self.objects[key]), 0.0) for key in sorted(self.objects) if key.startswith(prefix)]
