"""What the engine knows of a framework's state: leaves with sources to save, requests with sinks to load.

A framework package (``pyckpt.torch``, ``pyckpt.numpy``) turns its objects into these values; the engine never sees a
tensor, only memory that gives or takes the bytes of a region.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyckpt.errors import Finding
from pyckpt.format.geometry import Copy, Ints, Region
from pyckpt.format.tree import Path

__all__ = [
    "Binder",
    "BoundItem",
    "ItemState",
    "ItemView",
    "Piece",
    "Sink",
    "Source",
    "StagedSink",
    "Staging",
    "Target",
    "TensorLeaf",
    "TensorRequest",
]


class Source(Protocol):
    """The bytes of one region on this writer: the elements of its run in order, little-endian."""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole region."""

    def view(self) -> memoryview | None:
        """All bytes as contiguous host memory without a copy (format ``B``, one dimension), or None."""

    def read_into(self, start: int, out: memoryview) -> None:
        """Copies the bytes ``[start, start + len(out))`` to ``out``; called from several threads."""

    def close(self) -> None:
        """Frees what ``read_into`` may have kept (a contiguous copy, say); the source can be read again after."""


class Sink(Protocol):
    """The destination of one region: takes its bytes in run order."""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole region."""

    def open(self) -> memoryview | None:
        """Writable contiguous host memory for the whole region; None from a ``StagedSink``, which has none."""

    def close(self) -> None:
        """Called once, after all bytes have arrived."""


class StagedSink(Sink, Protocol):
    """A destination on a device, or in any other order than the run's: takes its bytes as they arrive, in pieces."""

    def take(self, staged: memoryview, copies: Sequence[Copy]) -> Callable[[], None] | None:
        """Moves elements of ``staged`` to where they belong, at once or by copies that go on after the call.

        The source side of the copies is ``staged``, the other one the region's memory in run order. They count elements
        of the stored dtype, or bytes where elements are smaller. Gives what waits until nothing reads ``staged`` or
        writes the destination any more; None if that is so already. After an error, nothing does either. Called from
        several threads, with different elements.
        """


class Staging(Protocol):
    """Host memory for bytes on their way."""

    def buffer(self, size: int) -> AbstractContextManager[memoryview]:
        """Lends at least ``size`` bytes, format ``B``, with any content; called from several threads."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One region that this writer holds."""

    region: Region
    source: Source


@dataclass(frozen=True, slots=True, eq=False)
class TensorLeaf:
    """A tensor in the tree of an item that is to be saved.

    The same object at two places of a tree is one tensor under two names (tied weights): identity decides, not value.
    """

    dtype: str
    """Name in the registry of dtypes."""
    shape: Ints
    """Global shape."""
    pieces: tuple[Piece, ...]
    """What this writer holds; may be empty."""
    replicas: tuple[int, ...] | None
    """Writers that hold the very same pieces, ascending and including this one. ``()``: nobody else does. ``None``: a
    plain tensor, whole on this writer; who else holds it is found out by one exchange per save."""
    claimed: bool = False
    """True if the replicas are only claimed to be equal and must prove it by fingerprint. Plain tensors always are."""
    stage: int = 0
    """When its sources can be read, where that comes in stages (see ``engine.stages``)."""


@dataclass(frozen=True, slots=True)
class ItemState:
    """One item as this writer sees it."""

    name: str
    kind: str
    """``model``, ``optimizer``, ``scheduler``, ``rng``, ``dataloader`` or ``other``."""
    tree: Mapping[str | int, Any]
    """Nodes of the tree (see ``pyckpt.format.tree``) with ``TensorLeaf`` in the place of tensors."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where one tensor goes on load: regions of the global tensor and the memory for each."""

    pieces: tuple[tuple[Region, Sink], ...]


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """One tensor of the checkpoint that is wanted."""

    path: Path
    tensor: int
    """Number in the item's tensor table."""
    target: Target


class ItemView(Protocol):
    """An item of an opened checkpoint, as a binder sees it."""

    @property
    def name(self) -> str:
        """Name of the item."""

    @property
    def kind(self) -> str:
        """Kind of the item."""

    @property
    def tree(self) -> Mapping[str | int, Any]:
        """Decoded tree; ``TensorRef(index)`` in the place of tensors."""

    def dtype(self, tensor: int) -> str:
        """Name of a tensor's dtype."""

    def shape(self, tensor: int) -> Ints:
        """Global shape of a tensor."""


@dataclass(slots=True)
class BoundItem:
    """What a binder wants read for one item, and what it does afterwards."""

    requests: list[TensorRequest] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Every mismatch between the checkpoint and the target; nothing is read unless there is none."""
    skipped: list[Finding] = field(default_factory=list)
    """What a load that is not strict leaves aside, for the report."""
    unexpected: list[Finding] = field(default_factory=list)
    """Names of the checkpoint that this rank has no place for. They count only if no other rank has one: pipeline
    stages hold different names."""
    staging: Staging | None = None
    """Memory from which the item's staged sinks copy best (pinned, say); None: any."""
    finish: Callable[[], Any] = lambda: None
    """Called once after all bytes have arrived: sets scalars, calls ``load_state_dict``; returns the loaded value."""


class Binder(Protocol):
    """Matches one item of a checkpoint with one object that is to be filled."""

    def bind(self, item: ItemView) -> BoundItem:
        """Says what is wanted of the item, and what differs."""
