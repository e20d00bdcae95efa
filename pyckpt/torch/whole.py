"""Tensors brought together on one rank each, stage by stage, for a save whose files other tools open as they lie."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from math import prod
from typing import Any

import torch

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.exchange_agree import LiveItem, agree_on_source
from pyckpt.engine.exchange_moves import Route
from pyckpt.engine.exchange_plan import plan_exchange
from pyckpt.engine.exchange_waves import schedule_of
from pyckpt.engine.leaves import ItemState, Piece, TensorLeaf
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.rounds import round_trip
from pyckpt.engine.whole_plan import plan_whole
from pyckpt.format.dtypes import byte_count, dtype_of
from pyckpt.format.geometry import Region
from pyckpt.format.tree import TensorRef, map_leaves
from pyckpt.torch.collect import collect
from pyckpt.torch.dtypes import PACKED, torch_dtype
from pyckpt.torch.exchange import Exchange
from pyckpt.torch.live_memory import has_accelerator, tensor_of
from pyckpt.torch.source import TensorSource
from pyckpt.torch.wire import Wire, open_wire

__all__ = ["WholeTensors"]

WIRE_BYTES = 32 << 20
"""Memory for messages on each rank."""


class WholeTensors:
    """See ``pyckpt.frameworks.Relay``: this rank has a tensor whole, or not at all."""

    def __init__(self, state: Mapping[str, object], coordinator: Coordinator, options: SaveOptions) -> None:
        """All ranks call it together. Raises what ``collect`` raises, and StateDiverged, on all of them."""
        self._coordinator = coordinator
        others: dict[str, ItemState] = {}

        def collect_whole() -> Sequence[ItemState]:
            collected = collect(
                state, rank=coordinator.rank, world_size=coordinator.size, layout=options.declared or None
            )
            others.update({item.name: item for item in collected})
            return [item for item in collected if options.is_whole(item.name)]

        source = agree_on_source(coordinator, collect_whole, node=socket.gethostname(), replicas=options.replicas)
        self._nodes = source.nodes
        self._live = source.items
        self._listed = [(item, number) for item in source.items.values() for number in range(len(item.names))]
        sizes = [_nbytes(item, number) for item, number in self._listed]
        self._places = plan_whole(sizes, coordinator.size, budget=options.whole_budget_bytes)
        self.count = 1 + max((place.stage for place in self._places), default=-1)
        own = [tensor_of(piece.source) for item in self._live.values() for pieces in item.own for piece in pieces]
        self._device = self._open_wire(own)
        self._wire = Wire(None)
        self._others = others
        self._memory_of = partial(self._allocate, own, sizes)
        self._targets: dict[tuple[str, int], torch.Tensor] = {}

    @cached_property
    def items(self) -> Sequence[ItemState]:
        """This rank's items. Memory is made for them at the first look; whoever has none raises."""
        return self._states(self._memory_of())

    def _open_wire(self, own: Sequence[torch.Tensor]) -> torch.device:
        flag = bytes([has_accelerator(own)])
        answer = round_trip(self._coordinator, "device", lambda: flag, lambda each: bytes([b"\1" in each]))
        return open_wire(None, self._coordinator.size, accelerated=answer == b"\1")

    def _allocate(self, own: Sequence[torch.Tensor], sizes: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory for two stages, on the device of the tensors, used again and again."""
        room = [0, 0]
        for place, size in zip(self._places, sizes, strict=True):
            if place.owner == self._coordinator.rank:
                room[place.stage % 2] = max(room[place.stage % 2], place.offset + size)
        device = next((tensor.device for tensor in own if tensor.device.type != "cpu"), torch.device("cpu"))
        even, odd = (torch.empty(size, dtype=torch.uint8, device=device) for size in room)
        return even, odd

    def _states(self, memory: tuple[torch.Tensor, torch.Tensor]) -> list[ItemState]:
        leaves: dict[tuple[str, int], TensorLeaf] = {}
        for (item, number), place in zip(self._listed, self._places, strict=True):
            pieces: tuple[Piece, ...] = ()
            if place.owner == self._coordinator.rank:
                tensor = _view(memory[place.stage % 2], place.offset, item, number)
                self._targets[item.name, number] = tensor
                pieces = (Piece(Region.whole(item.shapes[number]), TensorSource(tensor, tensor.nbytes)),)
            leaves[item.name, number] = TensorLeaf(
                item.dtypes[number], item.shapes[number], pieces, (), stage=place.stage
            )
        names = [*self._others, *(name for name in self._live if name not in self._others)]
        return [self._state(name, leaves) if name in self._live else self._others[name] for name in names]

    def _state(self, name: str, leaves: Mapping[tuple[str, int], TensorLeaf]) -> ItemState:
        live = self._live[name]

        def leaf(path: Any, node: Any) -> Any:
            del path
            return leaves[name, node.index] if isinstance(node, TensorRef) else node

        return ItemState(name, live.kind, map_leaves(live.tree, leaf))

    def fill(self, stage: int) -> None:
        """Exchanges the tensors of one stage."""
        listed = [each for each, place in zip(self._listed, self._places, strict=True) if place.stage == stage]
        owners = [place.owner for place in self._places if place.stage == stage]
        routes = [self._route(item, number, owner) for (item, number), owner in zip(listed, owners, strict=True)]
        plan = plan_exchange(routes, nodes=self._nodes, budget=WIRE_BYTES)
        sources = [[tensor_of(piece.source) for piece in item.own[number]] for item, number in listed]
        targets = [
            [self._targets[item.name, number]] if (item.name, number) in self._targets else []
            for item, number in listed
        ]
        dtypes = [torch_dtype(item.dtypes[number]) for item, number in listed]
        schedule = schedule_of(plan, self._coordinator.rank)
        with self._wire.watched(self._coordinator):
            Exchange(schedule, self._wire, self._device, dtypes, sources, targets).run()
            for device in {tensor.device for tensors in targets for tensor in tensors if not tensor.is_cpu}:
                # Writing threads have streams of their own, which don't come after this one's.
                torch.accelerator.current_stream(device).synchronize()

    def _route(self, item: LiveItem, number: int, owner: int) -> Route:
        whole = (Region.whole(item.shapes[number]),)
        want = tuple(whole if rank == owner else () for rank in range(self._coordinator.size))
        bits = dtype_of(item.dtypes[number]).bits
        return Route(f"{item.name}/{item.names[number]}", item.shapes[number], item.held[number], want, bits)


def _nbytes(item: LiveItem, number: int) -> int:
    return byte_count(dtype_of(item.dtypes[number]), prod(item.shapes[number]))


def _view(memory: torch.Tensor, offset: int, item: LiveItem, number: int) -> torch.Tensor:
    """A tensor of the right shape in the memory of a stage."""
    shape = item.shapes[number]
    dtype = torch_dtype(item.dtypes[number])
    if dtype is PACKED and PACKED is not None:
        shape = (*shape[:-1], shape[-1] // 2)
    return memory[offset : offset + _nbytes(item, number)].view(dtype).view(shape)
