"""Data objects with headers that other writers make: unusual, and right (chapter 9)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

from ...oracle.encode import Draft, Item, Object, Shard, Tensor
from ...oracle.encode_frame import plain_frame
from ..case import Case
from ..drafts import ZSTD, B, W, content, tensor, unassigned, whole
from ..drafts_b import cut, filled, grid, pieces, region_case, run, sound

__all__ = ["cases", "header"]


def header(change: Callable[[bytes], bytes], draft: Draft | None = None) -> Draft:
    """Tensors ``w`` and ``b``, each whole (or another draft), with the JSON text of the first header changed."""
    made = draft or whole()
    first, *others = made.items["model"].objects
    return made.with_item("model", objects=(replace(first, header=change), *others))


def cases() -> Iterator[Case]:
    """All cases of this module."""
    reader = ["SCF-OBJ-001", "SCF-OBJ-007", "SCF-DIG-013"]
    yield sound("objects-plain", "A data object with two tensors, each whole", reader, whole())
    yield from _headers(reader)
    yield from _shards(reader)
    yield from _places()


def _headers(reader: list[str]) -> Iterator[Case]:
    rewritten: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
        "without-metadata": ("no __metadata__", lambda t: _without(t, "__metadata__")),
        "empty-metadata": ("a __metadata__ without members", lambda t: _dumped({**json.loads(t), "__metadata__": {}})),
        "metadata-last": ("__metadata__ behind the entries", lambda t: _last(t, "__metadata__")),
        "metadata-between": ("__metadata__ between two entries", lambda t: _last(_last(t, "__metadata__"), "b")),
        "metadata-of-others": (
            "other members of __metadata__, of any text",
            lambda t: _dumped({"__metadata__": {"": "x", "ü\n\u2028": "\x00", "format": "np"}, **_entries(t)}),
        ),
        "escaped-name": (
            "a name that is written with escapes",
            lambda t: t.replace(b'"w":', b'"\\u0077":').replace(b'"b":', b'"\\u0062":'),
        ),
        "escaped-slashes": ("solidus escaped in a text", lambda t: t.replace(b'"pt"', b'"p\\/\\ud83d\\ude00"')),
        "member-order": (
            "the members of an entry in another order",
            lambda t: _dumped({name: dict(reversed(each.items())) for name, each in json.loads(t).items()}),
        ),
        "whitespace": (
            "blanks, tabs and line breaks between the tokens",
            lambda t: t.replace(b":", b" :\t").replace(b",", b"\r\n, ").replace(b"{", b"{ ").replace(b"[", b"[\n"),
        ),
    }
    for name, (what, change) in rewritten.items():
        yield sound(f"objects-{name}", f"A header with {what}", reader, header(change))
    yield sound(
        "objects-longer-padding",
        "A header with 4096 more spaces than it needs: the data begins at 12288",
        reader,
        whole(objects=(Object(pads=8192),)),
    )
    yield sound(
        "objects-long-header",
        "A header of more than 4096 bytes",
        reader,
        header(lambda t: t.replace(b'"pt"', b'"pt","note":"' + b"n" * 5000 + b'"')),
    )
    full = header(lambda t: t.replace(b'"pt"', b'"pt","note":"' + b"n" * (4088 - len(t) - 10) + b'"'))
    yield sound("objects-full-header", "A header that fills its 4088 bytes: no space behind it", reader, full)
    yield sound(
        "objects-no-entries",
        "A data object without entries and without data, which no shard is in",
        reader,
        whole(objects=(Object(), Object(number=1))),
    )


def _shards(reader: list[str]) -> Iterator[Case]:
    small_first = (Shard(1), Shard(0))
    yield sound(
        "objects-small-items-first",
        "Entries by rising item size: readers do not check the order",
        [*reader, "SCF-OBJ-006"],
        whole(shards=small_first),
    )
    yield sound(
        "objects-explicit-names",
        "Entries under names that the manifest gives",
        reader,
        whole(shards=(Shard(0, name="renamed"), Shard(1, name="b@[0:3]"))),
    )
    yield sound(
        "objects-explicit-name-of-one",
        "One entry under a name that the manifest gives, the other one under its derived name",
        reader,
        whole(shards=(Shard(0, name="b@[0:1]"), Shard(1))),
    )
    yield sound(
        "objects-empty-tensors",
        "Entries of no bytes, at the beginning, in the middle and at the end",
        [*reader, "SCF-MAN-023"],
        Draft({"model": _with_empty_tensors()}),
    )
    yield sound(
        "objects-empty-tensors-without-shards",
        "Empty tensors that no entry stands for",
        [*reader, "SCF-REG-005"],
        Draft({"model": replace(_with_empty_tensors(), shards=(Shard(1), Shard(3)))}),
    )
    yield sound("objects-unassigned", "Unassigned shards, one of no bytes", ["SCF-READ-009", *reader], unassigned())
    typed = (Shard(0), Shard(None, name="copy", data=content(8), header=("BF16", (2, 2))))
    yield sound(
        "objects-unassigned-typed",
        "An unassigned shard whose entry has a dtype and a shape of its own",
        reader,
        whole(shards=(*typed, Shard(1))),
    )
    lanes = (filled("h", "C32", (3,), 3), filled("z", "C128", (2, 2), 4), filled("c", "C64", (2,), 5))
    yield sound(
        "objects-lanes",
        "Complex tensors: C32 and C128 have a last dimension of two lanes in the header, C64 has none",
        reader,
        Draft({"model": Item(lanes)}),
    )
    z = filled("z", "C128", (3, 4), 6)
    yield sound("objects-lanes-of-boxes", "Boxes of a C128 tensor", reader, pieces(z, grid([1, 3], [2, 4])))
    yield sound("objects-lanes-of-runs", "Runs of a C128 tensor: [elements, 2]", reader, pieces(z, cut((3, 4), 5, 7)))
    w = filled("w", "F32", (4, 6))
    derived = [*grid([2], [2, 6]), run((4, 6), 12, 17), run((4, 6), 17, 24)]
    yield sound("objects-derived-names", "Entries of boxes and runs under derived names", reader, pieces(w, derived))
    scalar = (filled("s", "I64", ()), filled("t", "I64", (), 2))
    coded = (Shard(0), Shard(1, codec=1, encode=plain_frame))
    yield sound(
        "objects-scalars",
        "Scalars, one of them encoded: the entry t@[]+enc",
        reader,
        Draft({"model": Item(scalar, shards=coded, codecs=((), (ZSTD,)))}),
    )
    odd = Tensor('%2F"\\\u2028@[0:1](é)', "U8", (3,), b"abc")
    yield sound(
        "objects-odd-name",
        "A tensor name with quotes, a backslash, an at sign and what looks like a region",
        [*reader, "SCF-OBJ-011"],
        Draft({"model": Item((odd,), tree={"w": tensor(0)})}),
    )
    long = Tensor("n" * 65535, "U8", (3,), b"abc")
    yield sound(
        "objects-longest-name",
        "A tensor name of 65535 bytes",
        [*reader, "SCF-LIMIT-001"],
        Draft({"model": Item((long,), tree={"w": tensor(0)})}),
    )
    swapped = {"w": tensor(1), "b": tensor(0)}
    yield sound(
        "objects-names-are-no-paths",
        "The tensor named b stands at the path w, and the other way round",
        ["SCF-OBJ-011"],
        whole(tree=swapped),
    )


def _with_empty_tensors() -> Item:
    empty = [Tensor(name, "F32", shape, b"") for name, shape in (("e0", (0,)), ("e1", (3, 0, 2)), ("e2", (0, 0)))]
    return Item((empty[0], W, empty[1], B, empty[2]), shards=tuple(map(Shard, range(5))))


def _places() -> Iterator[Case]:
    one = Tensor("u", "U8", (3,), b"\x01\x02\x03")
    numbers = filled("w", "F64", (5, 7))
    shards = (Shard(1), *(Shard(0, region) for region in cut((5, 7), 3, 16)))
    draft = Draft({"model": Item((numbers, one), shards=shards)})
    yield sound("objects-unaligned", "F64 elements at odd offsets of the object", ["SCF-OBJ-006"], draft)
    yield region_case(
        "objects-unaligned-regions",
        "Regions of F64 elements at odd offsets of the object",
        ["SCF-OBJ-006", "SCF-READ-001"],
        draft,
        [run((5, 7), 0, 35), run((5, 7), 2, 17), *grid([2, 5], [4, 7])],
    )


def _dumped(record: object) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def _entries(text: bytes) -> dict[str, object]:
    return {name: each for name, each in json.loads(text).items() if name != "__metadata__"}


def _without(text: bytes, name: str) -> bytes:
    return _dumped({each: value for each, value in json.loads(text).items() if each != name})


def _last(text: bytes, name: str) -> bytes:
    record = json.loads(text)
    return _dumped({**{each: value for each, value in record.items() if each != name}, name: record[name]})
