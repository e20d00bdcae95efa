"""Headers and manifests that disagree on an entry, and manifests that disagree with themselves on bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...oracle.encode import Draft, Item, Object, Record, Shard, column, manifest_key
from ...oracle.encode_frame import plain_frame
from ..case import Case
from ..drafts import STEP, ZSTD, B, W, content, one, unassigned, whole
from ..drafts_b import KEY, cut, filled, grid, key, pieces, sound, unsound
from ..forms import accepted, refused
from .objects_header import Change, swapped
from .objects_valid import header

__all__ = ["cases", "columns"]

DISAGREE = ["SCF-OBJ-007", "SCF-DIG-013"]


def columns(record: Record) -> dict[str, Any]:
    """The columns of a manifest's shard table."""
    found: dict[str, Any] = record["shards"]["columns"]
    return found


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _plain()
    yield from _shapes()
    yield from _numbers()
    yield from _names()
    yield from _bytes()


def _plain() -> Iterator[Case]:
    changed: dict[str, tuple[str, Change]] = {
        "name": ("The entry of w is named v.", swapped(b'"w":', b'"v":')),
        "name-case": ("The entry of w is named W.", swapped(b'"w":', b'"W":')),
        "name-with-region": ("The whole tensor's entry has a region in its name.", swapped(b'"w":', b'"w@[0:2,0:3]":')),
        "name-invisible": ("The name of the entry of b ends in a zero-width space.", swapped(b'"b":', b'"b\\u200b":')),
        "names-exchanged": (
            "The names of the two entries are exchanged.",
            lambda t: t.replace(b'"w":', b'"@":').replace(b'"b":', b'"w":').replace(b'"@":', b'"b":'),
        ),
        "dtype-of-same-size": ("The entry of w has the dtype I32.", swapped(b'"F32"', b'"I32"')),
        "dtype-of-half": (
            "The entry of w is BF16 of twice as many elements.",
            swapped(b'"F32","shape":[2,3]', b'"BF16","shape":[2,6]'),
        ),
        "shape-exchanged": ("The entry of w has the shape [3, 2].", swapped(b"[2,3]", b"[3,2]")),
        "shape-flat": ("The entry of w has the shape [6].", swapped(b"[2,3]", b"[6]")),
        "shape-with-one": ("The entry of w has the shape [1, 2, 3].", swapped(b"[2,3]", b"[1,2,3]")),
        "place": (
            "The entries meet at byte 26, not 24, of the data.",
            lambda _: (
                b'{"w":{"dtype":"BF16","shape":[13],"data_offsets":[0,26]},'
                b'"b":{"dtype":"BF16","shape":[2],"data_offsets":[26,30]}}'
            ),
        ),
    }
    for name, (fault, change) in changed.items():
        yield _disagrees(name, fault, "objects-plain", header(change))


def _disagrees(name: str, fault: str, sibling: str, draft: Draft, about: tuple[str, ...] = ()) -> Case:
    title = f"Header and manifest disagree: {name}"
    return unsound(
        f"objects-disagree-{name}", title, fault, "object.header", DISAGREE, sibling, draft, about=(KEY, *about)
    )


def _shapes() -> Iterator[Case]:
    z = filled("z", "C128", (3, 4), 6)
    yield _disagrees(
        "without-lanes",
        "The entry of a C128 tensor [3, 4] is F64 [3, 8], without a dimension of lanes.",
        "objects-lanes-of-boxes",
        header(swapped(b"[3,4,2]", b"[3,8]"), one(z)),
    )
    flat = pieces(z, cut((3, 4), 5, 7))
    yield _disagrees(
        "run-without-lanes",
        "The entry of a run of five C128 elements is F64 [10].",
        "objects-lanes-of-runs",
        header(swapped(b'"shape":[5,2],"data_offsets":[0,80]', b'"shape":[10],"data_offsets":[0,80]'), flat),
    )
    w = filled("w", "F32", (4, 6))
    runs = pieces(w, cut((4, 6), 6))
    yield _disagrees(
        "run-as-box",
        "The entry of a run of the elements 0 to 5 has the shape [1, 6] of the row that they are.",
        "objects-derived-names",
        header(swapped(b'"shape":[6]', b'"shape":[1,6]'), runs),
    )
    boxes = pieces(w, grid([1, 4], [6]))
    yield _disagrees(
        "box-as-run",
        "The entry of the box of one row has the shape [6].",
        "objects-derived-names",
        header(swapped(b'"shape":[1,6]', b'"shape":[6]'), boxes),
    )
    scalar = one(filled("s", "I64", ()))
    yield _disagrees(
        "scalar-as-vector",
        "The entry of a scalar has the shape [1].",
        "objects-scalars",
        header(swapped(b'"shape":[]', b'"shape":[1]'), scalar),
    )
    coded = one(filled("t", "I64", ()), shards=(Shard(0, codec=1, encode=plain_frame),), codecs=((), (ZSTD,)))
    yield _disagrees(
        "encoded-dtype",
        "The entry of an encoded shard is I8, not U8.",
        "objects-scalars",
        header(swapped(b'"U8"', b'"I8"'), coded),
    )
    yield _disagrees(
        "encoded-shape",
        "The entry of an encoded shard of 17 bytes has the shape [1, 17].",
        "objects-scalars",
        header(swapped(b"[17]", b"[1,17]"), coded),
    )
    yield _disagrees(
        "encoded-name",
        "The entry of an encoded shard lacks the +enc of its derived name.",
        "objects-scalars",
        header(swapped(b"+enc", b""), coded),
    )
    yield _disagrees(
        "run-name",
        "The entry of a run lacks the run in its name.",
        "objects-derived-names",
        header(swapped(b"(0:6)", b""), runs),
    )


