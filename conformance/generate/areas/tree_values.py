"""Trees that are accepted: every node, bit for bit, in every encoding (sections 8.1, 8.2 and 8.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from ...oracle.encode import Draft, Item, Tensor
from ..case import Case, checkpoint, ok, step
from ..drafts import W, one, raw_tree, scalars, tensor
from ..expect import inspected, read_values
from ..forms import accepted, dtypes
from ..pack import Ext, Raw, ext, pack

__all__ = ["cases"]

Row = tuple[Any, Any]
"""A value to be packed, and its node."""
MAX, MIN = (1 << 64) - 1, -(1 << 63)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _scalars()
    yield from _extensions()
    yield from _keys()
    yield from _paths()


def _values(name: str, title: str, rows: Sequence[Row], requirements: Sequence[str] = ("SCF-LIMIT-001",)) -> Case:
    """A tree of these values, whose keys are their places."""
    draft = raw_tree(scalars(), pack({f"v{at}": value for at, (value, _) in enumerate(rows)}))
    node = ["map", {"$set": [[f"v{at}", node] for at, (_, node) in enumerate(rows)]}]
    return accepted(f"tree-{name}", title, requirements, draft, trees={"model": node})


def _int(value: int, data: str = "") -> Row:
    return (Raw(bytes.fromhex(data)) if data else value), ["int", str(value)]


def _float(bits: str) -> Row:
    return Raw(bytes.fromhex("cb" + bits)), ["float", bits]


def _single(bits: str, double: str) -> Row:
    return Raw(bytes.fromhex("ca" + bits)), ["float", double]


def _scalars() -> Iterator[Case]:
    simple: list[Row] = [(None, ["nil"]), (True, ["bool", True]), (False, ["bool", False]), ([], ["list", []])]
    simple += [({}, ["map", []]), ("", ["text", ""]), (b"", ["bytes", ""]), (b"\x00\xff", ["bytes", "00ff"])]
    simple += [([1, [None]], ["list", [["int", "1"], ["list", [["nil"]]]]]), (bytes(300), ["bytes", "00" * 300])]
    yield _values("scalars", "Nil, booleans, bytes, lists, maps", simple, ["SCF-LIMIT-001", "SCF-TREE-006"])
    limits = (0, 127, 128, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, MAX)
    negative = (-1, -32, -33, -128, -129, -32768, -32769, -(1 << 31), -(1 << 31) - 1, -(1 << 53) - 1, MIN)
    yield _values("integers", "Integers at the ends of every encoding", [_int(value) for value in (*limits, *negative)])
    long = [
        _int(1, "cc01"),
        _int(1, "cd0001"),
        _int(1, "ce00000001"),
        _int(1, "cf0000000000000001"),
        _int(1, "d001"),
        _int(1, "d10001"),
        _int(1, "d200000001"),
        _int(1, "d30000000000000001"),
        _int(-1, "d0ff"),
        _int(-1, "d1ffff"),
        _int(-1, "d2ffffffff"),
        _int(-1, "d3ffffffffffffffff"),
        _int(0, "cf0000000000000000"),
    ]
    yield _values("integers-long", "One integer in all its encodings", long, ["SCF-MAN-004", "SCF-LIMIT-001"])
    floats: tuple[str, ...] = (
        "0000000000000000",
        "8000000000000000",
        "3ff0000000000000",
        "bff8000000000000",
        "0000000000000001",
    )
    floats += ("7fefffffffffffff", "7ff0000000000000", "fff0000000000000", "7ff8000000000000", "fff8000000000000")
    floats += ("7ff0000000000001", "7ff8dead00000001", "fff4000000000000", "ffffffffffffffff", "000fffffffffffff")
    yield _values("floats", "Floats with all their bits, NaNs too", [_float(bits) for bits in floats])
    singles = [
        _single("00000000", "0000000000000000"),
        _single("80000000", "8000000000000000"),
        _single("3f800000", "3ff0000000000000"),
        _single("3dcccccd", "3fb99999a0000000"),
        _single("00000001", "36a0000000000000"),
        _single("7f7fffff", "47efffffe0000000"),
        _single("7f800000", "7ff0000000000000"),
        _single("ff800000", "fff0000000000000"),
    ]
    yield _values("floats-single", "Floats of 32 bits, as the binary64 of the same value", singles)
    texts = (
        "",
        "a",
        "é",
        "e\u0301",
        "\x00",
        "\ufeff",
        "\ufffe",
        "\U0010ffff",
        " ",
        "\u202e",
        "x" * 31,
        "x" * 32,
        "x" * 256,
    )
    rows: list[Row] = [(text, ["text", text]) for text in texts]
    for node, encodings in (
        (["text", "a"], ("d90161", "da000161", "db0000000161")),
        (["bytes", "61"], ("c40161", "c5000161", "c60000000161")),
        (["list", [["int", "1"]]], ("9101", "dc000101", "dd0000000101")),
        (["map", [["a", ["int", "1"]]]], ("81a16101", "de0001a16101", "df00000001a16101")),
    ):
        rows += [(Raw(bytes.fromhex(data)), node) for data in encodings]
    yield _values("texts", "Text as it is, and every length of head", rows, ["SCF-CONV-006", "SCF-MAN-004"])


def _big(value: int) -> Row:
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return Ext(4, value.to_bytes(size, "little", signed=True)), ["int", str(value)]


def _time(seconds: int, nanoseconds: int, offset: int | None) -> Row:
    payload = struct.pack("<qIi", seconds, nanoseconds, -(1 << 31) if offset is None else offset)
    return Ext(5, payload), ["timestamp", str(seconds), nanoseconds, offset]


def _indexed(size: int, entries: dict[Any, Any], axis: str = "rank") -> Ext:
    return Ext(6, {"axis": axis, "size": size, "values": entries})


def _set(elements: Sequence[str | int]) -> Row:
    return Ext(7, list(elements)), ["set", [each if isinstance(each, str) else {"int": str(each)} for each in elements]]


def _extensions() -> Iterator[Case]:
    tree006 = ["SCF-TREE-006", "SCF-LIMIT-001"]
    one_two = ["tuple", [["int", "1"], ["int", "2"]]]
    tuples: list[Row] = [
        (Raw(bytes.fromhex(data)), node)
        for data, node in (
            ("d40290", ["tuple", []]),
            ("d5029101", ["tuple", [["int", "1"]]]),
            ("d6029201a161", ["tuple", [["int", "1"], ["text", "a"]]]),
            ("d702dd00000003010203", ["tuple", [["int", "1"], ["int", "2"], ["int", "3"]]]),
            ("c70302920102", one_two),
            ("c8000302920102", one_two),
            ("c90000000302920102", one_two),
            ("c70702dd000000020102", one_two),
        )
    ]
    wide = Ext(2, list(range(15)))
    tuples += [(wide, ["tuple", [["int", str(at)] for at in range(15)]])]
    tuples += [
        (
            Ext(2, [Ext(2, [Ext(2, [])]), [1], {}]),
            ["tuple", [["tuple", [["tuple", []]]], ["list", [["int", "1"]]], ["map", []]]],
        )
    ]
    yield _values("tuples", "Tuples in every encoding of an extension", tuples, tree006)
    complexes: list[Row] = []
    for real, imaginary in (("3ff0000000000000", "c000000000000000"), ("8000000000000000", "7ff0000000000001")):
        payload = bytes.fromhex(real)[::-1] + bytes.fromhex(imaginary)[::-1]
        node = ["complex", real, imaginary]
        complexes += [(Ext(3, payload), node), *((Raw(ext(3, payload, width)), node) for width in (1, 2, 4))]
    yield _values("complex", "Complex numbers, bit for bit, in every encoding of an extension", complexes, tree006)
    bigs = (
        1 << 64,
        -(1 << 63) - 1,
        (1 << 71) - 1,
        1 << 71,
        -(1 << 71),
        -(1 << 71) - 1,
        (1 << 127) - 1,
        -(1 << 127),
        1 << 4000,
    )
    ends = (2 ** (8 * 4096 - 1) - 1, -(2 ** (8 * 4096 - 1)))
    rows = [_big(value) for value in bigs]
    rows += [(Raw(ext(4, bytes(8) + b"\x01", width)), ["int", str(1 << 64)]) for width in (1, 2, 4)]
    yield _values("bigints", "Integers beyond those of MessagePack", rows, tree006)
    text = [_decimal(value) for value in ends]
    rows = [
        (Ext(4, value.to_bytes(4096, "little", signed=True)), ["int", digits])
        for value, digits in zip(ends, text, strict=True)
    ]
    yield _values("bigints-4096", "The largest and the smallest integer: payloads of 4096 bytes", rows, tree006)
    times = [
        _time(1767323045, 0, 0),
        _time(1767319445, 0, 3600),
        _time(1767323045, 500_000_000, None),
        _time(0, 999_999_999, 86_399),
        _time(-1, 1, -86_399),
        _time((1 << 63) - 1, 0, 0),
        _time(MIN, 999_999_999, None),
    ]
    payload = struct.pack("<qIi", 1, 2, 3)
    times += [(Raw(ext(5, payload, width)), ["timestamp", "1", 2, 3]) for width in (1, 2, 4)]
    yield _values("timestamps", "Times at the ends of their ranges", times, tree006)
    first = _indexed(2, {0: "a", 1: "b"}), ["indexed", "rank", 2, [["text", "a"], ["text", "b"]]]
    swapped = _indexed(2, {1: "b", 0: "a"}), first[1]
    long = Raw(ext(6, pack({"size": 1, "values": {Raw(b"\xcf" + bytes(8)): None}, "axis": ""}), 4))
    nested = _indexed(1, {0: _indexed(1, {0: [1]}, "b")}, "a")
    inner = ["indexed", "a", 1, [["indexed", "b", 1, [["list", [["int", "1"]]]]]]]
    many = _indexed(300, dict.fromkeys(range(300))), ["indexed", "rank", 300, [["nil"]] * 300]
    rows = [first, swapped, (long, ["indexed", "", 1, [["nil"]]]), (nested, inner), many]
    yield _values("indexed", "Indexed values, whatever the order of keys", rows, [*tree006, "SCF-TREE-007"])
    sets = [
        _set([]),
        _set(["a", "b"]),
        _set(["", "A", "B", "a", "aa", "e\u0301", "é", "\uffff", "\U00010000"]),
        _set([MIN, -2, -1, 0, 1, 255, 1 << 63, MAX]),
        (Raw(ext(7, b"\x92\xcf" + bytes(8) + b"\xd0\x01", 2)), ["set", [{"int": "0"}, {"int": "1"}]]),
    ]
    yield _values("sets", "Sets of text in the order of its bytes, and of integers", sets, tree006)
    flat = Ext(8, {"inner": {"a": 1, "": [2]}, "attributes": {"bits": 8}})
    other = Ext(8, {"attributes": None, "inner": {}})
    rows = [
        (
            flat,
            [
                "flattened",
                {"$set": [["a", ["int", "1"]], ["", ["list", [["int", "2"]]]]]},
                ["map", [["bits", ["int", "8"]]]],
            ],
        ),
        (other, ["flattened", [], ["nil"]]),
        (
            Ext(8, {"inner": {"x": other}, "attributes": Ext(2, [])}),
            ["flattened", [["x", ["flattened", [], ["nil"]]]], ["tuple", []]],
        ),
    ]
    yield _values("flattened", "Flattened values, whatever the order of keys", rows, tree006)
    names = ("BF16", "F", "_", "x9", "F128_LATER", "L" * 64)
    rows = [(Ext(9, name.encode()), ["dtype", name]) for name in names]
    rows += [(Raw(ext(9, b"BF16", width)), ["dtype", "BF16"]) for width in (1, 2, 4)]
    yield _values("dtypes", "Dtypes as values, known and unknown", rows, ["SCF-TREE-008", "SCF-TREE-006"])


def _decimal(value: int) -> str:
    """Decimal digits of an integer of any size."""
    sign, rest, parts = "-" if value < 0 else "", abs(value), []
    while rest:
        rest, low = divmod(rest, 10**1000)
        parts.append(str(low).zfill(1000) if rest else str(low))
    return sign + "".join(reversed(parts))


def _keys() -> Iterator[Case]:
    keys: list[str | int] = [
        "b",
        "a",
        2,
        1,
        "1",
        -1,
        "-1",
        "",
        "é",
        "e\u0301",
        "__proto__",
        "constructor",
        MIN,
        MAX,
        "A",
        10,
        9,
    ]
    tree = {key: at for at, key in enumerate(keys)}
    draft = scalars(tree)
    title = "Keys of text and of integers, which stay apart"
    yield accepted("tree-keys", title, ["SCF-TREE-009", "SCF-CONV-006", "SCF-LIMIT-001"], draft)
    node = [
        "map",
        [[key if isinstance(key, str) else {"int": str(key)}, ["int", str(at)]] for at, key in enumerate(keys)],
    ]
    nested = scalars(
        {"outer": tree, "flat": msgpack.ExtType(8, pack({"inner": {"z": 1, "a": 2}, "attributes": {3: 1, 2: 1}}))}
    )
    attributes = ["map", [[{"int": "3"}, ["int", "1"]], [{"int": "2"}, ["int", "1"]]]]
    flat = ["flattened", [["z", ["int", "1"]], ["a", ["int", "2"]]], attributes]
    yield accepted(
        "tree-order",
        "Maps come back in stored order",
        ["SCF-TREE-004"],
        nested,
        trees={"model": ["map", [["outer", node], ["flat", flat]]]},
    )
    yield accepted("tree-empty", "A tree without nodes", ["SCF-LIMIT-001"], scalars({}))


def _tensor(number: int) -> Tensor:
    return Tensor(f"t{number}", "U8", (2,), bytes([number, 255 - number]))


def _leaf(number: int) -> Ext:
    return Ext(1, number.to_bytes(4, "little"))


def _paths() -> Iterator[Case]:
    """Tensors below every kind of container, each read by its path."""
    shared = {"t": tensor(0), "f": msgpack.ExtType(2, pack([_leaf(1), [_leaf(2)]])), "l": [tensor(3), {"x": tensor(4)}]}
    shared["i"] = msgpack.ExtType(6, pack({"axis": "rank", "size": 2, "values": {0: _leaf(5), 1: {"y": _leaf(6)}}}))
    shared["s"] = msgpack.ExtType(
        8, pack({"inner": {"q": _leaf(7), "attributes": _leaf(8)}, "attributes": {"z": _leaf(9)}})
    )
    draft = _numbered(10, shared)
    title = "Tensors in every kind of container"
    requirements = ["SCF-TREE-009", "SCF-LIMIT-001"]
    yield _by_paths("tree-paths-containers", title, requirements, draft)
    odd = {"a.b": tensor(0), "a": {"b": tensor(1), "b/c": tensor(2), "": tensor(3)}, "a/b": tensor(4), 1: tensor(5)}
    odd |= {
        "1": tensor(6),
        "#1": tensor(7),
        -1: {MAX: tensor(8), "-1": tensor(9)},
        "é": tensor(10),
        "e\u0301": tensor(11),
    }
    odd |= {"__proto__": {"__metadata__": tensor(12)}, "%": tensor(13), "constructor": tensor(14)}
    title = "Paths that differ in kind or boundary of a component alone"
    yield _by_paths("tree-paths-components", title, ["SCF-TREE-009", "SCF-CONV-006"], _numbered(15, odd))
    alias = {"w": tensor(0), "tied": {"w": tensor(0), "again": [tensor(0)]}, "step": 2}
    draft = one(W, tree=alias)
    yield accepted("tree-aliases", "Three leaves of one tensor", ["SCF-LIMIT-001", "SCF-TREE-009"], draft, read=True)
    encodings = {f"e{at}": Raw(ext(1, bytes(4), width)) for at, width in enumerate((None, 1, 2, 4))}
    draft = raw_tree(one(W), pack(encodings))
    leaves = ["map", {"$set": [[key, ["tensor", 0]] for key in encodings]}]
    title = "References to a tensor in every encoding of an extension"
    yield accepted("tree-tensors", title, ["SCF-TREE-006", "SCF-LIMIT-001"], draft, trees={"model": leaves})


def _numbered(count: int, tree: dict[Any, Any]) -> Draft:
    return one(*map(_tensor, range(count)), tree=tree)


def _by_paths(name: str, title: str, requirements: Sequence[str], draft: Draft) -> Case:
    """Everything at once, then each tensor by its path."""
    item: Item = draft.items["model"]
    whole = read_values(item)
    listed = whole["tensors"]["$set"]
    steps = [step("inspect", ok(**inspected(draft))), step("read", ok(**whole))]
    steps += [step("read", ok(tensors=[leaf]), paths=[leaf["path"]]) for leaf in listed]
    files, options = checkpoint(draft), dtypes(draft)
    return Case(name, title, requirements, "read", steps, files=files, options=options)
