"""Headers outside the profile of chapter 9, most of which common safetensors libraries accept."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...oracle.encode import Draft, Object, Shard, Tensor
from ..case import Case
from ..drafts import W, content, one, whole
from ..drafts_b import unsound
from .objects_valid import header

__all__ = ["Change", "cases", "swapped"]

Change = Callable[[bytes], bytes]
W_ENTRY = b'"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}'
B_ENTRY = b'"b":{"dtype":"BF16","shape":[3],"data_offsets":[24,30]}'
DEEP = 10_000


def swapped(old: bytes, new: bytes) -> Change:
    """Puts one text in place of another one, which is there once."""

    def change(text: bytes) -> bytes:
        assert text.count(old) == 1, (old, text)
        return text.replace(old, new)

    return change


def _behind(text: bytes) -> Change:
    """Something between the closing brace and the spaces."""
    return lambda head: head[: -len(text) - 8] + text + head[-8:]


def _length(value: int) -> Change:
    """Another number in the first eight bytes."""
    return lambda head: value.to_bytes(8, "little") + head[8:]


FORM: dict[str, tuple[str, Change]] = {
    "leading-space": ("A space comes before the opening brace.", lambda t: b" " + t),
    "leading-newline": ("A line feed comes before the opening brace.", lambda t: b"\n" + t),
    "byte-order-mark": ("The header begins with a byte order mark.", lambda t: b"\xef\xbb\xbf" + t),
    "array": ("The header is an array.", lambda t: b"[" + t + b"]"),
    "second-object": ("A second JSON object follows the first.", lambda t: t + b"{}"),
    "trailing-comma": ("A comma stands before the closing brace.", lambda t: t[:-1] + b",}"),
    "cut-off": ("The closing brace is missing.", lambda t: t[:-1]),
    "empty-text": ("The header is spaces only.", lambda _: b""),
    "not-utf8": ("A text has the bytes c3 28, which are not UTF-8.", swapped(b'"pt"', b'"\xc3\x28"')),
    "surrogate": ("A text has the escape of a lone surrogate.", swapped(b'"pt"', b'"\\ud800"')),
    "control-character": ("A text has a line feed as it is.", swapped(b'"pt"', b'"p\nt"')),
    "single-quotes": ("A text stands in single quotes.", swapped(b'"pt"', b"'pt'")),
    "comment": ("A comment stands between two members.", swapped(b',"w"', b',/*x*/"w"')),
    "not-a-number": ("NaN stands where a size belongs.", swapped(b"[2,3]", b"[2,NaN]")),
    "leading-zero": ("A size has a leading zero.", swapped(b"[2,3]", b"[2,03]")),
    "deep": (f"Arrays nest {DEEP} levels deep.", swapped(b"[2,3]", b"[" * DEEP + b"]" * DEEP)),
}

DUPLICATES: dict[str, tuple[str, Change]] = {
    "duplicate-entry": ("The entry b stands twice, equal.", lambda t: t[:-1] + b"," + B_ENTRY + b"}"),
    "duplicate-entry-first-wrong": (
        "An entry w of another place comes before the right entry w.",
        swapped(b',"w"', b',"w":{"dtype":"F32","shape":[2,3],"data_offsets":[6,30]},"w"'),
    ),
    "duplicate-escaped": (
        "The entry b stands twice, once with its name as an escape.",
        lambda t: t[:-1] + b"," + B_ENTRY.replace(b'"b"', b'"\\u0062"') + b"}",
    ),
    "duplicate-metadata": ("__metadata__ stands twice.", lambda t: t[:-1] + b',"__metadata__":{}}'),
    "duplicate-in-metadata": (
        "A member of __metadata__ stands twice.",
        swapped(b'"format":"pt"', b'"format":"pt","format":"pt"'),
    ),
    "duplicate-in-entry": (
        "The member dtype of an entry stands twice.",
        swapped(b'"dtype":"F32"', b'"dtype":"F32","dtype":"F32"'),
    ),
}

MEMBERS: dict[str, tuple[str, Change]] = {
    "unknown-member": (
        "An entry has a fourth member.",
        swapped(b'"shape":[2,3]', b'"shape":[2,3],"x":null'),
    ),
    "without-dtype": ("An entry has no dtype.", swapped(b'"dtype":"F32",', b"")),
    "without-shape": ("An entry has no shape.", swapped(b'"shape":[2,3],', b"")),
    "without-offsets": ("An entry has no data_offsets.", swapped(b',"data_offsets":[0,24]', b"")),
    "entry-null": ("A member of the header is null.", lambda t: t[:-1] + b',"x":null}'),
    "entry-number": ("A member of the header is a number.", lambda t: t[:-1] + b',"x":1}'),
    "entry-text": ("A member of the header is a text.", lambda t: t[:-1] + b',"x":"pt"}'),
    "entry-array": (
        "An entry is an array of its three values.",
        swapped(W_ENTRY, b'"w":["F32",[2,3],[0,24]]'),
    ),
    "metadata-null": ("__metadata__ is null.", lambda t: b'{"__metadata__":null' + t[t.index(b',"w"') :]),
    "metadata-array": ("__metadata__ is an array.", lambda t: b'{"__metadata__":[]' + t[t.index(b',"w"') :]),
    "metadata-number": ("A value of __metadata__ is a number.", swapped(b'"pt"', b"1")),
    "metadata-object": ("A value of __metadata__ is an object.", swapped(b'"pt"', b"{}")),
    "dtype-number": ("A dtype is a number.", swapped(b'"F32"', b"32")),
    "dtype-lower-case": ("A dtype is written in lower case.", swapped(b'"F32"', b'"f32"')),
    "shape-text": ("A shape has a text.", swapped(b"[2,3]", b'[2,"3"]')),
    "shape-float": ("A shape has the float 3.0.", swapped(b"[2,3]", b"[2,3.0]")),
    "shape-exponent": ("A shape has the float 3e0.", swapped(b"[2,3]", b"[2,3e0]")),
    "shape-negative": ("A shape has two negative sizes.", swapped(b"[2,3]", b"[-2,-3]")),
    "shape-boolean": ("A shape has a boolean.", swapped(b"[2,3]", b"[2,3,true]")),
    "shape-null": ("A shape is null.", swapped(b"[2,3]", b"null")),
    "shape-number": ("A shape is a number.", swapped(b"[3]", b"3")),
    "shape-overflow": (
        "The sizes of a shape multiply to 6 modulo 2^64.",
        swapped(b"[2,3]", b"[6148914691236517206,3,3]"),
    ),
    "shape-too-large": ("A size is above 2^63 - 1.", swapped(b"[2,3]", b"[2,18446744073709551619]")),
    "offsets-one": ("data_offsets has one number.", swapped(b"[0,24]", b"[24]")),
    "offsets-three": ("data_offsets has three numbers.", swapped(b"[0,24]", b"[0,24,30]")),
    "offsets-float": ("data_offsets has floats.", swapped(b"[0,24]", b"[0.0,24.0]")),
    "offsets-text": ("data_offsets has texts.", swapped(b"[0,24]", b'["0","24"]')),
    "offsets-negative": ("The first entry begins at -24.", swapped(b"[0,24]", b"[-24,0]")),
    "offsets-reversed": ("data_offsets has the end first.", swapped(b"[0,24]", b"[24,0]")),
    "offsets-too-large": ("An end is 2^64 + 24.", swapped(b"[0,24]", b"[0,18446744073709551640]")),
}

PLACES: dict[str, tuple[str, Change]] = {
    "order": (
        "The entries stand in another order than their data.",
        swapped(W_ENTRY + b"," + B_ENTRY, B_ENTRY + b"," + W_ENTRY),
    ),
    "hole": ("The second entry begins a byte after the end of the first.", swapped(b"[24,30]", b"[25,31]")),
    "overlap": ("The second entry begins within the first.", swapped(b"[24,30]", b"[22,28]")),
    "begins-late": ("The first entry begins at byte 2 of the data.", swapped(b"[0,24]", b"[2,26]")),
    "ends-early": (
        "The last entry ends before the data does.",
        swapped(b'"shape":[3],"data_offsets":[24,30]', b'"shape":[2],"data_offsets":[24,28]'),
    ),
    "ends-late": (
        "The last entry ends after the data does.",
        swapped(b'"shape":[3],"data_offsets":[24,30]', b'"shape":[4],"data_offsets":[24,32]'),
    ),
    "size-of-shape": ("An entry has fewer bytes than its dtype and shape.", swapped(b"[2,3]", b"[2,4]")),
    "size-of-dtype": ("An entry has more bytes than its dtype and shape.", swapped(b'"F32"', b'"F16"')),
}


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for table in (FORM, DUPLICATES, MEMBERS, PLACES):
        for name, (fault, change) in table.items():
            yield _refused(name, fault, header(change))
    heads: dict[str, tuple[str, Change]] = {
        "padded-by-zeros": ("The header is padded by zero bytes.", lambda head: head.rstrip(b" ").ljust(4096, b"\0")),
        "padded-by-newlines": (
            "The header is padded by line feeds.",
            lambda head: head.rstrip(b" ").ljust(4096, b"\n"),
        ),
        "tab-behind": ("A tab stands among the spaces behind the header.", _behind(b"\t")),
        "text-behind": ("A letter stands among the spaces behind the header.", _behind(b"x")),
        "length-short": ("N is 4096 less than the header has.", _length(4088)),
        "length-long": ("N is 4096 more than the header has.", _length(4088 + 2 * 4096)),
        "length-one-less": ("N is one less than the header has.", _length(4088 + 4095)),
        "length-zero": ("N is 0.", _length(0)),
        "length-huge": ("N is 2^64 - 1.", _length((1 << 64) - 1)),
        "length-wraps": ("N is 2^64 - 8: 8 + N is 0 modulo 2^64.", _length((1 << 64) - 8)),
        "length-big-endian": (
            "N is written with its most significant byte first.",
            lambda head: head[7::-1] + head[8:],
        ),
    }
    for name, (fault, change) in heads.items():
        pads = 4096 if name.startswith("length") else 0
        yield _refused(name, fault, whole(objects=(Object(pads=pads, padded=change),)))
    yield from _empty()


def _refused(name: str, fault: str, draft: Draft) -> Case:
    return unsound(
        f"objects-header-{name}", f"A header outside the profile: {name}", fault, "object.header", ["SCF-OBJ-001"],
        "objects-plain", draft,
    )  # fmt: skip


def _empty() -> Iterator[Case]:
    yield unsound(
        "objects-header-without-entries-but-data",
        "A header without entries before data",
        "The header has no entry, and the object has 30 bytes of data.",
        "object.header",
        ["SCF-OBJ-001", "SCF-OBJ-007"],
        "objects-plain",
        header(lambda t: t[: t.index(b',"w"')] + b"}"),
    )
    copy = (Shard(0), Shard(None, name="copy", data=content(8), header=("F32", (3,))))
    yield unsound(
        "objects-header-unassigned-size",
        "An entry that no tensor uses has another size than its dtype and shape",
        "The entry of the unassigned shard is F32 [3], and has 8 bytes.",
        "object.header",
        ["SCF-OBJ-001"],
        "objects-unassigned",
        one(W, shards=copy),
    )
    inside = (Shard(0), Shard(1), Shard(2))
    empty = Tensor("e", "F32", (0,), b"")
    first, second = (Tensor(name, "U8", (8,), content(8, seed)) for seed, name in enumerate("ab"))
    placed = one(first, empty, second, shards=inside)
    yield unsound(
        "objects-header-empty-entry-inside",
        "An entry of no bytes lies within another one, as the manifest says it does",
        "The entry of no bytes begins at byte 4 of the data, where the one before it has not ended.",
        "object.header",
        ["SCF-OBJ-001"],
        "objects-empty-tensors",
        header(swapped(b"[8,8]", b"[4,4]"), placed).with_item("model", record=_moved),
    )


def _moved(record: dict[str, object]) -> None:
    """The shard of no bytes begins four bytes earlier."""
    shards = record["shards"]
    assert isinstance(shards, dict)
    offsets = shards["columns"]["offset"]
    shards["columns"]["offset"] = offsets[:8] + (4096 + 4).to_bytes(8, "little") + offsets[16:]
