"""A request to write (PROTOCOL.md, section 3), checked as far as the request alone tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import names
from .errors import Rejected
from .given_tree import Branch, Given, GivenTensor, Leaf, read_given
from .limits import MAX_BLOCK_BYTES, MAX_ITEMS, MIN_BLOCK_BYTES
from .messages import Message, usage
from .root import KINDS

CODECS = ("none", "zstd", "planes")
DIGESTS = ("blake3", "sha256")


@dataclass(frozen=True)
class GivenItem:
    """How an item is to be written; digest and block are None where the writer chooses."""

    kind: str
    codec: str
    digest: str | None
    block: int | None
    assets: Mapping[str, bytes]


@dataclass(frozen=True)
class GivenWriter:
    """What one writer holds: its tree of each item; `fault` is what the adapter acts out."""

    trees: Mapping[str, Branch]
    store: Message | None
    fault: str | None


@dataclass(frozen=True)
class GivenWrite:
    """All of a request, but for its store."""

    checkpoint: str
    metadata: Branch
    parent: str | None
    deadline: float
    items: Mapping[str, GivenItem]
    writers: tuple[GivenWriter, ...]
    carry: Mapping[str, tuple[str, str]]
    """Item to checkpoint and item that it is carried over from."""
    accept_weak: bool


def read_write(request: Message) -> GivenWrite:
    """The request of a message."""
    checkpoint = _of(request, "checkpoint", str)
    if not names.is_checkpoint(checkpoint):
        raise _bad_name(f"{checkpoint!r} is no checkpoint name", checkpoint)
    parent = request.get("parent")
    if parent is not None and not names.is_sha256(str(parent)):
        raise usage(f"parent is {parent!r}")
    items = {_item_name(name): _item(name, value) for name, value in _of(request, "items", dict).items()}
    carry = {
        _item_name(name): (_of(value, "checkpoint", str), _of(value, "item", str))
        for name, value in (request.get("carry") or {}).items()
    }
    both = items.keys() & carry.keys()
    if both:
        raise usage(f"the item {min(both)} is both written and carried over")
    if len(items) + len(carry) > MAX_ITEMS:
        raise Rejected("limit.exceeded", f"more than {MAX_ITEMS} items", subject=checkpoint, phase="save")
    writers = tuple(_writer(place, value, items) for place, value in enumerate(_of(request, "writers", list)))
    metadata = read_given(request.get("metadata"))
    if not isinstance(metadata, Branch) or metadata.kind != "map":
        raise usage("metadata is no map")
    return GivenWrite(
        checkpoint=checkpoint,
        metadata=metadata,
        parent=parent,
        deadline=float(request.get("deadline") or 10),
        items=items,
        writers=writers,
        carry=carry,
        accept_weak=request.get("accept_weak") is True,
    )


def _of(members: Any, name: str, kind: type) -> Any:
    if not isinstance(members, dict) or not isinstance(members.get(name), kind):
        raise usage(f"{name} is no {kind.__name__}")
    return members[name]


def _bad_name(message: str, subject: str) -> Rejected:
    return Rejected("key.invalid", message, subject=subject, phase="save")


def _item_name(name: str) -> str:
    if not names.is_item(name):  # SCF-LAYOUT-001
        raise _bad_name(f"{name!r} is no item name", name)
    return name


def _item(name: str, value: Any) -> GivenItem:
    kind, codec = _of(value, "kind", str), _of(value, "codec", str)
    digest, block = value.get("digest"), value.get("block")
    if kind not in KINDS or codec not in CODECS or digest not in {None, *DIGESTS}:
        raise usage(f"item {name}: kind {kind}, codec {codec}, digest {digest}")
    if block is not None:
        if not MIN_BLOCK_BYTES <= block <= MAX_BLOCK_BYTES:  # SCF-LIMIT-003
            raise Rejected("limit.exceeded", f"blocks of {block} bytes", subject=name, phase="save")
        if block & (block - 1):
            raise usage(f"item {name}: blocks of {block} bytes, no power of two")
    assets = {asset: bytes.fromhex(data) for asset, data in _of(value, "assets", dict).items()}
    for asset in assets:
        if not names.is_asset(asset):  # SCF-LAYOUT-008
            raise _bad_name(f"{asset!r} is no asset name", asset)
    clash = names.clashing_asset(assets)
    if clash is not None:
        raise _bad_name(f"the asset {clash} is below another one", clash)
    return GivenItem(kind, codec, digest, block, assets)


def _writer(place: int, value: Any, items: Mapping[str, GivenItem]) -> GivenWriter:
    trees = {}
    for name, tree in _of(value, "trees", dict).items():
        if name not in items:
            raise usage(f"writer {place} has a tree of {name}, which is not written")
        node = read_given(tree)
        if not isinstance(node, Branch) or node.kind != "map":
            raise usage(f"writer {place}: the tree of {name} is no map")
        _check_ids(node, {})
        trees[name] = node
    fault = value.get("fault")
    if fault not in {None, "fails", "dies"}:
        raise usage(f"writer {place}: fault {fault!r}")
    return GivenWriter(trees, value.get("store"), fault)


def _check_ids(node: Given, seen: dict[str, GivenTensor]) -> None:
    """Leaves of one tree with one id are one tensor."""
    if isinstance(node, GivenTensor):
        if seen.setdefault(node.id, node) != node:
            raise usage(f"two leaves with the id {node.id} differ")
    elif not isinstance(node, Leaf):
        for _, child in node.children:
            _check_ids(child, seen)
