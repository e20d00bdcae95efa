"""Chains that a reader does not implement, and blocks that are damaged before they are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...oracle.encode import Draft, Shard
from ...oracle.encode_frame import plain_frame
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts import ZSTD, B, W, one
from ..drafts_b import KEY, box, damage, found, only, reading, region_step, region_value, verify_step
from ..expect import inspected, path
from ..forms import dtypes, refused
from .codecs_planes import planes

__all__ = ["cases", "mixed"]

Chain = Sequence[Mapping[str, Any]]
LATER: Mapping[str, Any] = {"id": "x-later", "item": 4}
CHAINS: dict[str, tuple[str, Chain]] = {
    "unknown": ("A codec that no registry has", (LATER,)),
    "upper-case": ("The id ZSTD, in capitals", ({"id": "ZSTD"},)),
    "zstd-twice": ("zstd twice", (ZSTD, {"id": "zstd", "level": 1})),
    "planes-then-zstd": ("planes, then zstd", ({"id": "planes", "item": 4}, ZSTD)),
    "zstd-then-unknown": ("zstd, then a codec that no registry has", (ZSTD, LATER)),
    "unknown-then-zstd": ("A codec that no registry has, then zstd", (LATER, ZSTD)),
    "four": ("Four codecs, the most that there may be", (ZSTD, LATER, ZSTD, LATER)),
}
ITEMS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "absent": ("planes without item", {}),
    "1": ("planes of items of 1 byte", {"item": 1}),
    "3": ("planes of items of 3 bytes", {"item": 3}),
    "16": ("planes of items of 16 bytes", {"item": 16}),
    "0": ("planes of items of 0 bytes", {"item": 0}),
    "negative": ("planes of items of -4 bytes", {"item": -4}),
    "float": ("planes with the float 4.0 as item", {"item": 4.0}),
    "text": ("planes with the text 4 as item", {"item": "4"}),
    "boolean": ("planes with true as item", {"item": True}),
    "nil": ("planes with nil as item", {"item": None}),
    "array": ("planes with [4] as item", {"item": [4]}),
}


def mixed(chain: Chain, *shards: Shard) -> Draft:
    """Tensors ``w`` in this chain, and ``b`` as it is."""
    given = shards or (Shard(0, codec=1, encode=planes(4)),)
    return one(W, B, shards=(*given, Shard(1)), codecs=((), tuple(chain)))


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for name, (what, chain) in CHAINS.items():
        yield _others(name, what, mixed(chain))
        yield _refused(name, what, "SCF-CODEC-003", mixed(chain))
    for name, (what, item) in ITEMS.items():
        draft = mixed(({"id": "planes", **item},))
        if name in ("absent", "3", "float"):
            yield _others(f"item-{name}", what, draft)
        sibling = name if name in ("absent", "3", "float") else "3"
        yield _refused(f"item-{name}", what, "SCF-CODEC-004", draft, f"item-{sibling}")
    yield from _parts()
    yield from _damaged()


def _others(name: str, what: str, draft: Draft) -> Case:
    steps: list[Json] = [step("inspect", ok(**inspected(draft))), reading(draft.items["model"], [("b",)])]
    title = f"{what}: tree, table and all other tensors are read"
    requirements = ["SCF-MAN-010", "SCF-COMPAT-005", "SCF-CODEC-003"]
    return Case(
        f"codecs-chain-{name}", title, requirements, "read", steps, files=checkpoint(draft), options=dtypes(draft)
    )


def _refused(name: str, what: str, requirement: str, draft: Draft, sibling: str | None = None) -> Case:
    return refused(
        f"codecs-chain-{name}-wanted",
        f"{what}: the tensor is wanted",
        f"The chain of w is not one of the three of this version: {what}.",
        "codec.unsupported",
        [requirement],
        f"codecs-chain-{sibling or name}",
        draft,
        op="read",
        phases=["plan", "read"],
        request={"paths": [["w"]]},
    )


def _parts() -> Iterator[Case]:
    rows = (Shard(0, box((0, 1), (0, 3))), Shard(0, box((1, 2), (0, 3)), codec=1, encode=planes(4)))
    draft = mixed((LATER,), *rows)
    first = box((0, 1), (0, 3))
    given = region_step(draft.items["model"], ("w",), [first])
    outcomes = [given["expect"], rejected("codec.unsupported", phases=["plan", "read"])]
    yield Case(
        "codecs-chain-of-another-shard",
        "A region that needs no shard of the unknown chain, of a tensor that has one: read, or the tensor refused",
        ["SCF-CODEC-003"],
        "region-read",
        [{**given, "expect": outcomes}],
        kind="acceptable",
        files=checkpoint(draft),
        options=dtypes(draft),
    )
    second = region_value(box((0, 2), (0, 1)))
    yield refused(
        "codecs-chain-of-one-shard",
        "A region that needs one element of a shard of the unknown chain",
        "The second row is in a chain that no registry has.",
        "codec.unsupported",
        ["SCF-CODEC-003"],
        "codecs-chain-unknown",
        draft,
        op="read_region",
        phases=["plan", "read"],
        request={"path": path(("w",)), "regions": [second]},
    )
    yield refused(
        "codecs-chain-among-wanted",
        "All tensors are wanted, one of them in an unknown chain",
        "The chain of w is in no registry.",
        "codec.unsupported",
        ["SCF-CODEC-003", "SCF-READ-007"],
        "codecs-chain-unknown",
        mixed((LATER,)),
        op="read",
        phases=["plan", "read"],
    )
    for name, chain in (("unknown", (LATER,)), ("item-3", ({"id": "planes", "item": 3},)), ("two", (ZSTD, LATER))):
        draft = mixed(chain)
        yield Case(
            f"codecs-chain-{name}-verified",
            f"A checkpoint with a chain that is not implemented is not sound: {name}",
            ["SCF-DIG-014", "SCF-DIG-013"],
            "integrity",
            [verify_step({"$set": [found("codec.unsupported", "w", KEY)]})],
            kind="invalid",
            fault="The chain of w is not one of the three of this version.",
            sibling="objects-plain",
            files=checkpoint(draft),
            options=dtypes(draft),
        )
    draft = mixed((LATER,))
    files = checkpoint(draft)
    yield Case(
        "codecs-chain-unknown-damaged",
        "A damaged block in an unknown chain",
        ["SCF-DIG-013", "SCF-DIG-014"],
        "integrity",
        [verify_step(only("block.digest", "w", KEY, also=["codec.unsupported"]))],
        kind="invalid",
        fault="A byte of the shard in the unknown chain is changed.",
        sibling="objects-plain",
        files=damage(draft, KEY, len(files[f"c/{KEY}"]) - 10),
        options=dtypes(draft),
    )


def _damaged() -> Iterator[Case]:
    """The digest is checked before the block is decoded (SCF-CODEC-006)."""
    w = one(W, B, shards=(Shard(0, codec=1, encode=plain_frame), Shard(1)), codecs=((), (ZSTD,)))
    size = len(checkpoint(w)[f"c/{KEY}"])
    start = size - len(plain_frame(W.data)) - len(B.data)
    places = {"magic": start, "content-size": start + 5, "block-header": start + 6, "content": start + 10}
    for name, at in places.items():
        request = step("read", rejected("block.digest"))
        yield Case(
            f"codecs-damaged-{name}",
            f"A changed byte of a frame is damage, whatever a decoder makes of it: {name}",
            ["SCF-CODEC-006", "SCF-MAN-025"],
            "read",
            [request],
            kind="invalid",
            fault="A byte of the stored frame is changed.",
            sibling="codecs-zstd-size-of-1-byte",
            files=damage(w, KEY, at),
            options=dtypes(w),
        )