def _numbers() -> Iterator[Case]:
    extra = b',"extra":{"dtype":"U8","shape":[0],"data_offsets":[30,30]}}'
    yield _disagrees(
        "extra-entry",
        "The header has an entry of no bytes that no shard stands for.",
        "objects-empty-tensors",
        header(lambda t: t[:-1] + extra),
        ("extra",),
    )
    empties = one(W, B, replace(filled("e", "F32", (0,)), data=b""), shards=(Shard(0), Shard(1), Shard(2)))
    yield _disagrees(
        "missing-entry",
        "The shard of no bytes has no entry.",
        "objects-empty-tensors",
        header(lambda t: t[: t.index(b',"e":')] + b"}", empties),
        ("e",),
    )
    explicit = whole(shards=(Shard(0, name="renamed"), Shard(1)))
    yield _disagrees(
        "explicit-name",
        "The manifest gives the entry the name renamed, and the header has it under its derived name.",
        "objects-explicit-names",
        header(swapped(b'"renamed"', b'"w"'), explicit),
    )
    yield _disagrees(
        "unassigned-name",
        "The unassigned shard has another name in the header than in the manifest.",
        "objects-unassigned",
        header(swapped(b'"copy@[0:2]"', b'"copy"'), unassigned()),
    )
    two = (Object(), Object(number=1))
    moved = Draft({"model": Item((W, B), shards=(Shard(0), Shard(1, object=1)), objects=two)})
    yield _disagrees(
        "entry-of-another-object",
        "The entry of w stands under the name of b, which is a shard of another object.",
        "objects-plain",
        header(swapped(b'"w":', b'"b":'), moved),
    )


def _names() -> Iterator[Case]:
    yield unsound(
        "objects-same-entry-name",
        "Two shards of one object have the same explicit entry name",
        "Both shards have the entry name same.",
        "manifest.schema",
        ["SCF-OBJ-012"],
        "objects-explicit-names",
        _named("same", "same"),
        about=(KEY, manifest_key("model"), "same"),
        also=("object.header",),
    )
    yield unsound(
        "objects-same-entry-name-derived",
        "The explicit entry name of one shard is the derived one of another",
        "The entry of w has the explicit name b, which is also the derived name of the entry of b.",
        "manifest.schema",
        ["SCF-OBJ-012"],
        "objects-explicit-names",
        _named("b", ""),
        about=(KEY, manifest_key("model"), "b"),
        also=("object.header",),
    )
    two = (Object(), Object(number=1))
    shards = (Shard(0, name="same"), Shard(1, name="same", object=1))
    yield sound(
        "objects-same-entry-name-in-two",
        "Shards of two objects have the same entry name",
        ["SCF-OBJ-012"],
        Draft({"model": Item((W, B), shards=shards, objects=two)}),
    )


def _named(first: str, second: str) -> Draft:
    """Entries under their derived names in the header, and under these in the manifest."""

    def named(record: Record) -> None:
        columns(record)["entry_size"] = column("u16", [len(first), len(second)])
        columns(record)["entry"] = (first + second).encode()

    return whole().with_item("model", record=named)


