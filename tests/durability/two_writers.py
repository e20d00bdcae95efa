"""Several writers of one save as threads of this process, and states of raw bytes for them: no torch, no processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.leaves import BoundItem, ItemState, ItemView, Piece, Target, TensorLeaf, TensorRequest
from pyckpt.engine.memory import MemorySink, MemorySource
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.report import SaveReport
from pyckpt.engine.save import Request, save
from pyckpt.format.dtypes import byte_count, dtype_of
from pyckpt.format.geometry import Box, Region
from pyckpt.format.tree import TensorRef, map_leaves
from pyckpt.storage.base import Store
from pyckpt.testing.writers import thread_coordinators, together

PROGRAM = ("pyckpt-tests", "0")
SECONDS = 20.0


def save_by_threads(
    store: Store | Sequence[Store],
    name: str,
    states: Sequence[Callable[[], Sequence[ItemState]]],
    *,
    metadata: dict[str, object] | None = None,
    assets: dict[str, dict[str, bytes]] | None = None,
    options: SaveOptions | None = None,
) -> list[SaveReport | BaseException]:
    """Saves what each writer's callable gives; every writer's report or error, by rank."""
    stores = list(store) if isinstance(store, Sequence) else [store] * len(states)

    def write(coordinator: Coordinator) -> SaveReport:
        rank = coordinator.rank
        request = Request(states[rank], metadata or {}, (assets or {}) if rank == 0 else {}, PROGRAM)
        return save(stores[rank], name, request, options=options or SaveOptions(threads=1), coordinator=coordinator)

    return together(thread_coordinators(len(states), SECONDS), write)


def pattern(nbytes: int, seed: int) -> bytes:
    """Bytes that differ from place to place and from tensor to tensor."""
    return bytes((seed * 37 + 11 * at + at * at) % 251 for at in range(nbytes))


def leaf(
    dtype: str,
    shape: tuple[int, ...],
    pieces: Sequence[tuple[Region, bytes]] = (),
    *,
    replicas: tuple[int, ...] | None = (),
) -> TensorLeaf:
    """A tensor of which this writer holds ``pieces``."""
    held = tuple(Piece(region, MemorySource(data)) for region, data in pieces)
    return TensorLeaf(dtype, shape, held, replicas, claimed=replicas is None)


def whole(dtype: str, shape: tuple[int, ...], data: bytes, *, replicas: tuple[int, ...] | None = ()) -> TensorLeaf:
    """A tensor that this writer holds all of."""
    assert len(data) == byte_count(dtype_of(dtype), math.prod(shape))
    return leaf(dtype, shape, [(Region.whole(shape), data)], replicas=replicas)


def columns(data: bytes, shape: tuple[int, int], item: int, first: int, last: int) -> tuple[Region, bytes]:
    """Columns ``[first, last)`` of a matrix whose elements have ``item`` bytes."""
    rows, width = shape
    box = Box((0, first), (rows, last - first))
    part = b"".join(data[(row * width + first) * item : (row * width + last) * item] for row in range(rows))
    return Region.of_box(box), part


class BytesBinder:
    """Loads any item as its tree with ``(dtype, shape, bytes)`` in the place of tensors, dtypes that NumPy lacks too."""

    def bind(self, item: ItemView) -> BoundItem:
        """Requests for every tensor."""
        bound = BoundItem()
        sinks: dict[int, MemorySink] = {}

        def request(path: Any, node: Any) -> Any:
            if isinstance(node, TensorRef) and node.index not in sinks:
                dtype, shape = item.dtype(node.index), item.shape(node.index)
                region = Region.whole(shape)
                sinks[node.index] = sink = MemorySink(byte_count(dtype_of(dtype), region.elements))
                bound.requests.append(TensorRequest(path, node.index, Target(((region, sink),))))
            return node

        def fill(_: Any, node: Any) -> Any:
            if not isinstance(node, TensorRef):
                return node
            return item.dtype(node.index), item.shape(node.index), bytes(sinks[node.index].data)

        map_leaves(item.tree, request)
        bound.finish = lambda: map_leaves(item.tree, fill)
        return bound
