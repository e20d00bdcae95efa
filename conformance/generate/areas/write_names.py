"""Names of tensors, of checkpoints and of items."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case, rejected
from ..requests import boolean, item, mapping, real, save, tensor, text, write_case, writer

__all__ = ["cases"]

_KEYS: tuple[tuple[str, str, str | int], ...] = (
    ("slash", "a slash", "exp/avg"),
    ("percent-and-at", "percent signs and an at sign", "50%@x%2F"),
    ("number-sign", "a number sign in front", "#1"),
    ("empty", "an empty key", ""),
    ("control", "control characters", "a\x01\n\x7fb"),
    ("metadata", "the word that headers reserve", "__metadata__"),
    ("dots", "dots", "layers.0.weight"),
    ("unicode", "letters outside ASCII, composed and decomposed", "ü-u\u0308-日本-😀"),
    ("spaces", "spaces at both ends", " w "),
    ("quotes", "quotes and backslashes", 'a"b\\c'),
    ("integer", "an integer key", 0),
    ("integer-negative", "a negative integer key", -3),
    ("integer-greatest", "the greatest integer key", 2**64 - 1),
    ("integer-least", "the least integer key", -(2**63)),
    ("60000", "a name of 60,000 bytes", "n" * 60_000),
    ("60001", "a name of 60,001 bytes", "n" * 60_001),
    ("65536", "a name longer than names may be", "ü" * 32_768),
)

_BAD_NAMES = (
    ("empty", "", "It is empty."),
    ("dot", ".", "It is a dot."),
    ("dots", "..", "It is two dots."),
    ("slash", "a/b", "It has a slash."),
    ("backslash", "a\\b", "It has a backslash."),
    ("space", "a b", "It has a space."),
    ("letter", "schön", "It has a letter outside ASCII."),
    ("line-feed", "a\n", "It ends in a line feed."),
    ("long", "n" * 129, "It has 129 characters."),
)


def cases() -> Iterator[Case]:
    """Names that writers derive or are given."""
    for name, what, key in _KEYS:
        yield write_case(
            f"write-key-{name}", f"A tensor under a key with {what}" if name[0] != "6" else f"A tensor with {what}",
            ["SCF-OBJ-010", "SCF-TREE-009"], save(mapping((key, tensor("w")))),
        )  # fmt: skip
    yield write_case(
        "write-keys-apart", "Text and integer keys, slashes and nesting stay apart", ["SCF-TREE-009", "SCF-OBJ-010"],
        save(
            mapping(
                ("1", tensor("a", (1,))), (1, tensor("b", (2,))), ("#1", tensor("c", (3,))),
                ("x", mapping(("y", tensor("d", (4,))))), ("x/y", tensor("e", (5,))), ("", tensor("f", (6,))),
                ("%", tensor("g", (7,))), ("x%2Fy", tensor("h", (8,))),
            )
        ),
    )  # fmt: skip
    yield write_case(
        "write-keys-of-one-letter", "Composed and decomposed letters are two keys", ["SCF-TREE-009"],
        save(mapping(("ü", text("composed")), ("u\u0308", text("decomposed")), ("Ü", boolean(value=True)))),
    )  # fmt: skip
    long = "n" * 40_000
    yield write_case(
        "write-key-long-nested", "A name that is too long as a whole", ["SCF-OBJ-010"],
        save(mapping((long, mapping((long, tensor("w")), ("v", tensor("v", (2,))))))),
    )  # fmt: skip
    yield write_case(
        "write-key-order", "A map keeps the order of its keys", ["SCF-TREE-009"],
        save(mapping(("z", real(0)), ("a", text("")), (9, text("n")), ("m", tensor("w")), (-1, text("x")))),
    )  # fmt: skip
    yield from _checkpoints()
    yield from _items()


def _checkpoints() -> Iterator[Case]:
    good = (
        ("128", "n" * 128),
        ("dots", "..."),
        ("hidden", ".hidden"),
        ("root", "checkpoint.json"),
        ("dash", "-rf"),
        ("digits", "0"),
    )
    for name, value in good:
        yield write_case(
            f"write-name-{name}", f"A checkpoint whose name is unusual: {name}", ["SCF-LAYOUT-004", "SCF-LAYOUT-001"],
            save(mapping(("w", tensor("w"))), checkpoint=value), after={"main": {"only": [f"{value}/*"]}},
        )  # fmt: skip
    for name, value, fault in (*_BAD_NAMES, ("tombstones", ".tombstones", "It is the name of the tombstones' place.")):
        yield write_case(
            f"write-name-invalid-{name}", f"A checkpoint name outside the grammar: {name}",
            ["SCF-LAYOUT-001", "SCF-SEC-010"],
            save(mapping(("w", tensor("w"))), checkpoint=value, expect=rejected("key.invalid")),
            kind="invalid", sibling="write-name-128", fault=fault, after={"main": {"unchanged": True}},
        )  # fmt: skip


def _items() -> Iterator[Case]:
    tree = mapping(("w", tensor("w")))
    for name, value in (("128", "n" * 128), ("dash", "-"), ("manifest", "manifest-0123456789abcdef.msgpack.zst")):
        yield write_case(
            f"write-item-{name}", f"An item whose name is unusual: {name}", ["SCF-LAYOUT-004", "SCF-LAYOUT-001"],
            save(items={value: item()}, writers=[writer({value: tree})]), after={"main": {"only": ["c/*"]}},
        )  # fmt: skip
    yield write_case(
        "write-items-several", "Several items, one of each kind", ["SCF-LAYOUT-006", "SCF-ROOT-013"],
        save(
            items={
                kind: item(kind) for kind in ("model", "optimizer", "scheduler", "rng", "dataloader", "other")
            },
            writers=[
                writer({
                    "model": tree,
                    "optimizer": mapping(
                        ("state", mapping(("w", mapping(("step", tensor("s", ())))))),
                        ("groups", mapping(("0", mapping(("params", ["set", ["w"]]), ("options", mapping()))))),
                    ),
                    "scheduler": mapping(("last_epoch", ["int", "3"])),
                    "rng": mapping(("torch", ["indexed", "rank", 1, [tensor("t", (16,), dtype="U8")]])),
                    "dataloader": mapping(("value", ["indexed", "rank", 1, [["nil"]]])),
                    "other": mapping(("w", tensor("w"))),
                })
            ],
        ),
    )  # fmt: skip
    bad = (
        *_BAD_NAMES,
        ("hidden", ".x", "It begins with a dot."),
        ("root", "checkpoint.json", "It is the name of the root."),
    )
    for name, value, fault in bad:
        yield write_case(
            f"write-item-invalid-{name}", f"An item name outside the grammar: {name}", ["SCF-LAYOUT-001"],
            save(items={value: item()}, writers=[writer({value: tree})], expect=rejected("key.invalid")),
            kind="invalid", sibling="write-item-128", fault=fault,
            after={"main": {"absent": ["c/checkpoint.json"]}},
        )  # fmt: skip