def _bytes() -> Iterator[Case]:
    """Coverage of the objects' bytes by shards (SCF-MAN-023, SCF-MAN-024)."""
    names = (KEY, manifest_key("model"), "w", "b")
    holes: dict[str, tuple[str, Draft]] = {
        "end": (
            "Four bytes behind the last shard are in no shard.",
            whole(objects=(Object(after=lambda data: data + bytes(4)),)).with_item("model", record=_longer),
        ),
        "middle": ("Two bytes between the shards of w and b are in no shard.", _shifted(2, 1)),
        "start": ("Two bytes before the first shard are in no shard.", _shifted(2, 0)),
    }
    for name, (fault, draft) in holes.items():
        yield unsound(
            f"objects-hole-at-{name}",
            f"The shards of an own object leave a hole: {name}",
            fault,
            "manifest.schema",
            ["SCF-MAN-023"],
            "objects-plain",
            draft,
            about=names,
            also=("object.header", "object.header_digest", "block.digest"),
        )
    yield unsound(
        "objects-without-shards-but-data",
        "An own object has data, and no shard is in it",
        "The 30 bytes of data of the second object are in no shard.",
        "manifest.schema",
        ["SCF-MAN-023"],
        "objects-no-entries",
        _orphan(),
        about=(key(1), manifest_key("model")),
        also=("object.header",),
    )
    overlaps: dict[str, tuple[str, str, Draft]] = {
        "same-bytes": ("objects-plain", "Both tensors are the same six bytes.", _overlapping(0)),
        "one-byte": ("objects-plain", "The last byte of w is the first of b.", _overlapping(23)),
        "one-in-another": ("objects-plain", "The bytes of b lie within those of w.", _overlapping(8)),
        "unassigned": ("objects-unassigned", "An unassigned shard has the last byte of w too.", _unassigned_overlap()),
    }
    for name, (sibling, fault, draft) in overlaps.items():
        yield refused(
            f"objects-overlap-{name}",
            f"Two shards have common bytes: {name}",
            fault,
            "manifest.schema",
            ["SCF-MAN-024"],
            sibling,
            draft,
            phases=["manifest"],
        )
    yield accepted(
        "objects-overlap-of-nothing",
        "A shard of no bytes within the bytes of another one overlaps nothing",
        ["SCF-MAN-024", "SCF-LIMIT-001"],
        _empty_within(),
        read=True,
    )


def _longer(record: Record) -> None:
    record["objects"][0]["size"] += 4


def _shifted(by: int, first: int) -> Draft:
    """The shards from this one on lie some bytes later; the object has as many bytes more."""

    def moved(record: Record) -> None:
        offsets = columns(record)["offset"]
        numbers = [int.from_bytes(offsets[at : at + 8], "little") for at in range(0, len(offsets), 8)]
        shifted = [number + by * (place >= first) for place, number in enumerate(numbers)]
        columns(record)["offset"] = column("u64", shifted)
        record["objects"][0]["size"] += by

    start = 4096 + (0, 24)[first]
    return whole(objects=(Object(after=lambda data: data[:start] + bytes(by) + data[start:]),)).with_item(
        "model", record=moved
    )


def _orphan() -> Draft:
    shards = (Shard(0), Shard(1), Shard(None, object=1, name="x", data=content(30)))
    made = whole(shards=shards, objects=(Object(), Object(number=1)))

    def dropped(record: Record) -> None:
        """Without the row of the unassigned shard."""
        record["shards"]["count"] = 2
        table = columns(record)
        for name, width in (("tensor", 4), ("object", 4), ("offset", 8)):
            table[name] = table[name][: 2 * width]
        table["block_digest"] = table["block_digest"][:64]
        for name in ("stored_size", "entry_size", "entry"):
            del table[name]

    def counted(members: Record) -> None:
        members["items"]["model"]["counts"]["shards"] = 2

    return made.with_item("model", record=dropped).with_(members=counted)


def _overlapping(at: int) -> Draft:
    """The bytes of ``b`` begin at this byte of ``w``; what they share is what both say."""
    common = min(24 - at, 6)
    b = replace(B, data=W.data[at : at + common] + B.data[common:])

    def moved(record: Record) -> None:
        columns(record)["offset"] = column("u64", [4096, 4096 + at])
        record["objects"][0]["size"] -= common

    shared = Object(after=lambda data: data[: 4096 + 24] + data[4096 + 24 + common :])
    return Draft({"model": Item((W, b), objects=(shared,))}, metadata=STEP).with_item("model", record=moved)


def _unassigned_overlap() -> Draft:
    def moved(record: Record) -> None:
        columns(record)["offset"] = column("u64", [4096, 4096 + 23, 4096 + 31])
        record["objects"][0]["size"] -= 1

    return unassigned(objects=(Object(after=lambda data: data[:-1]),)).with_item("model", record=moved)


def _empty_within() -> Draft:
    """The shard of no bytes lies within the bytes of ``w``."""

    def moved(record: Record) -> None:
        columns(record)["offset"] = column("u64", [4096, 4096 + 8, 4096 + 24])

    return one(W, filled("e", "F32", (0,)), B, shards=(Shard(0), Shard(1), Shard(2))).with_item("model", record=moved)
