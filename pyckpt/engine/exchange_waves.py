"""Waves of an exchange: which moves are under way together, and where each lies in the buffers of a rank; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pyckpt.engine.exchange_moves import ExchangePlan, Move, own_moves, remote_moves

__all__ = ["MIN_BUDGET", "Fill", "Message", "Schedule", "Waves", "load_of", "schedule_of", "wave_limit"]

MIN_BUDGET: Final = 4096
"""Bytes; less would cut moves into pieces that are not worth a message."""
ALIGNMENT: Final = 64
"""Messages begin at multiples of this many bytes in a buffer: for any element, and for the device's copy engines."""
ALONE_BYTES: Final = 256 << 10
"""A move of this size is a message of its own, which may go straight from memory to memory without a buffer."""
_LOOK_BACK: Final = 8
"""So many of the latest waves are tried before a new one is begun."""
_QUARTERS: Final = 4
"""Two waves are under way at once, one on the wire and one being packed or unpacked, each with both directions."""


def wave_limit(budget: int) -> int:
    """The largest number of bytes that one move may have on the wire."""
    return budget // _QUARTERS - ALIGNMENT


def load_of(part: Sequence[Move], size: int) -> npt.NDArray[np.int64]:
    """The room that moves take: by rank, first of what is sent, then of what is received."""
    count = len(part)
    needs = np.fromiter((move.nbytes for move in part), np.int64, count) + ALIGNMENT
    load = np.zeros(2 * size, np.int64)
    np.add.at(load, np.fromiter((move.source for move in part), np.int64, count), needs)
    np.add.at(load, np.fromiter((move.target for move in part), np.int64, count) + size, needs)
    return load


class Fill:
    """Puts the moves of one tensor into as many parts as it takes: each into the first that has room at both ends."""

    def __init__(self, size: int, limit: int) -> None:
        self._size = size
        self._room = limit + ALIGNMENT
        self._out: list[list[int]] = [[] for _ in range(size)]
        self._in: list[list[int]] = [[] for _ in range(size)]

    def parts(self, moves: Sequence[Move]) -> tuple[tuple[Move, ...], ...]:
        """The moves by part; each is of at most the limit."""
        if not moves:
            return ()
        if int(load_of(moves, self._size).max()) <= self._room:
            return (tuple(moves),)
        parts: list[list[Move]] = []
        for move in moves:
            part = self._place(move.source, move.target, move.nbytes + ALIGNMENT)
            parts += [[] for _ in range(part + 1 - len(parts))]
            parts[part].append(move)
        return tuple(map(tuple, parts))

    def _place(self, source: int, target: int, need: int) -> int:
        out, into = self._out[source], self._in[target]
        # Only the last parts are looked at: what is full before them stays so.
        part = max(0, max(len(out), len(into)) - _LOOK_BACK)
        while (part < len(out) and out[part] + need > self._room) or (
            part < len(into) and into[part] + need > self._room
        ):
            part += 1
        for loads in (out, into):
            loads.extend([0] * (part + 1 - len(loads)))
            loads[part] += need
        return part


class Waves:
    """Puts parts of tensors into waves: each into the first in which every rank has room."""

    def __init__(self, size: int, limit: int) -> None:
        self._room = limit + ALIGNMENT
        self._loads = np.zeros((0, 2 * size), np.int64)
        self.count = 0

    def place(self, load: npt.NDArray[np.int64]) -> int:
        """The wave for a part that takes so much room, see ``load_of``."""
        first = max(0, self.count - _LOOK_BACK)
        room = (self._loads[first : self.count] + load <= self._room).all(axis=1)
        wave = first + int(room.argmax()) if room.any() else self.count
        if wave == len(self._loads):
            self._loads = np.concatenate([self._loads, np.zeros((wave + 8, self._loads.shape[1]), np.int64)])
        self.count = max(self.count, wave + 1)
        self._loads[wave] += load
        return wave


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes that go from one rank to another in one piece. All offsets and sizes in bytes."""

    wave: int
    peer: int
    """The rank at the other end."""
    tag: int
    """Number among the messages from the same sender to the same receiver in the same wave."""
    offset: int
    """In the rank's buffer for this wave and direction."""
    nbytes: int
    moves: tuple[tuple[int, Move], ...]
    """(offset in the message, move), wide elements first, so that each lies at a multiple of its size."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What one rank does, wave by wave. Messages from one sender to one receiver have the same order at both ends."""

    rank: int
    sends: tuple[tuple[Message, ...], ...]
    """By wave."""
    receives: tuple[tuple[Message, ...], ...]
    local: tuple[Move, ...]
    echoes: tuple[Move, ...]
    peak_bytes: int
    """Of the buffers of all waves under way at once, if nothing can do without a buffer."""


def schedule_of(plan: ExchangePlan, rank: int) -> Schedule:
    """The part of ``plan`` that concerns ``rank``."""
    patterns = [pattern.of_rank(rank) for pattern in plan.patterns]
    moves = list(remote_moves(patterns, plan.uses))
    sends = _messages(moves, rank, plan.waves, sending=True)
    receives = _messages(moves, rank, plan.waves, sending=False)
    slots = [0, 0]
    for wave in range(plan.waves):
        parity = wave % 2
        slots[parity] = max(slots[parity], _end(sends[wave]) + _end(receives[wave]))
    return Schedule(
        rank,
        sends,
        receives,
        tuple(own_moves(patterns, plan.uses, lambda pattern: pattern.local)),
        tuple(own_moves(patterns, plan.uses, lambda pattern: pattern.echoes)),
        sum(slots),
    )


def _messages(
    moves: Sequence[Move], rank: int, count: int, *, sending: bool
) -> tuple[tuple[Message, ...], ...]:
    waves: list[dict[int, list[Move]]] = [defaultdict(list) for _ in range(count)]
    for move in moves:
        if (move.source if sending else move.target) == rank:
            waves[move.wave][move.target if sending else move.source].append(move)
    return tuple(tuple(_wave_messages(number, peers)) for number, peers in enumerate(waves))


def _wave_messages(wave: int, peers: dict[int, list[Move]]) -> list[Message]:
    messages: list[Message] = []
    at = 0
    for peer in sorted(peers):
        moves = peers[peer]
        alone = [[move] for move in moves if move.nbytes >= ALONE_BYTES]
        together = [move for move in moves if move.nbytes < ALONE_BYTES]
        together.sort(key=lambda move: -_item(move))
        for tag, group in enumerate([together, *alone] if together else alone):
            message = _message(wave, peer, tag, at, group)
            messages.append(message)
            at += -(-message.nbytes // ALIGNMENT) * ALIGNMENT
    return messages


def _item(move: Move) -> int:
    """Bytes of one element, 1 for small ones."""
    return max(1, move.nbytes // move.copy.elements)


def _message(wave: int, peer: int, tag: int, offset: int, moves: Sequence[Move]) -> Message:
    placed = []
    at = 0
    for move in moves:
        placed.append((at, move))
        at += move.nbytes
    return Message(wave, peer, tag, offset, at, tuple(placed))


def _end(messages: Sequence[Message]) -> int:
    return max((message.offset + -(-message.nbytes // ALIGNMENT) * ALIGNMENT for message in messages), default=0)
