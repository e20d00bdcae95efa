"""Headers of data objects of another checkpoint: each shard that is used has its entry (SCF-OBJ-008)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...oracle.encode import Draft, Object, Shard, Tensor
from ..case import Case, checkpoint
from ..drafts import W
from ..drafts_b import sound, unsound
from ..origins import OLD, SPARE, borrowed, old_key, origin
from .objects_header import Change, swapped

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    plain = origin()
    yield sound(
        "objects-carried",
        "Two shards in an object of another checkpoint, which has an entry more than these",
        ["SCF-OBJ-008", "SCF-DIG-013"],
        borrowed(plain),
        more=checkpoint(plain, OLD),
    )
    renamed = borrowed(plain, change=lambda shard: replace(shard, name="w") if shard.tensor == 0 else shard)
    item = renamed.items["model"]
    tensors = (replace(item.tensors[0], name="renamed"), *item.tensors[1:])
    yield sound(
        "objects-carried-renamed",
        "A tensor that had another name: the manifest gives the name of the old entry",
        ["SCF-OBJ-008", "SCF-OBJ-011"],
        renamed.with_item("model", tensors=tensors),
        more=checkpoint(plain, OLD),
    )
    yield sound(
        "objects-carried-unused-outside",
        "The object of another checkpoint has an unassigned shard there",
        ["SCF-OBJ-008", "SCF-MAN-023"],
        borrowed(_with_unassigned(), ("spare",)),
        more=checkpoint(_with_unassigned(), OLD),
    )
    changed: dict[str, tuple[str, Change]] = {
        "name": ("The entry of w has another name in the old header.", swapped(b'"w":', b'"v":')),
        "dtype": ("The entry of w is I32 in the old header.", swapped(b'"F32"', b'"I32"')),
        "shape": ("The entry of w has the shape [3, 2] in the old header.", swapped(b"[2,3]", b"[3,2]")),
        "no-entry": (
            "The old header has one unnamed range of bytes where w and b are.",
            lambda t: t[: t.index(b'"w":')] + b'"x":{"dtype":"U8","shape":[35],"data_offsets":[0,35]}}',
        ),
    }
    for name, (fault, change) in changed.items():
        source = origin(objects=(Object(header=change),))
        yield _refused(f"objects-carried-{name}", f"A shard by reference without its entry: {name}", fault, source)
    yield _refused(
        "objects-carried-part",
        "A shard by reference whose bytes are a part of an entry",
        "The shard of w is the second row of what the old header has as one entry.",
        origin(),
        _part(),
    )
    yield _refused(
        "objects-carried-own-name",
        "A tensor that had another name, without the name of the old entry",
        "The tensor has another name than its old entry, and the manifest gives no entry name.",
        origin(),
        borrowed(origin()).with_item("model", tensors=tensors),
    )
    yield _refused(
        "objects-carried-broken-header",
        "The header of an object by reference is outside the profile",
        "A space comes before the opening brace of the old header.",
        origin(objects=(Object(header=lambda t: b" " + t),)),
    )


def _refused(name: str, title: str, fault: str, source: Draft, draft: Draft | None = None) -> Case:
    made = draft or borrowed(source)
    return unsound(
        name,
        title,
        fault,
        "object.header",
        ["SCF-OBJ-008", "SCF-DIG-013"],
        "objects-carried",
        made,
        about=(old_key(), "w", "renamed"),
        files={**checkpoint(made), **checkpoint(source, OLD)},
    )


def _part() -> Draft:
    """The tensor is the second row of the old one, and its shard the bytes of that."""
    made = borrowed(origin(), ("w",), own=None)
    shards = made.items["model"].shards
    assert shards
    offset = shards[0].offset
    assert offset is not None
    return made.with_item(
        "model",
        tensors=(Tensor("w", "F32", (3,), W.data[12:]),),
        shards=(replace(shards[0], offset=offset + 12),),
    )


def _with_unassigned() -> Draft:
    copy = Shard(None, name="copy", data=b"12345")
    return origin(SPARE, shards=(Shard(0), copy))
