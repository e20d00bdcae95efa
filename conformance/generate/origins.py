"""Checkpoints that use data objects of another checkpoint of the same store (section 13.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..oracle.encode import Draft, Item, Object, Record, Shard, Tensor, build
from ..oracle.encode_region import whole
from .drafts import OTHER, B, W, content, one
from .expect import root_digest

__all__ = ["OLD", "OWN", "SPARE", "borrowed", "manifest_of", "old_key", "origin"]

OLD = "old"
"""Name of the other checkpoint."""
SPARE = Tensor("spare", "U8", (5,), content(5, 9))
OWN = Tensor("n", "I16", (4,), content(8, 10))


def old_key(number: int = 0, item: str = "model") -> str:
    """The store key of a data object of the other checkpoint."""
    return f"{OLD}/{item}/{OTHER}-{number:05d}.safetensors"


def origin(*tensors: Tensor, **changes: Any) -> Draft:
    """The other checkpoint: ``w``, ``b`` and a tensor ``spare`` that nobody else uses, or these tensors."""
    return one(*(tensors or (W, B, SPARE)), **changes).with_(attempt=OTHER)


def manifest_of(draft: Draft, item: str = "model") -> Record:
    """The manifest's map of an item."""
    found: Record = {}
    twist = draft.items[item].twists.record

    def look(record: Record) -> None:
        if twist:
            twist(record)
        found.update(record)

    build(draft.with_item(item, record=look))
    return found


def borrowed(
    source: Draft,
    names: Sequence[str] = ("w", "b"),
    *,
    under: str = OLD,
    change: Callable[[Shard], Shard] = lambda shard: shard,
    own: Tensor | None = OWN,
    **members: Any,
) -> Draft:
    """A checkpoint that has tensors of another one in the objects of that one; ``own`` lies in an object of its own.

    ``change`` changes a shard that is used by reference.
    """
    theirs = source.items["model"]
    record = manifest_of(source)
    kept = [at for at, each in enumerate(theirs.tensors) if each.name in names]
    shards = [
        change(replace(shard, tensor=kept.index(shard.tensor or 0), offset=offset))
        for shard, offset in zip(_ordered(theirs), _numbers(record["shards"]["columns"]["offset"]), strict=False)
        if shard.tensor in kept
    ]
    objects = [_row(row, under) for row in record["objects"]]
    tensors = [theirs.tensors[at] for at in kept]
    if own is not None:
        shards.append(Shard(len(tensors), object=len(objects)))
        objects.append(Object())
        tensors.append(own)
    item = Item(tuple(tensors), shards=tuple(shards), objects=tuple(objects), codecs=theirs.codecs)
    external = [{"checkpoint": under, "digest": root_digest(source)}]
    return Draft({"model": item}, **{"sequence": 2, "external": external, **members})


def _ordered(item: Item) -> list[Shard]:
    """The assigned shards in the order of the shard table."""
    given = [Shard(at) for at in range(len(item.tensors))] if item.shards is None else list(item.shards)

    def order(shard: Shard) -> tuple[int, tuple[int, ...], int]:
        number = shard.tensor or 0
        region = shard.region or whole(item.tensors[number].shape)
        return number, region.offset, region.start

    return sorted((shard for shard in given if shard.tensor is not None), key=order)


def _row(row: Record, under: str) -> Object:
    kept = {name: row[name] for name in ("size", "data_start", "header_digest")}
    return Object(digest=row["digest"], block=row["block"], store_key=f"{under}/{row['key']}", origin=kept)


def _numbers(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
