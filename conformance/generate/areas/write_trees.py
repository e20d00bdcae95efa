"""Every kind of node in a writer's tree, and values that no node can hold."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case, rejected
from ..requests import Node, boolean, integer, item, mapping, names, real, save, tensor, text, write_case, writer

__all__ = ["cases"]

_NODES: tuple[tuple[str, str, Node], ...] = (
    ("nil", "nil", ["nil"]),
    ("bool", "truth values", ["list", [boolean(value=True), boolean(value=False)]]),
    ("int", "integers at the edges of the encodings and of the range",
     ["list", [integer(value) for value in (
         0, 1, -1, 127, 128, -32, -33, 255, 256, 65535, 65536, -128, -129, -32769, 2**31, 2**32 - 1, 2**32,
         2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))]]),
    ("bigint", "integers beyond 64 bits",
     ["list", [integer(value) for value in (2**64, -(2**63) - 1, 2**71 - 1, 2**71, -(2**71), 10**40, -(10**40))]]),
    ("bigint-greatest", "the greatest and the least integer that there may be",
     ["list", [integer(2 ** (8 * 4096 - 1) - 1), integer(-(2 ** (8 * 4096 - 1)))]]),
    ("float", "floats to the bit",
     ["list", [real(bits) for bits in (
         0, 1 << 63, 0x3FF0000000000000, 0x3FB999999999999A, 1, 0x000FFFFFFFFFFFFF, 0x7FEFFFFFFFFFFFFF,
         0x7FF0000000000000, 0xFFF0000000000000)]]),
    ("float-nan", "NaNs with sign and payload, quiet and signalling",
     ["list", [real(bits) for bits in (
         0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000001, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF)]]),
    ("text", "texts", ["list", [text(value) for value in (
        "", "a", "n" * 31, "n" * 32, "n" * 255, "n" * 256, "a\x00b", "ü\u0308", "日本語", "😀", "\ufeff", "\u202e")]]),
    ("bytes", "bytes", ["list", [["bytes", ""], ["bytes", "00"], ["bytes", bytes(range(256)).hex()]]]),
    ("list", "lists", ["list", [["list", []], ["list", [["nil"], ["list", [text("x")]]]], tensor("t", (2,))]]),
    ("tuple", "tuples", ["tuple", [["tuple", []], ["tuple", [integer(1), text("a")]], ["list", []]]]),
    ("map", "maps, with integer keys too",
     mapping(("empty", mapping()), (0, integer(1)), (-1, mapping((2**64 - 1, text("x")))))),
    ("complex", "complex numbers to the bit",
     ["list", [["complex", "3ff0000000000000", "c000000000000000"],
               ["complex", "8000000000000000", "7ff8000000000001"]]]),
    ("timestamp", "times, with and without a zone",
     ["list", [["timestamp", "1767323045", 0, 0], ["timestamp", "1767319445", 0, 3600],
               ["timestamp", "1767323045", 500_000_000, None], ["timestamp", "-1", 1000, -43_200],
               ["timestamp", "0", 999_999_000, 50_400]]]),
    ("timestamp-nanoseconds", "a time with single nanoseconds", ["timestamp", "1767323045", 123_456_789, 0]),
    ("timestamp-far", "times that few libraries can hold",
     ["list", [["timestamp", str(2**63 - 1), 999_999_999, None], ["timestamp", str(-(2**63)), 0, 0]]]),
    ("timestamp-zone", "the greatest and the least zone",
     ["list", [["timestamp", "0", 0, 86_399], ["timestamp", "0", 0, -86_399]]]),
    ("indexed", "a value for each of three indices",
     ["indexed", "rank", 3, [text("a"), ["nil"], mapping(("t", tensor("t", (2,))))]]),
    ("set-text", "a set of texts, whose order is that of UTF-8", ["set", ["", "B", "a", "ab", "ü", "\uffff", "😀"]]),
    ("set-int", "a set of integers",
     ["set", [{"int": str(value)} for value in (-(2**63), -1, 0, 2, 10, 2**63, 2**64 - 1)]]),
    ("set-empty", "an empty set", ["set", []]),
    ("flattened", "a tensor subclass as the tensors inside it",
     ["flattened", [["q", tensor("q", (4,), dtype="I8")], ["scale", tensor("s", ())]], mapping(("bits", integer(8)))]),
    ("dtype", "dtypes as values", ["list", [["dtype", "BF16"], ["dtype", "F8_E4M3FNUZ"]]]),
)  # fmt: skip


def cases() -> Iterator[Case]:
    """Trees of one writer."""
    for name, what, node in _NODES:
        yield write_case(
            f"write-node-{name}", f"Nodes that are written: {what}",
            ["SCF-TREE-009" if name == "map" else "SCF-TREE-005", "SCF-COMMIT-002"],
            save(mapping(("value", node))),
        )  # fmt: skip
    yield write_case(
        "write-depth-64", "A tree of 64 levels", ["SCF-LIMIT-003", "SCF-TREE-005"], save(_nested(64))
    )
    yield write_case(
        "write-optimizer-absent-state", "A parameter without state gets none", ["SCF-STATE-004", "SCF-STATE-011"],
        save(_optimizer(), spec=item("optimizer")),
    )  # fmt: skip
    yield write_case(
        "write-rng", "States of generators in their typed forms", ["SCF-STATE-011"],
        save(items={"rng": item("rng")}, writers=[writer({"rng": _generators()})]),
    )  # fmt: skip
    yield from _refused()


def _nested(levels: int) -> Node:
    """A tree whose deepest node is at this level."""
    node: Node = ["list", []]
    for _ in range(levels - 2):
        node = ["list", [node]]
    return mapping(("strange", node))


def _optimizer() -> Node:
    state = mapping(
        ("step", tensor("step", ())), ("exp_avg", tensor("a", (4,))), ("exp_avg_sq", tensor("b", (4,)))
    )  # fmt: skip
    group = mapping(("params", ["set", ["bias", "frozen", "weight"]]), ("options", mapping(("lr", real(1)))))
    return mapping(("state", mapping(("weight", state))), ("groups", mapping(("0", group))))


def _generators() -> Node:
    python = mapping(("version", integer(3)), ("state", tensor("p", (625,), dtype="U32")), ("gauss", ["nil"]))
    numpy = mapping(
        ("algorithm", text("MT19937")), ("key", tensor("n", (624,), dtype="U32")), ("position", integer(624)),
        ("has_gauss", integer(0)), ("gauss", real(0)),
    )  # fmt: skip
    return mapping(
        ("python", ["indexed", "rank", 1, [python]]), ("numpy", ["indexed", "rank", 1, [numpy]]),
        ("torch", ["indexed", "rank", 1, [tensor("t", (64,), dtype="U8")]]),
    )  # fmt: skip


def _refused() -> Iterator[Case]:
    after = {"main": {"absent": ["c/checkpoint.json"]}}
    inside: tuple[tuple[str, str, Node, str], ...] = (
        ("object", "an object of the language", ["unsupported"], "write-node-map"),
        ("object-in-list", "an object in a list", ["list", [["nil"], ["unsupported"]]], "write-node-list"),
        ("object-in-tuple", "an object in a tuple", ["tuple", [["unsupported"]]], "write-node-tuple"),
        ("object-in-indexed", "an object at an index", ["indexed", "rank", 1, [["unsupported"]]], "write-node-indexed"),
        ("object-in-attributes", "an object among the attributes of a flattened tensor",
         ["flattened", [["q", tensor("q", (4,))]], mapping(("x", ["unsupported"]))], "write-node-flattened"),
        ("key", "an integer key above 2^64 - 1", mapping((2**64, ["nil"])), "write-node-map"),
        ("key-low", "an integer key below -2^63", mapping((-(2**63) - 1, ["nil"])), "write-node-map"),
        ("set", "a set with an integer above 2^64 - 1", ["set", [{"int": str(2**64)}]], "write-node-set-int"),
        ("set-mixed", "a set of texts and integers", ["set", [{"int": "1"}, "a"]], "write-node-set-text"),
    )  # fmt: skip
    for name, what, node, sibling in inside:
        yield write_case(
            f"write-unsupported-{name}", f"A value that no node can hold: {what}", ["SCF-TREE-005"],
            save(mapping(("fine", integer(1)), ("strange", node)), expect=names("state.unsupported", "strange")),
            kind="invalid", sibling=sibling, fault=f"The tree has {what}.", after=after,
        )  # fmt: skip
    yield write_case(
        "write-indexed-missing", "An indexed value that lacks an index", ["SCF-TREE-011"],
        save(
            mapping(("strange", ["indexed", "rank", 3, {"0": ["nil"], "2": ["nil"]}])),
            expect=names("state.diverged", "strange", others=["state.unsupported"]),
        ),
        kind="invalid", sibling="write-node-indexed", fault="No writer has the index 1 of 3.", after=after,
    )  # fmt: skip
    yield write_case(
        "write-unsupported-deep", "A tree of 65 levels", ["SCF-LIMIT-003", "SCF-TREE-005"],
        save(_nested(65), expect=rejected("limit.exceeded", "state.unsupported")),
        kind="invalid", sibling="write-depth-64", fault="The deepest node is at level 65.", after=after,
    )  # fmt: skip
    for name, value in (("bigint", 2 ** (8 * 4096 - 1)), ("bigint-negative", -(2 ** (8 * 4096 - 1)) - 1)):
        yield write_case(
            f"write-limit-{name}", "An integer that takes more than 4096 bytes", ["SCF-LIMIT-003", "SCF-TREE-005"],
            save(mapping(("value", integer(value))), expect=rejected("limit.exceeded", "state.unsupported")),
            kind="invalid", sibling="write-node-bigint-greatest", fault="The integer takes 4097 bytes.", after=after,
        )  # fmt: skip
    yield write_case(
        "write-limit-dimensions", "A tensor of 65 dimensions", ["SCF-LIMIT-003"],
        save(
            mapping(("w", tensor("w", (*(1,) * 63, 2, 3))), ("v", tensor("v", (2,)))),
            expect=rejected("limit.exceeded", "state.unsupported"),
        ),
        kind="invalid", sibling="write-shape-64-dimensions", fault="The tensor has 65 dimensions.", after=after,
    )  # fmt: skip
