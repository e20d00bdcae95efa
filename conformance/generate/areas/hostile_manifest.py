"""Manifests that were made to harm."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgpack

from ...oracle.encode import Draft, Item, Record, Tensor, column
from ..case import Case, checkpoint, ok, rejected, step
from ..drafts import STEP, W, assembled, basic, content, one, raw_tree, scalars, single
from ..forms import accepted, refused
from ..odd_frames import frame, raw
from ..pack import Ext, Raw, pack
from ..squeeze import repeats, squeezed
from .man_common import SCHEMA, changed, put

__all__ = ["cases"]

MIB: Final = 1024 * 1024
PLAIN: Final = "hostile-manifest-squeezed"
SYNTAX: Final = "manifest.syntax"
FRAME: Final = "manifest.frame"
TREE: Final = "tree.schema"
MAX_VALUES: Final = 33_554_432
MANY: Final = 0xFFFFFFFF


def cases() -> Iterator[Case]:
    """All cases of this module."""
    text = scalars({**STEP, "long": "x" * MIB}).with_item("model", frame=squeezed)
    title = "A manifest of a MiB that is stored in 200 bytes"
    yield accepted(PLAIN, title, ["SCF-LIMIT-001", "SCF-SEC-003"], text, memory=256 * MIB)
    yield from _bombs()
    yield from _values()
    yield from _depth()
    yield from _counts()
    yield from _claims()


def _bad(name: str, fault: str, draft: Draft, codes: Any, requirements: list[str], **members: Any) -> Case:
    title = f"Hostile manifest: {fault[0].lower()}{fault[1:-1]}"
    members = {"sibling": PLAIN, "memory": 128 * MIB, **members}
    return refused(f"hostile-manifest-{name}", title, fault, codes, requirements, draft=draft, **members)


def _bombs() -> Iterator[Case]:
    """Frames that unfold to far more than the root says, or than they say themselves."""
    huge, small = 1024 * MIB, scalars()
    rows: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
        (
            "bomb",
            "The frame says that it has some bytes, and unfolds to a GiB.",
            lambda d: frame([raw(d), *repeats(0, huge)], len(d), width=4),
        ),
        (
            "bomb-window",
            "The same with a window of 2^27 bytes.",
            lambda d: frame([raw(d), *repeats(0, huge)], len(d), width=4, window=0x88),
        ),
        (
            "bomb-honest",
            "The frame says that it has a GiB, and unfolds to it.",
            lambda d: frame([raw(d), *repeats(0, huge - len(d))], huge, width=4),
        ),
        (
            "bomb-no-size",
            "The frame says no size, and unfolds to a GiB.",
            lambda d: frame([raw(d), *repeats(0, huge)], None, window=0x50),
        ),
        (
            "bomb-size",
            "The frame says that it has 2^63 bytes, and has few.",
            lambda d: frame([raw(d)], 1 << 63, window=0x50),
        ),
    )
    requirements = ["SCF-MAN-003", "SCF-MAN-002", "SCF-SEC-003"]
    for name, fault, encode in rows:
        draft = small.with_item("model", frame=encode)
        yield _bad(name, fault, draft, FRAME, requirements, memory=64 * MIB, timeout=20)

    def claims(members: Record) -> None:
        members["items"]["model"]["raw_size"] = 256 * MIB

    lying = small.with_item("model", frame=lambda d: frame([raw(d)], 256 * MIB)).with_(members=claims)
    fault = "Root and frame say that there are 256 MiB, and there are few bytes."
    yield _bad("short", fault, lying, FRAME, requirements, memory=None, timeout=20)


def _values() -> Iterator[Case]:
    """More values than a reader allows."""
    limits = ["SCF-LIMIT-002", "SCF-CONV-004", "SCF-SEC-003"]
    extra = assembled(
        scalars(), {"x-test": Raw(b"\xdd" + struct.pack(">I", MAX_VALUES + 1) + b"\xc0" * (MAX_VALUES + 1))}
    )
    draft = _framed(extra)
    fault = "An array has one element more than a reader allows values."
    yield _bad("values", fault, draft, "limit.exceeded", limits, phases=["manifest"], memory=None, timeout=120)
    tree = raw_tree(scalars(), pack({"v": Raw(b"\xdd" + struct.pack(">I", MAX_VALUES) + b"\xc0" * MAX_VALUES)}))
    fault = "A list of the tree has as many elements as a reader allows values, and stands in a manifest that has more."
    yield _bad(
        "values-tree", fault, _framed(tree), "limit.exceeded", limits, phases=["manifest"], memory=None, timeout=120
    )


def _framed(draft: Draft) -> Draft:
    return draft.with_item("model", frame=squeezed)


def _depth() -> Iterator[Case]:
    """Ten million levels, in a frame of some hundred bytes."""
    deep = 10_000_000
    requirements = ["SCF-SEC-006", "SCF-MAN-004", "SCF-SEC-007"]
    rows: tuple[tuple[str, str, Draft], ...] = (
        (
            "arrays",
            "Ten million arrays nest under an unknown key.",
            assembled(scalars(), {"x": Raw(b"\x91" * deep + b"\x90")}),
        ),
        (
            "arrays-tree",
            "Ten million lists nest in the tree.",
            raw_tree(scalars(), pack({"v": Raw(b"\x91" * deep + b"\x90")})),
        ),
        (
            "arrays-open",
            "Ten million arrays are begun, and the bytes end.",
            raw_tree(scalars(), pack({"v": Raw(b"\x91" * deep)})),
        ),
        (
            "arrays-wide",
            "Ten million arrays of 15 elements each are begun.",
            raw_tree(scalars(), pack({"v": Raw(b"\x9f" * deep)})),
        ),
    )
    for name, fault, draft in rows:
        codes = [SYNTAX, TREE] if name != "arrays" else SYNTAX
        yield _bad(f"depth-{name}", fault, _framed(draft), codes, requirements, timeout=30)
    nested: Any = 5
    for _ in range(2000):
        nested = Raw(pack(Ext(2, [nested])))
    fault = "2000 tuples nest in each other."
    yield _bad("depth-tuples", fault, raw_tree(scalars(), pack({"v": nested})), [SYNTAX, TREE], requirements)


def _counts() -> Iterator[Case]:
    """Lengths and counts that the bytes at hand do not bear out."""
    requirements = ["SCF-CONV-004", "SCF-MAN-004", "SCF-SEC-007"]
    heads: Mapping[str, tuple[bytes, str]] = {
        "array": (b"\xdd", "An array"),
        "map": (b"\xdf", "A map"),
        "str": (b"\xdb", "A string"),
        "bin": (b"\xc6", "A binary string"),
    }
    for name, (head, what) in heads.items():
        tree = pack({"v": Raw(head + b"\xff" * 4)})
        fault = f"{what} of the tree says that it has 2^32 - 1 elements, and is the last value."
        yield _bad(f"count-{name}", fault, raw_tree(scalars(), tree), SYNTAX, requirements, memory=32 * MIB)
    fault = "An extension of the tree says that it has 2^32 - 1 bytes."
    tree = pack({"v": Raw(b"\xc9" + b"\xff" * 4 + b"\x02")})
    yield _bad("count-ext", fault, raw_tree(scalars(), tree), SYNTAX, requirements, memory=32 * MIB)
    fault = "1000 arrays inside each other say that they have 2^32 - 1 elements."
    tree = pack({"v": Raw((b"\xdd" + b"\xff" * 4) * 1000)})
    yield _bad(
        "count-nested",
        fault,
        raw_tree(scalars(), tree),
        [SYNTAX, TREE, "limit.exceeded"],
        requirements,
        memory=32 * MIB,
    )
    rows: tuple[tuple[str, str, Draft], ...] = (
        (
            "tensors",
            "There are 2^32 - 2 tensors, and columns for two.",
            changed(basic(), put("tensors", "count", value=MANY - 1)),
        ),
        (
            "tensors-more",
            "There are 2^32 - 1 tensors, more than the format has.",
            changed(basic(), put("tensors", "count", value=MANY)),
        ),
        (
            "shards",
            "There are 2^40 shards, and columns for three.",
            changed(basic(), put("shards", "count", value=1 << 40)),
        ),
        (
            "shards-more",
            "There are 2^40 + 1 shards, more than the format has.",
            changed(basic(), put("shards", "count", value=(1 << 40) + 1)),
        ),
        (
            "shards-2-62",
            "There are 2^62 shards, of which each column has 2^64 bytes and more.",
            changed(basic(), put("shards", "count", value=1 << 62)),
        ),
        (
            "tensors-2-61",
            "There are 2^61 tensors, of which the names' sizes have 2^62 bytes.",
            changed(basic(), put("tensors", "count", value=1 << 61)),
        ),
        (
            "names",
            "The names of the tensors add up to 131,070 bytes, and two are there.",
            changed(basic(), put("tensors", "columns", "name_size", value=b"\xff" * 4)),
        ),
        (
            "dims",
            "The tensors have 128 dimensions, and three sizes.",
            changed(basic(), put("tensors", "columns", "ndim", value=b"\x40\x40")),
        ),
    )
    for name, fault, draft in rows:
        requirements = ["SCF-CONV-004", "SCF-CONV-003", "SCF-MAN-008", "SCF-SEC-007"]
        yield _bad(f"count-{name}", fault, draft, SCHEMA, requirements, sibling="manifest-top", memory=32 * MIB)
    indexed = Ext(6, {"axis": "rank", "size": MANY - 1, "values": {0: 0}})
    fault = "An indexed value says that it has 2^32 - 2 values, and has one."
    requirements = ["SCF-TREE-007", "SCF-CONV-004"]
    draft = raw_tree(scalars(), pack({"v": indexed}))
    yield _bad("count-indexed", fault, draft, TREE, requirements, sibling="tree-indexed", memory=32 * MIB)


def _claims() -> Iterator[Case]:
    """Sizes that nothing stands behind."""
    size = 1 << 42
    block, digests = 1 << 30, bytes(32 * (size >> 30))

    def huge(record: Record) -> None:
        record["tensors"]["columns"]["shape"] = column("u64", [size])
        record["objects"][0].update(size=4096 + size, block=block)
        record["shards"]["columns"]["block_digest"] = digests

    tensor = Tensor("w", "U8", (4096,), content(4096))
    draft = one(tensor).with_item("model", record=huge, frame=squeezed)
    node = {"tree": ["map", [["w", ["tensor", 0]]]], "tensors": [{"dtype": "U8", "shape": [size]}]}
    yield Case(
        "hostile-tensor-of-4-tib",
        "A tensor of 4 TiB is shown, and refused when it is read: its object has 8 KiB",
        ["SCF-SEC-007", "SCF-CONV-004", "SCF-DIG-018"],
        "read",
        [step("inspect", ok(items={"model": node})), step("read", rejected("object.size"))],
        kind="invalid",
        fault="The data object has 8 KiB, and the manifest says 4 TiB.",
        sibling="manifest-objects-block-2-30",
        files=checkpoint(draft),
        options=["dtype:U8"],
        memory=64 * MIB,
    )
    fault = "The shape of a tensor says 2^59 elements of 32 bits, that is 2^64 bits."
    draft = changed(single(), put("tensors", "columns", "shape", value=column("u64", [1 << 59, 1])))
    yield _bad(
        "shape-2-59", fault, draft, SCHEMA, ["SCF-CONV-003", "SCF-MAN-008", "SCF-SEC-004"], sibling="manifest-top"
    )
    shards = tuple(msgpack.ExtType(1, bytes(4)) for _ in range(2))
    aliases = {f"k{at}": list(shards) for at in range(100)}
    title = "200 references to one tensor are one tensor"
    item = Item((W,), tree={"w": aliases})
    draft = Draft({"model": item})
    yield accepted("hostile-aliases", title, ["SCF-LIMIT-001", "SCF-SEC-007"], draft, memory=64 * MIB)
