"""What the worked example of chapter 19 saves: tensors with their values, the shards of two writers, and the tree.

Nothing of the library is used here or in the other modules of the example: they follow the text of the specification,
so that the library's tests have somebody else's checkpoint to read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "ASSET",
    "ASSET_NAME",
    "ATTEMPT",
    "CHECKPOINT",
    "CREATED",
    "ITEM",
    "METADATA",
    "SHARDS",
    "TENSORS",
    "TREE",
    "BigInt",
    "Box",
    "DType",
    "Indexed",
    "Ref",
    "Set",
    "Shard",
    "Tensor",
    "Timestamp",
    "Tuple",
    "coords",
    "flat",
]

CHECKPOINT, ITEM = "step_2", "model"
ATTEMPT = "5d41c06be29f7a38"
"""Random in a real save; fixed here so that the bytes are."""
CREATED = "2026-01-02T03:04:05Z"

_PACK = {"F32": ("<f", 32, 4), "I32": ("<i", 32, 4), "F64": ("<d", 64, 8), "BF16": ("<f", 16, 2)}
"""dtype -> (how ``struct`` packs it, bits, item size)."""

Ints = tuple[int, ...]


def flat(x: Ints, z: Ints) -> int:
    """Section 15.1: the row-major position of the coordinates ``x`` in sizes ``z``."""
    position = 0
    for coordinate, size in zip(x, z, strict=True):
        position = position * size + coordinate
    return position


def coords(p: int, z: Ints) -> Ints:
    """Section 15.1: the inverse of ``flat``."""
    found: list[int] = []
    for size in reversed(z):
        p, coordinate = divmod(p, size)
        found.insert(0, coordinate)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Box:
    """Offsets and sizes, one of each per dimension."""

    offset: Ints
    size: Ints

    def text(self) -> str:
        """As entry names have it: ``[0:2,0:3]``."""
        return "[" + ",".join(f"{low}:{low + size}" for low, size in zip(self.offset, self.size, strict=True)) + "]"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A row of the tensor table, and the values in row-major order."""

    name: str
    dtype: str
    shape: Ints
    values: tuple[float, ...]

    @property
    def bits(self) -> int:
        """Bits of one element."""
        return _PACK[self.dtype][1]

    @property
    def item(self) -> int:
        """Item size, by which entries are ordered."""
        return _PACK[self.dtype][2]

    def element(self, at: Ints) -> bytes:
        """The bytes of one element; BF16 is the upper half of a binary32."""
        data = struct.pack(_PACK[self.dtype][0], self.values[flat(at, self.shape)])
        return data[-self.item :]

    def whole(self) -> Box:
        """The box that is all of the tensor."""
        return Box((0,) * len(self.shape), self.shape)


@dataclass(frozen=True, slots=True)
class Shard:
    """A row of the shard table: one region that one writer stores."""

    tensor: int
    writer: int
    box: Box
    start: int
    stop: int

    def coordinates(self) -> list[Ints]:
        """Global coordinates of the elements in run order."""
        local = (coords(p, self.box.size) for p in range(self.start, self.stop))
        return [tuple(low + at for low, at in zip(self.box.offset, each, strict=True)) for each in local]

    @property
    def whole_run(self) -> bool:
        """Whether the run is the whole box."""
        return self.start == 0 and self.stop == math.prod(self.box.size)

    def entry(self) -> str:
        """Section 9.4: the entry name."""
        tensor = TENSORS[self.tensor]
        if self.box == tensor.whole() and self.whole_run:
            return tensor.name
        return f"{tensor.name}@{self.box.text()}" + ("" if self.whole_run else f"({self.start}:{self.stop})")

    def header_shape(self) -> list[int]:
        """Section 9.3: the shape in the header."""
        return list(self.box.size) if self.whole_run else [self.stop - self.start]

    def data(self) -> bytes:
        """The decoded bytes, which are also the stored ones."""
        tensor = TENSORS[self.tensor]
        return b"".join(tensor.element(at) for at in self.coordinates())

    def values(self) -> list[float]:
        """The values in run order."""
        tensor = TENSORS[self.tensor]
        return [tensor.values[flat(at, tensor.shape)] for at in self.coordinates()]


TENSORS = (
    Tensor("embed.weight", "F32", (4, 2), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)),
    Tensor("moment", "I32", (4, 3), tuple(10 * row + column for row in range(4) for column in range(3))),
    Tensor("norm.weight", "BF16", (3,), (1.0, -2.0, 0.5)),
    Tensor("scale", "F64", (), (65536.0,)),
    Tensor("unused", "F32", (0, 3), ()),
)
SHARDS = (
    Shard(0, 0, Box((0, 0), (2, 2)), 0, 4),
    Shard(0, 1, Box((2, 0), (2, 2)), 0, 4),
    Shard(1, 0, TENSORS[1].whole(), 0, 5),
    Shard(1, 1, TENSORS[1].whole(), 5, 12),
    Shard(2, 1, TENSORS[2].whole(), 0, 3),
    Shard(3, 0, TENSORS[3].whole(), 0, 1),
    Shard(4, 0, TENSORS[4].whole(), 0, 0),
)
"""In the order of section 7.7: by tensor, then by box offset, then by the run's start."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Extension 1."""

    tensor: int


@dataclass(frozen=True, slots=True)
class Tuple:
    """Extension 2."""

    nodes: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class BigInt:
    """Extension 4."""

    value: int

    def payload(self) -> bytes:
        """Two's complement, little-endian, the shortest that holds the value."""
        bits = self.value.bit_length() if self.value >= 0 else (~self.value).bit_length()
        return self.value.to_bytes(bits // 8 + 1, "little", signed=True)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """Extension 5."""

    seconds: int
    nanoseconds: int
    offset: int
    text: str

    def payload(self) -> bytes:
        """Sixteen bytes."""
        return struct.pack("<qIi", self.seconds, self.nanoseconds, self.offset)


@dataclass(frozen=True, slots=True)
class Indexed:
    """Extension 6."""

    axis: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Set:
    """Extension 7; the elements ascend."""

    elements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DType:
    """Extension 9."""

    name: str


TREE: Mapping[str, object] = {
    "embed.weight": Ref(0),
    "moment": Ref(1),
    "norm.weight": Ref(2),
    "scale": Ref(3),
    "unused": Ref(4),
    "head.weight": Ref(0),
    "extra": {
        "step": 2,
        "betas": Tuple((0.9, 0.999)),
        "seed": BigInt(2**64),
        "saved": Timestamp(1767323045, 0, 0, CREATED),
        "cursor": Indexed("rank", (40, 300)),
        "seen": Set(("books", "web")),
        "compute": DType("BF16"),
    },
}
METADATA: Mapping[str, object] = {
    "step": 2,
    "lr": 0.001,
    "loss": {"$float": "nan"},
    "tokens": {"$int": str(2**64)},
}
"""As it stands in the root (section 6.8)."""
ASSET_NAME, ASSET = "config.json", b'{"layers": 1}\n'
