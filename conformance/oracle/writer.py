"""One writer of a save: its data objects, and its table for the committer (steps 4 to 6 of section 13.1)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from .content import content
from .digests import DIGESTS
from .dtypes import DTYPES
from .encode_blocks import Chain, chain_for, encode_block
from .encode_names import entry_name, tensor_name
from .encode_region import Region as EncodedRegion
from .encode_region import region_bytes
from .errors import Rejected
from .given import GivenItem
from .given_tree import Branch, Given, GivenTensor, Leaf, shown_path
from .limits import DATA_ALIGNMENT, MAX_DIMS, MAXINT
from .regions import Region, cuts_no_byte, lies_in
from .tree import Path
from .writable import WritableStore, holds

HEADER_TARGET = 1 << 25
"""Bytes of entries at which another object begins; far below the limit of the format (SCF-OBJ-003)."""


@dataclass(frozen=True)
class Attempt:
    """What the committer tells every writer (step 3)."""

    checkpoint: str
    id: str
    marker: bytes
    writers: int

    @property
    def marker_key(self) -> str:
        """The key of the attempt marker."""
        return f"{self.checkpoint}/.attempt-{self.id}"


@dataclass(frozen=True)
class Piece:
    """A region of a local tensor, encoded; it is to become one entry."""

    tensor: str
    name: str
    dtype: str
    region: Region
    chain: Chain
    blocks: tuple[bytes, ...]
    decoded: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Stored bytes."""
        return sum(len(block) for block in self.blocks)

    @property
    def rank(self) -> int:
        """Entries are in falling order of this: item size, encoded ones last (SCF-OBJ-005)."""
        return 0 if self.chain else DTYPES[self.dtype].item

    def entry(self) -> tuple[str, list[int]]:
        """Dtype and shape in the header (section 9.3)."""
        if self.chain:
            return "U8", [self.size]
        kind = DTYPES[self.dtype]
        shape = list(self.region.size) if self.region.is_box else [self.region.elements]
        return kind.container, [*shape, kind.lanes] if kind.lanes > 1 else shape


@dataclass(frozen=True)
class TableShard:
    """An entry of a data object, as the table reports it (SCF-OBJ-009)."""

    tensor: str
    name: str
    region: Region
    offset: int
    chain: Chain
    stored_sizes: tuple[int, ...]
    digests: tuple[bytes, ...]
    decoded_digests: tuple[bytes, ...]
    dropped_digests: tuple[bytes, ...]
    """The digests of its stored bytes, should it become unassigned: cut into blocks as they are."""

    @property
    def stored_size(self) -> int:
        """Stored bytes."""
        return sum(self.stored_sizes)


@dataclass(frozen=True)
class TableObject:
    """A data object, as the table reports it; `key` is relative to the checkpoint."""

    key: str
    size: int
    data_start: int
    header_digest: bytes
    digest: str
    block: int
    shards: tuple[TableShard, ...]


Table = Mapping[str, tuple[TableObject, ...]]
"""Item to the data objects that a writer wrote for it."""


def run_writer(
    number: int,
    attempt: Attempt,
    store: WritableStore,
    items: Mapping[str, GivenItem],
    trees: Mapping[str, Branch],
) -> Table:
    """Write all that this writer holds, each object durable, and report it."""
    if holds(store, attempt.marker_key, attempt.marker) is not True:  # SCF-LAYOUT-010
        raise Rejected("store.split", f"writer {number} sees another store", subject=f"writer {number}")
    for tree in trees.values():
        for path, tensor in tensors_of(tree).values():
            check_layout(path, tensor)
    table = {}
    for name, tree in trees.items():
        pieces = sorted(_pieces(tree, items[name]), key=lambda piece: -piece.rank)
        objects = []
        for place, group in enumerate(_groups(pieces)):
            key = f"{name}/{attempt.id}-{number + attempt.writers * place:05d}.safetensors"
            data, described = _object(key, attempt.id, group, items[name])
            store.create(f"{attempt.checkpoint}/{key}", data)
            objects.append(described)
        table[name] = tuple(objects)
    return table


def tensors_of(tree: Branch) -> dict[str, tuple[Path, GivenTensor]]:
    """The tensors of a writer's tree by id, each with its first path."""
    found: dict[str, tuple[Path, GivenTensor]] = {}
    for path, tensor in _leaves(tree, ()):
        found.setdefault(tensor.id, (path, tensor))
    return found


