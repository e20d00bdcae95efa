"""Executes an exchange plan: strided copies into wire buffers, messages, strided copies out of them, wave by wave.

While a wave is on the wire, the next one is packed and the one before is unpacked. A message of one gapless range goes
straight from, or to, the tensor's own memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from pyckpt.engine.exchange_moves import Move
from pyckpt.engine.exchange_waves import ALIGNMENT, Message, Schedule
from pyckpt.torch.live_memory import same_memory
from pyckpt.torch.places import Copies, place_of, place_on_wire
from pyckpt.torch.wire import Letter, Posted, Wire

__all__ = ["Exchange", "Pieces", "Ready", "wire_dtype"]

Pieces: TypeAlias = Sequence[Sequence[torch.Tensor]]
"""By route, the tensors whose row-major order is that of the regions of this rank."""

Ready: TypeAlias = Callable[[int], None]
"""Called with the number of a route before its values are read on this rank, once for each wave that sends any."""


def wire_dtype(source: torch.dtype, target: torch.dtype) -> torch.dtype:
    """The narrower of two dtypes, in which the elements travel; of equally wide ones that of the source."""
    return target if target.itemsize < source.itemsize else source


@dataclass(slots=True)
class _Wave:
    """One wave, ready to be executed again and again."""

    routes: dict[int, None] = field(default_factory=dict)
    """Whose values are sent, in order."""
    pack: Copies = field(default_factory=Copies)
    sends: list[Letter] = field(default_factory=list)
    receives: list[Letter] = field(default_factory=list)
    unpack: Copies = field(default_factory=Copies)


class Exchange:
    """One rank's part of an exchange, bound to memory. All ranks of the group execute it together."""

    def __init__(
        self,
        schedule: Schedule,
        wire: Wire,
        device: torch.device,
        dtypes: Sequence[torch.dtype],
        sources: Pieces,
        targets: Pieces,
    ) -> None:
        """``dtypes`` are those on the wire, by route; ``device`` is where wire buffers lie."""
        self._schedule = schedule
        self._wire = wire
        self._device = device
        self._dtypes = dtypes
        self._sources: Pieces = ()
        self._targets: Pieces = ()
        self._received: dict[int, torch.Tensor] = {}
        self._buffers: tuple[torch.Tensor, ...] = ()
        self._waves: list[_Wave] = []
        self._local = self._echoes = Copies()
        self._local_routes: dict[int, None] = {}
        self._bind(sources, targets)

    def bind(self, sources: Pieces, targets: Pieces) -> None:
        """Takes other memory of the same layout from now on; does nothing where it is the same."""
        if not (_same(self._sources, sources) and _same(self._targets, targets)):
            self._bind(sources, targets)

    def _bind(self, sources: Pieces, targets: Pieces) -> None:
        self._sources, self._targets = sources, targets
        self._received = {}
        try:
            # A view that is made in inference mode can't be written out of it, or not so that autograd hears of it.
            with torch.inference_mode(False):
                self._waves = self._prepare(self._schedule)
                self._local, self._local_routes = self._copies_within(sources, self._schedule.local)
                self._echoes, _ = self._copies_within(targets, self._schedule.echoes)
        except BaseException:
            # What is half bound must not pass for bound, should the caller try again.
            self._sources, self._targets = (), ()
            raise

    @property
    def buffer_bytes(self) -> int:
        """Memory of the wire buffers, at most ``schedule.peak_bytes``."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def run(self, ready: Ready | None = None) -> None:
        """Moves all values.

        With ``ready`` a rank's sources are parts of its targets, read meanwhile: what another target wants too is
        copied once all else has arrived.
        """
        with torch.inference_mode(False), torch.no_grad():
            under_way: tuple[_Wave, Posted] | None = None
            for wave in self._waves:
                if ready is not None:
                    for route in wave.routes:
                        ready(route)
                wave.pack.run()
                posted = self._wire.post(wave.sends, wave.receives)
                if under_way is not None:
                    self._settle(*under_way)
                elif ready is None:
                    self._local.run()
                under_way = wave, posted
            if under_way is not None:
                self._settle(*under_way)
            elif ready is None:
                self._local.run()
            if ready is not None:
                for route in self._local_routes:
                    ready(route)
                self._local.run()
            self._echoes.run()
        for tensor in self._received.values():
            # Memory that was written past torch has an old version counter, and a stale graph would go unnoticed.
            if not tensor.is_inference():
                torch.autograd.graph.increment_version(tensor)

    def _settle(self, wave: _Wave, posted: Posted) -> None:
        self._wire.finish(posted)
        wave.unpack.run()

    def _prepare(self, schedule: Schedule) -> list[_Wave]:
        """Finds what goes without a buffer, makes the buffers for the rest, and every view into them."""
        sizes = [0] * 4
        planned: list[tuple[int, bool, list[tuple[Message, torch.Tensor | None, int]]]] = []
        for sending, waves in ((True, schedule.sends), (False, schedule.receives)):
            for number, messages in enumerate(waves):
                slot = 2 * (number % 2) + sending
                listed = []
                at = 0
                for message in messages:
                    direct = self._direct(message, sending=sending)
                    listed.append((message, direct, at))
                    if direct is None:
                        at += -(-message.nbytes // ALIGNMENT) * ALIGNMENT
                sizes[slot] = max(sizes[slot], at)
                planned.append((number, sending, listed))
        if not self._buffers or any(size > len(known) for size, known in zip(sizes, self._buffers, strict=True)):
            self._waves, self._buffers = [], ()  # the old ones go before there are new ones
            self._buffers = tuple(torch.empty(size, dtype=torch.uint8, device=self._device) for size in sizes)
        prepared = [_Wave() for _ in schedule.sends]
        for number, sending, listed in planned:
            buffer = self._buffers[2 * (number % 2) + sending]
            for message, direct, at in listed:
                data = buffer[at : at + message.nbytes] if direct is None else direct
                self._add(prepared[number], message, data, sending=sending, staged=direct is None)
        return prepared

    def _add(self, wave: _Wave, message: Message, data: torch.Tensor, *, sending: bool, staged: bool) -> None:
        (wave.sends if sending else wave.receives).append((message.peer, message.tag, data))
        for offset, move in message.moves:
            if sending:
                wave.routes[move.tensor] = None
            if staged:
                part = place_on_wire(data[offset : offset + move.nbytes], self._dtypes[move.tensor], move.copy)
                if sending:
                    source = self._sources[move.tensor][move.source_piece]
                    wave.pack.add(part, place_of(source, move.copy, source=True))
                else:
                    target = self._targets[move.tensor][move.target_piece]
                    wave.unpack.add(place_of(target, move.copy, source=False), part)

    def _direct(self, message: Message, *, sending: bool) -> torch.Tensor | None:
        """The message's bytes in the tensor's own memory, if they lie there as they travel."""
        if len(message.moves) != 1:
            return None
        move = message.moves[0][1]
        pieces, piece = (self._sources, move.source_piece) if sending else (self._targets, move.target_piece)
        tensor = pieces[move.tensor][piece]
        if tensor.dtype != self._dtypes[move.tensor] or tensor.device != self._device:
            return None
        data = place_of(tensor, move.copy, source=sending).contiguous_bytes()
        if data is not None and not sending:
            self._received[id(tensor)] = tensor
        return data

    def _copies_within(self, sources: Pieces, moves: Sequence[Move]) -> tuple[Copies, dict[int, None]]:
        """What is not where it belongs already, and the routes that it is of."""
        copies = Copies()
        routes: dict[int, None] = {}
        for move in moves:
            source = place_of(sources[move.tensor][move.source_piece], move.copy, source=True)
            target = place_of(self._targets[move.tensor][move.target_piece], move.copy, source=False)
            if not target.is_at(source):
                copies.add(target, source)
                routes[move.tensor] = None
        return copies, routes


def _same(known: Pieces, pieces: Pieces) -> bool:
    return len(known) == len(pieces) and all(
        len(one) == len(other) and all(map(same_memory, one, other)) for one, other in zip(known, pieces, strict=True)
    )
