"""Drafts of tensors in pieces, and the forms of cases that read regions of them or verify them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from ..oracle.dtypes import DTYPES
from ..oracle.encode import ATTEMPT, Draft, Item, Shard, Tensor
from ..oracle.encode_region import Region, region_bytes
from .case import Case, Json, checkpoint, ok, step
from .drafts import content, one
from .expect import Path, file, leaves, number, path, read_values, tree_of
from .forms import dtypes

__all__ = [
    "KEY",
    "box",
    "cut",
    "damage",
    "filled",
    "flip",
    "found",
    "grid",
    "key",
    "only",
    "pieces",
    "reading",
    "region_case",
    "region_step",
    "region_value",
    "run",
    "sound",
    "sound_step",
    "unsound",
    "verify_step",
]


def key(number: int = 0, item: str = "model") -> str:
    """The key of an own data object."""
    return f"{item}/{ATTEMPT}-{number:05d}.safetensors"


KEY = key()
"""The one of the first data object of most drafts."""


def filled(name: str, dtype: str, shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """A tensor of bytes without a pattern."""
    return Tensor(name, dtype, shape, content(prod(shape) * DTYPES[dtype].bits // 8, seed))


def box(*spans: tuple[int, int]) -> Region:
    """A box, given as begin and end per dimension."""
    return Region(tuple(begin for begin, _ in spans), tuple(end - begin for begin, end in spans))


def run(shape: tuple[int, ...], start: int, stop: int) -> Region:
    """A run over all elements of a tensor."""
    return Region((0,) * len(shape), shape, (start, stop))


def cut(shape: tuple[int, ...], *ends: int) -> list[Region]:
    """Runs over all elements of a tensor that end at these positions and at its end."""
    stops = [*ends, prod(shape)]
    return [run(shape, start, stop) for start, stop in zip([0, *stops], stops, strict=False)]


def grid(*ends: Sequence[int]) -> list[Region]:
    """The boxes of a grid; per dimension the ends of its pieces."""
    boxes: list[list[tuple[int, int]]] = [[]]
    for each in ends:
        spans = list(zip([0, *each], each, strict=False))
        boxes = [[*spans_before, span] for spans_before in boxes for span in spans]
    return [box(*spans) for spans in boxes]


def pieces(tensor: Tensor, regions: Sequence[Region], **changes: Any) -> Draft:
    """One tensor, stored in these regions, all in one data object."""
    return one(tensor, shards=tuple(Shard(0, region) for region in regions), **changes)


def reading(item: Item, paths: Sequence[Path] | None = None, *, verify: bool = True) -> Json:
    """A step that reads the tensors at these paths (None: all) of ``model``, and gets them."""
    wanted = None if paths is None else [path(each) for each in paths]
    return step("read", ok(**read_values(item, paths)), paths=wanted, verify=verify)


def region_value(region: Region) -> Json:
    """A region of a message."""
    return {
        "offset": [number(each) for each in region.offset],
        "size": [number(each) for each in region.size],
        "run": None if region.run is None else [number(each) for each in region.run],
    }


def region_step(item: Item, place: Path, regions: Sequence[Region], *, verify: bool = True, **request: Any) -> Json:
    """A step that reads regions of one tensor, and gets their bytes."""
    tensor = item.tensors[dict(leaves(tree_of(item)))[place]]
    files = [file(region_bytes(tensor.data, tensor.width, tensor.shape, region)) for region in regions]
    expect = ok(dtype=tensor.dtype, files=files)
    wanted = [region_value(each) for each in regions]
    return step("read_region", expect, path=path(place), regions=wanted, verify=verify, **request)


def region_case(
    name: str, title: str, requirements: Sequence[str], draft: Draft, regions: Sequence[Region], **members: Any
) -> Case:
    """A valid case: regions of the tensor ``w`` of ``model``."""
    steps = [region_step(draft.items["model"], ("w",), regions)]
    return Case(
        name, title, requirements, "region-read", steps, files=checkpoint(draft), options=dtypes(draft), **members
    )


def damage(draft: Draft, key: str, at: int, *, flips: int = 1) -> dict[str, bytes]:
    """The files of a draft with a byte of one of them changed after everything was sealed."""
    files = checkpoint(draft)
    files[f"c/{key}"] = flip(files[f"c/{key}"], at, flips)
    return files


def flip(data: bytes, at: int, flips: int = 1) -> bytes:
    """The same bytes with some bits of one of them flipped."""
    changed = bytearray(data)
    changed[at] ^= flips
    return bytes(changed)


def found(codes: str | Sequence[str], *about: str) -> Json:
    """A finding with one of these codes about one of these names."""
    allowed = [codes] if isinstance(codes, str) else list(codes)
    code: Any = allowed[0] if len(allowed) == 1 else {"$any": allowed}
    return {"code": code, "subject": {"$about": list(about)}}


def only(codes: str | Sequence[str], *about: str, also: Sequence[str] = (), most: int = 3) -> Json:
    """One finding or several of the same kind, and no others but of the codes ``also``."""
    each, other = found(codes, *about), {"code": {"$any": list(also)}}
    others = range(most + 1) if also else range(1)
    sets = [{"$set": [each] * count + [other] * more} for count in range(1, most + 1) for more in others]
    return {"$any": sets}


def verify_step(findings: Any, *, deep: bool = True, **request: Any) -> Json:
    """A step that verifies, and finds these."""
    return step("verify", ok(sound=False, findings=findings), deep=deep, **request)


def sound_step(*, deep: bool = True, **request: Any) -> Json:
    """A step that verifies, and finds nothing."""
    return step("verify", ok(sound=True, findings=[]), deep=deep, **request)


def sound(
    name: str,
    title: str,
    requirements: Sequence[str],
    draft: Draft,
    *,
    more: Mapping[str, bytes] | None = None,
    **members: Any,
) -> Case:
    """A valid case: a deep verification finds nothing, and every tensor of ``model`` is read."""
    steps = [sound_step(), reading(draft.items["model"])]
    files = {**checkpoint(draft), **(more or {})}
    return Case(name, title, requirements, "integrity", steps, files=files, options=dtypes(draft), **members)


def unsound(
    name: str,
    title: str,
    fault: str,
    codes: str | Sequence[str],
    requirements: Sequence[str],
    sibling: str,
    draft: Draft,
    *,
    about: Sequence[str] = (KEY,),
    also: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
    **members: Any,
) -> Case:
    """An invalid case: a deep verification has findings of one of the codes about one of the names.

    ``also``: codes of findings that follow from the same fault, and need not be there.
    """
    return Case(
        name,
        title,
        requirements,
        "integrity",
        [verify_step(only(codes, *about, also=also))],
        kind="invalid",
        fault=fault,
        sibling=sibling,
        files=checkpoint(draft) if files is None else files,
        options=dtypes(draft),
        **members,
    )
