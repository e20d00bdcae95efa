"""Waves of an exchange: which moves are under way together, and where each lies in the buffers of a rank; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyckpt.engine.exchange_moves import ExchangePlan, Move

__all__ = ["MIN_BUDGET", "Fill", "Message", "Schedule", "schedule_of", "wave_limit"]

MIN_BUDGET: Final = 4096
"""Bytes; less would cut moves into pieces that are not worth a message."""
ALIGNMENT: Final = 64
"""Messages begin at multiples of this many bytes in a buffer: for any element, and for the device's copy engines."""
ALONE_BYTES: Final = 256 << 10
"""A move of this size is a message of its own, which may go straight from memory to memory without a buffer."""
_QUARTERS: Final = 4
"""Two waves are under way at once, one on the wire and one being packed or unpacked, each with both directions."""


def wave_limit(budget: int) -> int:
    """The largest number of bytes that one move may have on the wire."""
    return budget // _QUARTERS - ALIGNMENT


class Fill:
    """Puts moves into waves: each into the first in which sender and receiver both have room."""

    def __init__(self, size: int, limit: int) -> None:
        self._room = limit + ALIGNMENT
        self._out: list[list[int]] = [[] for _ in range(size)]
        self._in: list[list[int]] = [[] for _ in range(size)]
        self._first = [[0] * size, [0] * size]

    def place(self, source: int, target: int, nbytes: int) -> int:
        """The wave for a move of this many bytes, at most the limit."""
        need = nbytes + ALIGNMENT
        out, into = self._out[source], self._in[target]
        wave = max(self._first[0][source], self._first[1][target])
        while (wave < len(out) and out[wave] + need > self._room) or (
            wave < len(into) and into[wave] + need > self._room
        ):
            wave += 1
        for loads, firsts, rank in ((out, self._first[0], source), (into, self._first[1], target)):
            loads.extend([0] * (wave + 1 - len(loads)))
            loads[wave] += need
            # Nearly full waves are not looked at again.
            while firsts[rank] < len(loads) and loads[firsts[rank]] > self._room * 15 // 16:
                firsts[rank] += 1
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
    sends, receives = _messages(plan, rank, sending=True), _messages(plan, rank, sending=False)
    slots = [0, 0]
    for wave in range(plan.waves):
        parity = wave % 2
        slots[parity] = max(slots[parity], _end(sends[wave]) + _end(receives[wave]))
    return Schedule(
        rank,
        sends,
        receives,
        tuple(move for move in plan.local if move.target == rank),
        tuple(move for move in plan.echoes if move.target == rank),
        sum(slots),
    )


def _messages(plan: ExchangePlan, rank: int, *, sending: bool) -> tuple[tuple[Message, ...], ...]:
    waves: list[dict[int, list[Move]]] = [defaultdict(list) for _ in range(plan.waves)]
    for move in plan.remote:
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