def _leaves(node: Given, path: Path) -> Iterator[tuple[Path, GivenTensor]]:
    if isinstance(node, GivenTensor):
        yield path, node
    elif not isinstance(node, Leaf):
        for more, child in node.children:
            yield from _leaves(child, path + more)


def check_layout(path: Path, tensor: GivenTensor) -> None:
    """The tensor is within the limits, and each region lies in it and cuts no byte (SCF-REG-003, SCF-REG-007)."""
    bits = DTYPES[tensor.dtype].bits
    subject = shown_path(path)
    if len(tensor.shape) > MAX_DIMS or prod(size for size in tensor.shape if size) * bits > MAXINT:  # SCF-LIMIT-003
        raise Rejected("limit.exceeded", f"{subject}: the shape {list(tensor.shape)}", subject=subject, phase="save")
    if prod(tensor.shape) * bits % 8:
        raise _layout(subject, "the tensor is no whole number of bytes")
    for region in tensor.regions:
        if not lies_in(region, tensor.shape):
            raise _layout(subject, f"{region} does not lie in the shape {list(tensor.shape)}")
        if bits % 8 and not cuts_no_byte(region, tensor.shape, bits):
            raise _layout(subject, f"{region} cuts a byte")


def _layout(subject: str, message: str) -> Rejected:
    return Rejected("state.layout", f"{subject}: {message}", subject=subject, phase="save")


def _pieces(tree: Branch, item: GivenItem) -> Iterator[Piece]:
    """Every region that has elements, once."""
    block = item.block or 1 << 20
    for path, tensor in tensors_of(tree).values():
        data = part_content(tensor)
        name = tensor_name(path)
        for region, raw in data.items():
            decoded = tuple(raw[at : at + block] for at in range(0, len(raw), block))
            chain = chain_for(item.codec, tensor.dtype)
            blocks = tuple(encode_block(chain, one) for one in decoded)
            if chain and sum(map(len, blocks)) >= len(raw):  # SCF-CODEC-005
                chain, blocks = (), decoded
            entry = entry_name(name, tensor.shape, _encoded(region), encoded=bool(chain))
            yield Piece(tensor.id, entry, tensor.dtype, region, chain, blocks, decoded)


def part_content(tensor: GivenTensor) -> dict[Region, bytes]:
    """The bytes of each region of a writer's part that has elements."""
    bits = DTYPES[tensor.dtype].bits
    data = content(dict(tensor.fill), tensor.dtype, bits, tensor.shape)
    return {
        region: region_bytes(data, bits, tensor.shape, _encoded(region)) for region in tensor.regions if region.elements
    }


def _encoded(region: Region) -> EncodedRegion:
    return EncodedRegion(region.offset, region.size, (region.start, region.stop))


def _groups(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """The pieces of each object: a header of moderate size each, no object without entries."""
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        length = 2 * len(piece.name) + 256 + 40 * len(piece.region.size)
        if group and size + length > HEADER_TARGET:
            yield group
            group, size = [], 0
        group.append(piece)
        size += length
    if group:
        yield group


def _object(key: str, attempt: str, pieces: list[Piece], item: GivenItem) -> tuple[bytes, TableObject]:
    """The bytes of a data object (chapter 9), and its digests, over what is in memory (SCF-DIG-011)."""
    algorithm, block = item.digest or "blake3", item.block or 1 << 20
    digest = DIGESTS[algorithm]
    entries: dict[str, object] = {"__metadata__": {"format": "pt", "scf.attempt": attempt}}
    at = 0
    for piece in pieces:
        dtype, shape = piece.entry()
        entries[piece.name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + piece.size]}
        at += piece.size
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    start = -(-(8 + len(text)) // DATA_ALIGNMENT) * DATA_ALIGNMENT
    head = struct.pack("<Q", start - 8) + text.ljust(start - 8)
    shards = []
    offset = start
    for piece in pieces:
        stored = b"".join(piece.blocks)
        shard = TableShard(
            tensor=piece.tensor,
            name=piece.name,
            region=piece.region,
            offset=offset,
            chain=piece.chain,
            stored_sizes=tuple(len(one) for one in piece.blocks),
            digests=tuple(digest(one) for one in piece.blocks),
            decoded_digests=tuple(digest(one) for one in piece.decoded),
            dropped_digests=tuple(digest(stored[begin : begin + block]) for begin in range(0, len(stored), block)),
        )
        shards.append(shard)
        offset += piece.size
    data = head + b"".join(block for piece in pieces for block in piece.blocks)
    return data, TableObject(key, len(data), start, digest(head), algorithm, block, tuple(shards))
