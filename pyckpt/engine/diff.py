"""What differs between two checkpoints: items, paths, shapes, dtypes, scalars, and the bytes of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pyckpt.engine.checkpoint import LazyTensor, Reading
from pyckpt.engine.open import OpenCheckpoint, OpenItem
from pyckpt.format.dtypes import byte_count, dtype_of
from pyckpt.format.geometry import Box, Ints, Region, cut_region
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.tree import Path, TensorRef, path_text, walk
from pyckpt.format.tree_encode import encode_tree

__all__ = ["DiffReport", "Difference", "diff"]

Change = Literal["only in A", "only in B", "kind", "dtype", "shape", "value", "bytes", "unknown"]
COMPARE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs."""

    item: str
    path: str
    change: Change
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class DiffReport:
    """Outcome of a comparison; ``compared_bytes`` were equal or unequal by digest or, if asked for, by value."""

    differences: tuple[Difference, ...]
    tensors: int
    by_digest: int
    """Tensors that could be compared by their digests alone."""

    @property
    def equal(self) -> bool:
        """True if nothing differs."""
        return not self.differences


def diff(a: OpenCheckpoint, b: OpenCheckpoint, *, values: bool = False) -> DiffReport:
    """Compares two checkpoints. Tensors stored in different shards are ``unknown`` unless ``values`` reads them."""
    found: list[Difference] = []
    tensors = digests = 0
    for name in dict.fromkeys([*a.root.items, *b.root.items]):
        if name not in b.root.items:
            found.append(Difference(name, "", "only in A", "item", "-"))
            continue
        if name not in a.root.items:
            found.append(Difference(name, "", "only in B", "-", "item"))
            continue
        left, right = a.item(name), b.item(name)
        if left.kind != right.kind:
            found.append(Difference(name, "", "kind", left.kind, right.kind))
        for path, one, two in _pairs(left.tree, right.tree):
            if isinstance(one, TensorRef) and isinstance(two, TensorRef):
                tensors += 1
                change, known = _tensor(a, b, left, right, one.index, two.index, values=values)
                digests += known
                if change is not None:
                    found.append(Difference(name, path_text(path), *change))
            elif one is _NOTHING:
                found.append(Difference(name, path_text(path), "only in B", "-", _text(two, right)))
            elif two is _NOTHING:
                found.append(Difference(name, path_text(path), "only in A", _text(one, left), "-"))
            elif not _same(one, two):
                found.append(Difference(name, path_text(path), "value", _text(one, left), _text(two, right)))
    return DiffReport(tuple(found), tensors, digests)


_NOTHING = object()


def _pairs(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> Iterator[tuple[Path, Any, Any]]:
    left, right = dict(walk(a)), dict(walk(b))
    for path in dict.fromkeys([*left, *right]):
        yield path, left.get(path, _NOTHING), right.get(path, _NOTHING)


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, TensorRef) or isinstance(two, TensorRef):
        return False
    return pack(encode_tree([one])) == pack(encode_tree([two]))


def _text(leaf: Any, item: OpenItem) -> str:
    if isinstance(leaf, TensorRef):
        return f"{item.dtype(leaf.index)} {list(item.shape(leaf.index))}"
    return repr(sorted(leaf) if isinstance(leaf, frozenset) else leaf)[:120]


def _tensor(
    a: OpenCheckpoint, b: OpenCheckpoint, left: OpenItem, right: OpenItem, one: int, two: int, *, values: bool
) -> tuple[tuple[Change, str, str] | None, bool]:
    """How two tensors differ, and whether digests alone could tell."""
    if left.dtype(one) != right.dtype(two):
        return ("dtype", left.dtype(one), right.dtype(two)), True
    if left.shape(one) != right.shape(two):
        return ("shape", str(list(left.shape(one))), str(list(right.shape(two)))), True
    mine, other = _digests(left, one), _digests(right, two)
    if mine is not None and other is not None and [key for key, _ in mine] == [key for key, _ in other]:
        return (None if mine == other else ("bytes", "differ by digest", "")), True
    if not values:
        return ("unknown", "stored in other shards", "use --values to compare the bytes"), False
    if _equal_bytes(a, b, left, right, one, two):
        return None, False
    return ("bytes", "differ by value", ""), False


def _digests(item: OpenItem, tensor: int) -> list[tuple[object, list[bytes]]] | None:
    """Per shard what makes it comparable, and its digests of decoded bytes; None if one isn't known."""
    table = item.manifest.shards
    rows: list[tuple[object, list[bytes]]] = []
    for shard in table.slice_of(tensor):
        row = item.manifest.objects[int(table.object[shard])]
        _, count = table.block_range(shard)
        found = [table.decoded_digest_of(shard, block) for block in range(count)]
        digests = [digest for digest in found if digest is not None]
        if len(digests) != count:
            return None
        rows.append(((table.region(shard), row.digest, row.block), digests))
    return rows


def _equal_bytes(
    a: OpenCheckpoint, b: OpenCheckpoint, left: OpenItem, right: OpenItem, one: int, two: int
) -> bool:
    dtype, shape = dtype_of(left.dtype(one)), left.shape(one)
    whole = Region.of_box(Box.whole(shape))
    size = byte_count(dtype, whole.elements)
    step = max(1, COMPARE_BYTES * 8 // dtype.bits // 8 * 8)
    first = LazyTensor(Reading(a.store, _as_is), left, one)
    second = LazyTensor(Reading(b.store, _as_is), right, two)
    if size <= COMPARE_BYTES:
        return first.read(whole) == second.read(whole)
    return all(first.read(part) == second.read(part) for part in cut_region(whole, range(step, whole.elements, step)))


def _as_is(data: bytearray, dtype: str, shape: Ints) -> bytearray:
    del dtype, shape
    return data
