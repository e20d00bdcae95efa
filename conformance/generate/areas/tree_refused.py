"""Trees that are refused: unknown codes, wrong payloads, depth, references (chapter 8)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ..case import Case
from ..drafts import W, one, raw_tree, scalars
from ..forms import accepted, refused
from ..pack import Ext, Raw, pack

__all__ = ["cases"]

TREE: Final = "tree.schema"
SYNTAX: Final = "manifest.syntax"
DEPTH: Final = 64
Wrap = Callable[[Any], Any]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _codes()
    yield from _payloads()
    yield from _messagepack()
    yield from _depth()
    yield from _references()


def _bad(name: str, fault: str, sibling: str, value: Any, requirements: Sequence[str], codes: Any = TREE) -> Case:
    """A tree with this value at the key ``v``."""
    draft = raw_tree(scalars(), pack({"v": value}))
    title = f"Tree: {fault[0].lower()}{fault[1:-1]}"
    return refused(f"tree-{name}", title, fault, codes, requirements, sibling, draft)


def _codes() -> Iterator[Case]:
    for name, code in (
        ("0", 0),
        ("10", 10),
        ("42", 42),
        ("127", 127),
        ("minus-1", -1),
        ("minus-2", -2),
        ("minus-128", -128),
    ):
        fault = f"A node is an extension of the code {code}."
        yield _bad(f"code-{name}", fault, "tree-tuples", Ext(code, bytes(4)), ["SCF-TREE-001"])
    for name, value in (
        ("list", [1, Ext(10, b"a")]),
        ("tuple", Ext(2, [Ext(10, b"a")])),
        ("map", {1: {2: Ext(-1, bytes(8))}}),
    ):
        fault = f"An unknown extension lies inside a {name}."
        yield _bad(f"code-inside-{name}", fault, "tree-tuples", value, ["SCF-TREE-001"])
    inside = Ext(6, {"axis": "a", "size": 1, "values": {0: Ext(99, b"")}})
    yield _bad(
        "code-inside-indexed",
        "An unknown extension lies inside an indexed value.",
        "tree-indexed",
        inside,
        ["SCF-TREE-001"],
    )
    inside = Ext(8, {"inner": {}, "attributes": Ext(99, b"")})
    yield _bad(
        "code-inside-flattened",
        "An unknown extension lies in the attributes of a flattened value.",
        "tree-flattened",
        inside,
        ["SCF-TREE-001"],
    )


def _time(seconds: int, nanoseconds: int, offset: int) -> Ext:
    return Ext(5, struct.pack("<qIi", seconds, nanoseconds, offset))


def _indexed(**changes: Any) -> Ext:
    members = {"axis": "rank", "size": 2, "values": {0: "a", 1: "b"}, **changes}
    return Ext(6, {key: value for key, value in members.items() if value is not ...})


def _flat(**changes: Any) -> Ext:
    members = {"inner": {"q": 1}, "attributes": {"bits": 8}, **changes}
    return Ext(8, {key: value for key, value in members.items() if value is not ...})


def _big(data: str) -> Ext:
    return Ext(4, bytes.fromhex(data))


def _payloads() -> Iterator[Case]:
    rows: tuple[tuple[str, str, Any, str], ...] = (
        ("tuples", "tuple-map", Ext(2, {}), "The payload of a tuple is a map."),
        ("tuples", "tuple-int", Ext(2, 1), "The payload of a tuple is an integer."),
        ("tuples", "tuple-tuple", Ext(2, Ext(2, [])), "The payload of a tuple is a tuple."),
        ("complex", "complex-15", Ext(3, bytes(15)), "A complex number has 15 bytes."),
        ("complex", "complex-17", Ext(3, bytes(17)), "A complex number has 17 bytes."),
        ("complex", "complex-8", Ext(3, bytes(8)), "A complex number has 8 bytes."),
        ("bigints", "bigint-empty", _big(""), "A bigint has no bytes."),
        ("bigints", "bigint-8", _big("ff" * 7 + "7f"), "A bigint has 8 bytes."),
        ("bigints", "bigint-zero", _big("00" * 9), "A bigint is 0, in nine bytes."),
        ("bigints", "bigint-2-64-less-1", _big("ff" * 8 + "00"), "A bigint is 2^64 - 1."),
        ("bigints", "bigint-2-63", _big("00" * 7 + "80" + "00"), "A bigint is 2^63."),
        ("bigints", "bigint-minus-2-63", _big("00" * 7 + "80" + "ff"), "A bigint is -2^63."),
        ("bigints", "bigint-minus-1", _big("ff" * 9), "A bigint is -1."),
        ("bigints", "bigint-byte-more", _big("00" * 8 + "01" + "00"), "A bigint is 2^64 with a byte of zeros more."),
        (
            "bigints",
            "bigint-byte-more-negative",
            _big("ff" * 7 + "7f" + "ffff"),
            "A bigint is -2^63 - 1 with a byte of ones more.",
        ),
        ("bigints-4096", "bigint-4097", Ext(4, bytes(4096) + b"\x01"), "A bigint has 4097 bytes."),
        ("timestamps", "timestamp-15", Ext(5, bytes(15)), "A timestamp has 15 bytes."),
        ("timestamps", "timestamp-12", Ext(5, bytes(12)), "A timestamp has 12 bytes."),
        ("timestamps", "timestamp-17", Ext(5, bytes(17)), "A timestamp has 17 bytes."),
        ("timestamps", "timestamp-nanoseconds", _time(0, 10**9, 0), "A timestamp has 10^9 nanoseconds."),
        (
            "timestamps",
            "timestamp-nanoseconds-most",
            _time(0, (1 << 32) - 1, 0),
            "A timestamp has 2^32 - 1 nanoseconds.",
        ),
        ("timestamps", "timestamp-offset", _time(0, 0, 86_400), "The offset of a timestamp is 86,400."),
        ("timestamps", "timestamp-offset-minus", _time(0, 0, -86_400), "The offset of a timestamp is -86,400."),
        ("timestamps", "timestamp-offset-least", _time(0, 0, 1 - (1 << 31)), "The offset of a timestamp is -2^31 + 1."),
        ("indexed", "indexed-array", Ext(6, []), "The payload of an indexed value is an array."),
        ("indexed", "indexed-no-axis", _indexed(axis=...), "An indexed value has no axis."),
        ("indexed", "indexed-no-size", _indexed(size=...), "An indexed value has no size."),
        ("indexed", "indexed-no-values", _indexed(values=...), "An indexed value has no values."),
        ("indexed", "indexed-more", _indexed(note=1), "An indexed value has a key more."),
        ("indexed", "indexed-axis-int", _indexed(axis=1), "The axis of an indexed value is an integer."),
        ("indexed", "indexed-axis-bytes", _indexed(axis=b"rank"), "The axis of an indexed value is bytes."),
        ("indexed", "indexed-size-0", _indexed(size=0, values={}), "The size of an indexed value is 0."),
        ("indexed", "indexed-size-minus-1", _indexed(size=-1, values={}), "The size of an indexed value is -1."),
        ("indexed", "indexed-size-float", _indexed(size=2.0), "The size of an indexed value is a float."),
        ("indexed", "indexed-size-true", _indexed(size=True, values={0: 1}), "The size of an indexed value is true."),
        (
            "indexed",
            "indexed-size-2-32-less-1",
            _indexed(size=(1 << 32) - 1),
            "The size of an indexed value is 2^32 - 1.",
        ),
        ("indexed", "indexed-size-most", _indexed(size=(1 << 64) - 1), "The size of an indexed value is 2^64 - 1."),
        ("indexed", "indexed-values-list", _indexed(values=["a", "b"]), "The values of an indexed value are a list."),
        ("indexed", "indexed-key-text", _indexed(values={0: "a", "1": "b"}), "An index is text."),
        ("indexed", "indexed-key-size", _indexed(values={0: "a", 2: "b"}), "An index is the size."),
        ("indexed", "indexed-key-minus-1", _indexed(values={0: "a", 1: "b", -1: "c"}), "An index is -1."),
        ("indexed", "indexed-key-more", _indexed(values={0: "a", 1: "b", 2: "c"}), "An index is behind the last."),
        ("sets", "set-map", Ext(7, {}), "The payload of a set is a map."),
        ("sets", "set-mixed", Ext(7, [1, "a"]), "A set has an integer and a text."),
        ("sets", "set-floats", Ext(7, [1.0, 2.0]), "A set has floats."),
        ("sets", "set-true", Ext(7, [False, True]), "A set has booleans."),
        ("sets", "set-nil", Ext(7, [None]), "A set has nil."),
        ("sets", "set-bytes", Ext(7, [b"a"]), "A set has bytes."),
        ("sets", "set-nested", Ext(7, [["a"]]), "A set has a list."),
        ("sets", "set-tuple", Ext(7, [Ext(2, [])]), "A set has a tuple."),
        ("sets", "set-bigint", Ext(7, [_big("00" * 8 + "01")]), "A set has a bigint."),
        ("sets", "set-unsorted", Ext(7, ["b", "a"]), "A set of text is not sorted."),
        ("sets", "set-twice", Ext(7, ["a", "a"]), "A set has a text twice."),
        ("sets", "set-utf-16", Ext(7, ["\U00010000", "\uffff"]), "A set of text is sorted by units of UTF-16."),
        ("sets", "set-case", Ext(7, ["a", "B"]), "A set of text is sorted without regard to case."),
        ("sets", "set-integers-unsorted", Ext(7, [2, 10, 1]), "A set of integers is not sorted."),
        (
            "sets",
            "set-integers-twice",
            Ext(7, [1, Raw(b"\xcd\x00\x01")]),
            "A set has an integer twice, in two encodings.",
        ),
        ("sets", "set-negative", Ext(7, [1, -1]), "A set has a negative integer behind a positive one."),
        ("sets", "set-signs", Ext(7, [(1 << 64) - 1, -1]), "A set is sorted as if its integers were without sign."),
        ("sets", "set-by-digits", Ext(7, [10, 9]), "A set of integers is sorted by their digits."),
        ("flattened", "flattened-array", Ext(8, [{}, None]), "The payload of a flattened value is an array."),
        ("flattened", "flattened-no-inner", _flat(inner=...), "A flattened value has no inner."),
        ("flattened", "flattened-no-attributes", _flat(attributes=...), "A flattened value has no attributes."),
        ("flattened", "flattened-more", _flat(type="Float8Tensor"), "A flattened value has a key more."),
        ("flattened", "flattened-inner-list", _flat(inner=[1]), "The inner of a flattened value is a list."),
        (
            "flattened",
            "flattened-inner-int",
            _flat(inner={1: 1}),
            "A name of the inner of a flattened value is an integer.",
        ),
        ("dtypes", "dtype-empty", Ext(9, b""), "A dtype node has no bytes."),
        ("dtypes", "dtype-65", Ext(9, b"L" * 65), "A dtype node has 65 bytes."),
        ("dtypes", "dtype-digit", Ext(9, b"16F"), "A dtype node begins with a digit."),
        ("dtypes", "dtype-point", Ext(9, b"torch.bfloat16"), "A dtype node has a point."),
        ("dtypes", "dtype-umlaut", Ext(9, "BÄ16".encode()), "A dtype node is not ASCII."),
        ("dtypes", "dtype-feed", Ext(9, b"BF16\n"), "A dtype node ends with a line feed."),
        ("dtypes", "dtype-nul", Ext(9, b"BF16\x00"), "A dtype node ends with the byte 0."),
    )
    for sibling, name, value, fault in rows:
        requirements = ["SCF-TREE-006", *(["SCF-TREE-007"] if name == "indexed-key-size" else [])]
        yield _bad(name, fault, f"tree-{sibling}", value, requirements)
    for name, values, fault in (
        ("last", {0: "a"}, "An indexed value of size 2 lacks the index 1."),
        ("first", {1: "b"}, "An indexed value of size 2 lacks the index 0."),
        ("all", {}, "An indexed value of size 2 has no values."),
    ):
        yield _bad(f"indexed-lacks-{name}", fault, "tree-indexed", _indexed(values=values), ["SCF-TREE-007"])
    fault = "An indexed value of size 2^32 - 2 has two values."
    yield _bad(
        "indexed-lacks-most", fault, "tree-indexed", _indexed(size=(1 << 32) - 2), ["SCF-TREE-007", "SCF-CONV-004"]
    )


def _messagepack() -> Iterator[Case]:
    """Payloads that are no MessagePack of the profile."""
    either = [SYNTAX, TREE]
    rows: tuple[tuple[str, Any, str, Any], ...] = (
        ("tuple-empty", Ext(2, b""), "The payload of a tuple has no bytes.", either),
        ("tuple-byte-behind", Ext(2, b"\x91\x01\x00"), "A byte follows the array of a tuple.", either),
        ("indexed-empty", Ext(6, b""), "The payload of an indexed value has no bytes.", either),
        ("set-byte-behind", Ext(7, b"\x90\xc0"), "A nil follows the array of a set.", either),
        ("tuple-cut", Ext(2, b"\x92\x01"), "The payload of a tuple ends within its array.", SYNTAX),
        ("tuple-c1", Ext(2, b"\x91\xc1"), "The payload of a tuple has the byte 0xC1.", SYNTAX),
        ("tuple-utf8", Ext(2, b"\x91\xa1\xff"), "A string in a tuple is not UTF-8.", SYNTAX),
        ("tuple-double-key", Ext(2, b"\x91\x82\x01\x00\x01\x00"), "A map in a tuple has a key twice.", SYNTAX),
        (
            "tuple-float-key",
            Ext(2, [Raw(b"\x81" + pack(1.0) + b"\x00")]),
            "A map in a tuple has a float as key.",
            SYNTAX,
        ),
        (
            "tuple-array-32",
            Ext(2, b"\xdd\xff\xff\xff\xff"),
            "The array of a tuple says that it has 2^32 - 1 elements.",
            SYNTAX,
        ),
        ("set-cut", Ext(7, b"\x92\xa1a\xa2b"), "The payload of a set ends within a string.", SYNTAX),
        (
            "indexed-double-index",
            Ext(6, b"\x83\xa4axis\xa1r\xa4size\x01\xa6values\x82\x00\x01\xcc\x00\x02"),
            "An index is there twice, in two encodings.",
            SYNTAX,
        ),
        (
            "indexed-double-key",
            Ext(6, b"\x84\xa4axis\xa1r\xa4axis\xa1r\xa4size\x01\xa6values\x81\x00\x01"),
            "An indexed value has its axis twice.",
            SYNTAX,
        ),
        (
            "flattened-double-inner",
            Ext(8, b"\x82\xa5inner\x82\xa1a\x01\xa1a\x02\xaaattributes\xc0"),
            "A flattened value has an inner name twice.",
            SYNTAX,
        ),
        (
            "flattened-utf8",
            Ext(8, b"\x82\xa5inner\x81\xa1\x80\x01\xaaattributes\xc0"),
            "An inner name is not UTF-8.",
            SYNTAX,
        ),
    )
    for name, value, fault, codes in rows:
        sibling = {"tuple": "tree-tuples", "set": "tree-sets", "indexed": "tree-indexed"}.get(
            name.partition("-")[0], "tree-flattened"
        )
        requirements = ["SCF-MAN-004", "SCF-TREE-006"]
        if codes == SYNTAX:
            requirements = ["SCF-MAN-004"]
        yield _bad(f"payload-{name}", fault, sibling, value, requirements, codes)


WRAPS: Final[dict[str, Wrap]] = {
    "lists": lambda node: [node],
    "maps": lambda node: {1: node},
    "tuples": lambda node: Ext(2, [node]),
    "indexed": lambda node: Ext(6, {"axis": "a", "size": 1, "values": {0: node}}),
    "flattened-inner": lambda node: Ext(8, {"inner": {"a": node}, "attributes": None}),
    "flattened-attributes": lambda node: Ext(8, {"inner": {}, "attributes": node}),
}
NODES: Final[dict[str, Wrap]] = {
    "lists": lambda node: ["list", [node]],
    "maps": lambda node: ["map", [[{"int": "1"}, node]]],
    "tuples": lambda node: ["tuple", [node]],
    "indexed": lambda node: ["indexed", "a", 1, [node]],
    "flattened-inner": lambda node: ["flattened", [["a", node]], ["nil"]],
    "flattened-attributes": lambda node: ["flattened", [], node],
}


def _deep(wrap: Wrap, node: Any, times: int) -> Any:
    for _ in range(times):
        node = wrap(node)
    return node


def _depth() -> Iterator[Case]:
    """The top is level 1, the value at its key level 2."""
    for name, wrap in WRAPS.items():
        requirements = ["SCF-TREE-002", "SCF-LIMIT-001", "SCF-SEC-006"]
        for end, value, node, what in (
            ("leaf", 5, ["int", "5"], "a leaf"),
            ("list", [], ["list", []], "an empty list"),
            ("tuple", Ext(2, []), ["tuple", []], "an empty tuple"),
        ):
            draft = raw_tree(scalars(), pack({"v": _deep(wrap, value, DEPTH - 2)}))
            expected = ["map", [["v", _deep(NODES[name], node, DEPTH - 2)]]]
            title = f"Nested {name.replace('-', ': ')}; {what} at level 64"
            yield accepted(f"tree-depth-{name}-{end}", title, requirements, draft, trees={"model": expected})
        fault = f"Nested {name.replace('-', ': ')} hold a leaf at level 65."
        codes = TREE
        yield _bad(
            f"depth-{name}-65", fault, f"tree-depth-{name}-leaf", _deep(wrap, 5, DEPTH - 1), ["SCF-TREE-002"], codes
        )
    fault = "A list that is not empty is at level 64, behind tuples and maps."
    mixed: Any = [None]
    for number in range(DEPTH - 2):
        mixed = Ext(2, [mixed]) if number % 2 else {number: mixed}
    yield _bad("depth-mixed", fault, "tree-depth-tuples-list", mixed, ["SCF-TREE-002"])
    fault = "A tensor is at level 65."
    draft = raw_tree(one(W), pack({"w": _deep(WRAPS["lists"], Ext(1, bytes(4)), DEPTH - 1)}))
    yield refused(
        "tree-depth-tensor",
        "Tree: a tensor is at level 65",
        fault,
        TREE,
        ["SCF-TREE-002"],
        "tree-depth-lists-leaf",
        draft,
    )


def _references() -> Iterator[Case]:
    rows: tuple[tuple[str, Any, str, list[str]], ...] = (
        (
            "above",
            {"w": Ext(1, bytes(4)), "x": Ext(1, b"\x01\0\0\0")},
            "The tree references the tensor behind the last.",
            ["SCF-MAN-014"],
        ),
        (
            "most",
            {"w": Ext(1, bytes(4)), "x": Ext(1, b"\xff" * 4)},
            "The tree references the tensor 2^32 - 1.",
            ["SCF-MAN-014"],
        ),
        (
            "big-endian",
            {"w": Ext(1, bytes(4)), "x": Ext(1, b"\0\0\0\x01")},
            "The tree references the tensor 2^24.",
            ["SCF-MAN-014"],
        ),
        ("none", {"step": 2}, "No leaf references the tensor.", ["SCF-MAN-014"]),
        ("empty", {}, "The tree is empty, and there is a tensor.", ["SCF-MAN-014"]),
        ("3-bytes", {"w": Ext(1, bytes(4)), "x": Ext(1, bytes(3))}, "A reference has three bytes.", ["SCF-TREE-006"]),
        ("5-bytes", {"w": Ext(1, bytes(4)), "x": Ext(1, bytes(5))}, "A reference has five bytes.", ["SCF-TREE-006"]),
        ("8-bytes", {"w": Ext(1, bytes(4)), "x": Ext(1, bytes(8))}, "A reference has eight bytes.", ["SCF-TREE-006"]),
        ("no-bytes", {"w": Ext(1, bytes(4)), "x": Ext(1, b"")}, "A reference has no bytes.", ["SCF-TREE-006"]),
        ("in-set", {"w": Ext(1, bytes(4)), "x": Ext(7, [Ext(1, bytes(4))])}, "A set has a tensor.", ["SCF-TREE-006"]),
    )
    for name, tree, fault, requirements in rows:
        title = f"References: {fault[0].lower()}{fault[1:-1]}"
        draft = raw_tree(one(W), pack(tree))
        yield refused(f"tree-reference-{name}", title, fault, TREE, requirements, "tree-aliases", draft)
    draft = raw_tree(scalars(), pack({"x": Ext(1, bytes(4))}))
    fault = "The tree references the tensor 0, and there is none."
    yield refused(
        "tree-reference-no-tensors", "References: no tensors", fault, TREE, ["SCF-MAN-014"], "tree-aliases", draft
    )
