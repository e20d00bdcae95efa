"""What an exchange of tensors between ranks consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pyckpt.format.geometry import Copy, Ints, Region

__all__ = ["ExchangePlan", "Move", "Pattern", "Route", "Use", "own_moves", "remote_moves"]


@dataclass(frozen=True, slots=True)
class Route:
    """One tensor: who holds which regions of it, and who wants which."""

    name: str
    shape: Ints
    """Global shape."""
    have: tuple[tuple[Region, ...], ...]
    """By rank, the regions that it holds; equal regions have equal values, whoever holds them."""
    want: tuple[tuple[Region, ...], ...]
    """By rank, the regions that are to be filled there."""
    bits: int
    """Of one element on the wire: of the narrower of the dtypes on both sides."""


class Move(NamedTuple):
    """One strided copy from memory on one rank to memory on another, or on the same. A tuple: there are many."""

    tensor: int
    """Number of the route."""
    source: int
    """Rank that sends."""
    source_piece: int
    """Number of the region in ``Route.have[source]``."""
    target: int
    """Rank that receives."""
    target_piece: int
    """Number of the region in ``Route.want[target]``."""
    copy: Copy
    """Over the wire the elements go in the row-major order of its shape."""
    nbytes: int
    """On the wire."""
    wave: int
    """From 0; -1 where nothing is sent."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The moves of a tensor, which are those of every other tensor that is alike: the layers of a model, say."""

    parts: tuple[tuple[Move, ...], ...]
    """Moves between ranks; those of a part are in one wave. Tensor and wave are said by the use."""
    local: tuple[Move, ...]
    """Moves within a rank."""
    echoes: tuple[Move, ...]
    """Copies from one target to another of the same rank, once all else has arrived: its ``source_piece`` counts in
    ``Route.want`` too."""

    def of_rank(self, rank: int) -> Pattern:
        """What a rank takes part in."""
        return Pattern(
            tuple(tuple([move for move in part if rank in (move[1], move[3])]) for part in self.parts),
            tuple([move for move in self.local if move.target == rank]),
            tuple([move for move in self.echoes if move.target == rank]),
        )


class Use(NamedTuple):
    """A tensor that is moved by a pattern."""

    pattern: int
    """Number of the pattern."""
    waves: tuple[int, ...]
    """By part of the pattern."""


@dataclass(frozen=True, slots=True)
class ExchangePlan:
    """All moves of one exchange."""

    size: int
    """Number of ranks."""
    budget: int
    """Bytes of wire buffers that no rank exceeds."""
    names: tuple[str, ...]
    """Of the tensors, by number."""
    patterns: tuple[Pattern, ...]
    uses: tuple[Use, ...]
    """By tensor."""
    waves: int

    @property
    def remote(self) -> tuple[Move, ...]:
        """Moves between ranks, by tensor; the same order on all ranks. A great many, for many ranks."""
        return tuple(remote_moves(self.patterns, self.uses))

    @property
    def local(self) -> tuple[Move, ...]:
        """Moves within a rank."""
        return tuple(own_moves(self.patterns, self.uses, lambda pattern: pattern.local))

    @property
    def echoes(self) -> tuple[Move, ...]:
        """Copies between targets of one rank, see ``Pattern``."""
        return tuple(own_moves(self.patterns, self.uses, lambda pattern: pattern.echoes))


def remote_moves(patterns: Sequence[Pattern], uses: Sequence[Use]) -> Iterator[Move]:
    """The moves between ranks of the tensors that are moved so."""
    for tensor, use in enumerate(uses):
        for part, wave in zip(patterns[use.pattern].parts, use.waves, strict=True):
            for move in part:
                yield Move(tensor, *move[1:7], wave)


def own_moves(
    patterns: Sequence[Pattern], uses: Sequence[Use], which: Callable[[Pattern], Sequence[Move]]
) -> Iterator[Move]:
    """Moves within ranks of the tensors that are moved so."""
    for tensor, use in enumerate(uses):
        for move in which(patterns[use.pattern]):
            yield Move(tensor, *move[1:])
