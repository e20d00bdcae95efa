"""The MessagePack profile (section 7.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgpack

from ...oracle.encode import Draft
from ..case import Case
from ..drafts import assembled, basic, raw_tree, scalars
from ..forms import accepted
from ..pack import Ext, Raw, long, pack
from .man_common import SCHEMA, bad, changed, put

__all__ = ["cases"]

SYNTAX: Final = "manifest.syntax"
PROFILE: Final = ["SCF-MAN-004"]
ODD: Final = "manifest-syntax-unknown-keys"
DEPTH: Final = 128
C1: Final = Raw(b"\xc1")


def _longest(raw: bytes) -> bytes:
    return long(msgpack.unpackb(raw, strict_map_key=False))


def _odd(value: Any) -> Draft:
    """A manifest with a value under a key that no reader knows."""
    return assembled(scalars(), {"x-test": value})


def _nested(levels: int, *, maps: bool = False) -> Raw:
    """Arrays, or maps, of which the innermost is at this level of the manifest."""
    return Raw(b"\x81\x00" * (levels - 2) + b"\x80") if maps else Raw(b"\x91" * (levels - 2) + b"\x90")


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _accepted()
    yield from _refused()
    yield from _keys()
    yield from _extensions()


def _accepted() -> Iterator[Case]:
    yield accepted(
        "manifest-syntax-longest",
        "Every value in its longest encoding",
        [*PROFILE, "SCF-LIMIT-001"],
        basic().with_item("model", raw=_longest),
        read=True,
    )
    odd = {
        "x-acme": {1: [None, True, -1, 1.5, "text", b"bytes", {}, []], "1": Raw(b"\xca\x3f\x80\x00\x00")},
        7: {-1: 0, (1 << 64) - 1: 0, -(1 << 63): 0, 0: 0, "0": 0, "": 0, "\x00": 0, "é": 0, "e\u0301": 0},
        -7: "\ufeff\ufffe\U0010ffff",
    }
    yield accepted(
        ODD,
        "Keys that no reader knows, of text and of integers, with all kinds of values",
        ["SCF-CONV-007", *PROFILE, "SCF-CONV-006"],
        assembled(scalars(), odd),
    )
    inner = changed(
        basic(),
        put("tensors", "x-acme", value={"a": [1]}),
        put("shards", 5, value=None),
        put("objects", 0, "x-acme", value={1: {2: 3}}),
        put("shards", "columns", "x-acme-column", value=b"\x00\x01\x02"),
        put("tensors", "columns", "", value=b""),
    )
    requirements = ["SCF-CONV-007", "SCF-COMPAT-002"]
    yield accepted(
        "manifest-unknown-inside", "Unknown keys of tables and rows, unknown columns", requirements, inner, read=True
    )
    for name, maps in (("arrays", False), ("maps", True)):
        title = f"{name.capitalize()} down to level 128, under a key that no reader knows"
        requirements = [*PROFILE, "SCF-SEC-006", "SCF-LIMIT-001"]
        yield accepted(f"manifest-syntax-depth-128-{name}", title, requirements, _odd(_nested(DEPTH, maps=maps)))


def _bad(name: str, fault: str, draft: Draft, requirements: list[str] | None = None, codes: Any = SYNTAX) -> Case:
    return bad(f"syntax-{name}", fault, ODD, draft, requirements or PROFILE, codes)


def _refused() -> Iterator[Case]:
    raws: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
        ("nothing", "There are no bytes.", lambda _: b""),
        ("array", "The manifest is an array.", lambda raw: b"\x91" + raw),
        ("nil", "The manifest is nil.", lambda _: b"\xc0"),
        ("text", "The manifest is a string.", lambda _: b"\xa3abc"),
        ("extension", "The manifest is an extension value.", lambda raw: pack(Ext(2, b"\x91" + raw))),
        ("byte-behind", "A byte follows the map.", lambda raw: raw + b"\x00"),
        ("nil-behind", "A nil follows the map.", lambda raw: raw + b"\xc0"),
        ("twice", "The map is there twice.", lambda raw: raw + raw),
        ("cut", "The last byte is missing.", lambda raw: raw[:-1]),
        ("cut-half", "The second half is missing.", lambda raw: raw[: len(raw) // 2]),
        ("count-more", "The map says that it has one entry more.", lambda raw: bytes([raw[0] + 1]) + raw[1:]),
        ("count-less", "The map says that it has one entry less.", lambda raw: bytes([raw[0] - 1]) + raw[1:]),
        ("json", "The manifest is JSON.", lambda _: b'{"scf":1}'),
    )
    for name, fault, change in raws:
        codes = [SYNTAX, SCHEMA] if name in ("array", "nil", "text", "extension") else SYNTAX
        yield _bad(name, fault, scalars().with_item("model", raw=change), codes=codes)
    values: tuple[tuple[str, str, Any], ...] = (
        ("c1", "The byte 0xC1 stands for a value.", C1),
        ("c1-inside", "The byte 0xC1 stands in an array.", [1, C1]),
        ("utf8-ff", "A string has the byte 0xFF.", Raw(b"\xa1\xff")),
        ("utf8-overlong", "A string has a slash in an overlong encoding.", Raw(b"\xa2\xc0\xaf")),
        ("utf8-surrogate", "A string has a surrogate in UTF-8.", Raw(b"\xa3\xed\xa0\x80")),
        ("utf8-beyond", "A string has a code point above U+10FFFF.", Raw(b"\xa4\xf4\x90\x80\x80")),
        ("utf8-cut", "A character of a string is cut short.", Raw(b"\xa2\xe2\x82")),
        ("utf8-inside", "A string in an array of a map has the byte 0x80.", {1: [Raw(b"\xd9\x01\x80")]}),
        ("str-32", "A str 32 says that it has 2^32 - 1 bytes.", Raw(b"\xdb\xff\xff\xff\xff")),
        ("bin-32", "A bin 32 says that it has 2^32 - 1 bytes.", Raw(b"\xc6\xff\xff\xff\xff")),
        ("array-32", "An array 32 says that it has 2^32 - 1 elements.", Raw(b"\xdd\xff\xff\xff\xff")),
        ("map-32", "A map 32 says that it has 2^32 - 1 entries.", Raw(b"\xdf\xff\xff\xff\xff")),
        ("array-16", "An array 16 says that it has 65,535 elements.", Raw(b"\xdc\xff\xff")),
        ("map-16", "A map 16 says that it has 65,535 entries.", Raw(b"\xde\xff\xff")),
        ("bin-8", "A bin 8 says that it has 255 bytes, of which 3 are there.", Raw(b"\xc4\xffabc")),
    )
    for name, fault, value in values:
        draft = _odd(0)
        last = pack({"x-test": value})[1:]
        if name.startswith(("str-32", "bin-", "array-", "map-")):
            draft = scalars().with_item("model", raw=lambda raw, last=last: bytes([raw[0] + 1]) + raw[1:] + last)
        else:
            draft = _odd(value)
        requirements = [*PROFILE, "SCF-CONV-004"] if "-32" in name else None
        yield _bad(name, fault, draft, requirements)
    for name, maps in (("arrays", False), ("maps", True)):
        fault = f"{name.capitalize()} nest down to level 129."
        yield _bad(f"depth-129-{name}", fault, _odd(_nested(DEPTH + 1, maps=maps)), [*PROFILE, "SCF-SEC-006"])


def _pairs(*pairs: tuple[bytes, Any]) -> Raw:
    """A map of these keys, as they are encoded."""
    return Raw(bytes([0x80 | len(pairs)]) + b"".join(key + pack(value) for key, value in pairs))


def _keys() -> Iterator[Case]:
    double = (
        ("text", "A map has the key a twice.", b"\xa1a", b"\xa1a"),
        ("text-encodings", "A map has the key a twice, in two encodings.", b"\xa1a", b"\xd9\x01a"),
        ("int", "A map has the key 1 twice.", b"\x01", b"\x01"),
        ("int-encodings", "A map has the key 1 twice, in two encodings.", b"\x01", b"\xcf" + bytes(7) + b"\x01"),
        ("int-signed", "A map has the key 1 twice, once in a signed encoding.", b"\x01", b"\xd3" + bytes(7) + b"\x01"),
        ("int-negative", "A map has the key -1 twice, in two encodings.", b"\xff", b"\xd1\xff\xff"),
        ("int-2-63", "A map has the key 2^63 twice.", b"\xcf\x80" + bytes(7), b"\xcf\x80" + bytes(7)),
        ("empty", "A map has the empty key twice.", b"\xa0", b"\xda\x00\x00"),
    )
    for name, fault, first, second in double:
        yield _bad(f"double-{name}", fault, _odd(_pairs((first, 0), (b"\xa1z", 0), (second, 0))))
    kinds: tuple[tuple[str, str, Any], ...] = (
        ("nil", "nil", None),
        ("true", "true", True),
        ("float", "the float 1.0", 1.0),
        ("bytes", "bytes", b"a"),
        ("array", "an array", []),
        ("map", "a map", {}),
        ("extension", "a tensor", Ext(1, bytes(4))),
    )
    for name, what, key in kinds:
        fault = f"A key of a map is {what}."
        codes = [SYNTAX, SCHEMA] if name == "extension" else SYNTAX
        yield _bad(f"key-{name}", fault, _odd(_pairs((pack(key), 0))), codes=codes)
    yield _bad("key-utf8", "A key has the byte 0xFF.", _odd(_pairs((b"\xa1\xff", 0))))
    yield _bad("key-in-tree-float", "A key of the tree is a float.", raw_tree(scalars(), _pairs((pack(1.0), 0)).data))
    fault = "A key of the tree is an extension value."
    yield _bad("key-in-tree-extension", fault, raw_tree(scalars(), _pairs((pack(Ext(1, bytes(4))), 0)).data))
    fault = "A key of the tree is there twice, in two encodings."
    yield _bad("double-in-tree", fault, raw_tree(scalars(), _pairs((b"\xa1a", 0), (b"\xd9\x01a", 0)).data))
    fault = "The key scf is there twice."
    yield _bad("double-scf", fault, assembled(scalars(), {"scf": 1}))
    fault = "The key tree is there twice."
    yield _bad("double-tree", fault, assembled(scalars(), {"tree": {}}))


def _extensions() -> Iterator[Case]:
    """Extension values outside the tree."""
    for name, code in (("0", 0), ("10", 10), ("127", 127), ("minus-1", -1), ("minus-128", -128)):
        fault = f"An extension value of the code {code} stands under an unknown key."
        requirements = ["SCF-TREE-001", "SCF-MAN-027"]
        yield _bad(f"extension-{name}-outside", fault, _odd([Ext(code, bytes(4))]), requirements, "tree.schema")
    places: tuple[tuple[str, str, Draft], ...] = (
        ("unknown-key", "A tensor stands under an unknown key.", _odd(Ext(1, bytes(4)))),
        ("unknown-inside", "A tuple stands in an array under an unknown key.", _odd([{1: Ext(2, [1])}])),
        ("item", "The item is a dtype node.", changed(scalars(), put("item", value=msgpack.ExtType(9, b"model")))),
        (
            "scf",
            "The value of scf is a bigint.",
            changed(scalars(), put("scf", value=msgpack.ExtType(4, bytes(8) + b"\x01"))),
        ),
        (
            "column",
            "An unknown column is a tensor.",
            changed(scalars(), put("tensors", "columns", "x", value=msgpack.ExtType(1, bytes(4)))),
        ),
        (
            "row",
            "An unknown key of an object has a tensor.",
            changed(basic(), put("objects", 0, "x", value=msgpack.ExtType(1, bytes(4)))),
        ),
        (
            "codec",
            "A parameter of a codec is a tuple.",
            changed(basic(), put("codecs", value=[[], [{"id": "x", "p": msgpack.ExtType(2, b"\x90")}]])),
        ),
    )
    for name, fault, draft in places:
        yield _bad(f"extension-outside-{name}", fault, draft, ["SCF-MAN-027"], SCHEMA)
