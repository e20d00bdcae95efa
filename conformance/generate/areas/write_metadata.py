"""Metadata, parent, and the rest of the root."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case, ok, rejected, step
from ..requests import Node, boolean, integer, mapping, real, save, tensor, text, write_case

__all__ = ["cases"]

_MAXJSON = 2**53 - 1
_VALUES: tuple[tuple[str, str, Node], ...] = (
    ("plain", "null, truth values and texts",
     mapping(("none", ["nil"]), ("yes", boolean(value=True)), ("no", boolean(value=False)), ("text", text("")))),
    ("integers", "integers on both sides of the greatest that JSON keeps",
     mapping(*((str(value), integer(value)) for value in (
         0, -1, _MAXJSON, -_MAXJSON, _MAXJSON + 1, -_MAXJSON - 1, 2**63, 2**64, -(2**64), 10**100)))),
    ("integer-longest", "the integer with the most digits that there may be",
     mapping(("long", integer(10**4095)), ("negative", integer(-(10**4094))))),
    ("floats", "floats to the bit, whole ones too",
     mapping(*((f"{bits:x}", real(bits)) for bits in (
         0, 1 << 63, 0x3FF0000000000000, 0x3FB999999999999A, 1, 0x7FEFFFFFFFFFFFFF, 0x444B1AE4D6E2EF50,
         0x4340000000000000, 0x0010000000000000, 0x3F1A36E2EB1C432D)))),
    ("not-finite", "infinities and NaN",
     mapping(("inf", real(0x7FF0000000000000)), ("minus", real(0xFFF0000000000000)),
             ("nan", real(0x7FF8000000000000)))),
    ("int-and-float", "1 and 1.0 are two values",
     mapping(("int", integer(1)), ("float", real(0x3FF0000000000000)), ("zero", integer(0)))),
    ("text", "texts that JSON escapes, and those that it need not",
     mapping(*((f"t{number}", text(value)) for number, value in enumerate((
         '"\\/\b\f\n\r\t', "\x00\x1f\x7f", "\u2028\u2029", "😀", "ü\u0308", "\ufeff", "</script>"))))),
    ("dollars", "names that begin with dollar signs",
     mapping(*((name, integer(number)) for number, name in enumerate(
         ("$", "$int", "$float", "$$", "$$int", "a$", "$price"))))),
    ("tag-look-alike", "an object that looks like a tag",
     mapping(("a", mapping(("$int", text("5")))), ("b", mapping(("$float", text("nan"))))),
    ),
    ("nested", "objects and arrays in each other, empty ones too",
     mapping(("list", ["list", [["list", []], mapping(), ["list", [integer(1), mapping(("x", ["nil"]))]]]]),
             ("map", mapping(("", mapping(("deep", ["list", [real(0)]]))))))),
    ("empty-name", "an empty name", mapping(("", integer(1)))),
)  # fmt: skip


def cases() -> Iterator[Case]:
    """What a root says beside its items."""
    tree = mapping(("w", tensor("w")))
    for name, what, metadata in _VALUES:
        yield write_case(
            f"write-metadata-{name}", f"Metadata: {what}", ["SCF-ROOT-026"],
            save(tree, metadata=metadata), _shown(metadata),
        )  # fmt: skip
    yield write_case(
        "write-metadata-depth-64", "Metadata of 64 levels, those of the root counted", ["SCF-LIMIT-003"],
        save(tree, metadata=_nested(63)),
    )  # fmt: skip
    yield write_case(
        "write-metadata-depth-65", "Metadata of 65 levels, those of the root counted", ["SCF-LIMIT-003"],
        save(tree, metadata=_nested(64), expect=rejected("limit.exceeded", "state.unsupported")),
        kind="invalid", sibling="write-metadata-depth-64", fault="The innermost array is at level 65 of the root.",
        after={"main": {"absent": ["c/checkpoint.json"]}},
    )  # fmt: skip
    for name, value in (("long", 10**4096), ("long-negative", -(10**4095))):
        yield write_case(
            f"write-metadata-integer-{name}", "An integer of metadata of more than 4096 characters",
            ["SCF-LIMIT-003"],
            save(
                tree, metadata=mapping(("long", integer(value))),
                expect=rejected("limit.exceeded", "state.unsupported"),
            ),
            kind="invalid", sibling="write-metadata-integer-longest", fault="Its text has 4097 characters.",
            after={"main": {"absent": ["c/checkpoint.json"]}},
        )  # fmt: skip
    for name, node in (("bytes", ["bytes", "00"]), ("foreign", ["unsupported"])):
        yield write_case(
            f"write-metadata-{name}", "Metadata with a value that no form of the table says",
            ["SCF-ROOT-027"],
            save(tree, metadata=mapping(("culprit", node)), expect=rejected("state.unsupported")),
            kind="invalid", sibling="write-metadata-plain", fault="JSON has no form for it, and no tag either.",
            after={"main": {"absent": ["c/checkpoint.json"]}},
        )  # fmt: skip
    parent = "0123456789abcdef" * 4
    yield write_case(
        "write-parent", "The root names the checkpoint that the run was restored from", ["SCF-COMMIT-002"],
        save(tree, parent=parent),
        step("inspect", ok(root={"parent": parent, "sequence": 1}), items=[]),
    )  # fmt: skip
    yield write_case(
        "write-root", "A root of the version of this text, without features and without reserved names",
        ["SCF-COMPAT-007", "SCF-COMPAT-003", "SCF-ENC-002", "SCF-ROOT-013"],
        save(tree),
        step(
            "inspect",
            ok(
                root={
                    "spec": "1.0-draft", "features": {"read": [], "write": []}, "parent": None,
                    "items": {"model": {"kind": "model", "counts": {"tensors": 1, "bytes": 96}}}, "external": [],
                }
            ),
            items=[],
        ),
    )  # fmt: skip


def _shown(metadata: Node) -> dict[str, object]:
    pairs = [[name, _any_order(node)] for name, node in metadata[1]]
    return step("inspect", ok(root={"metadata": ["map", {"$set": pairs}]}), items=[])


def _any_order(node: Node) -> Node:
    """The members of an object have no order."""
    if node[0] == "map":
        return ["map", {"$set": [[name, _any_order(child)] for name, child in node[1]]}]
    return ["list", [_any_order(child) for child in node[1]]] if node[0] == "list" else node


def _nested(levels: int) -> Node:
    """Metadata of this many levels, itself the first."""
    node: Node = ["list", []]
    for _ in range(levels - 2):
        node = ["list", [node]]
    return mapping(("deep", node))
