"""An engine of a few lines for the tests of the torch layer: whole tensors as arrays of bytes."""

from __future__ import annotations

import math

import numpy as np

from pyckpt.engine.leaves import TensorLeaf
from pyckpt.errors import StateMismatch
from pyckpt.format.dtypes import dtype_of
from pyckpt.format.geometry import region_boxes, region_copies
from pyckpt.format.tree import Flattened, Indexed, TensorRef, map_leaves

MISSING = 0xA5


def item_bytes(dtype):
    return dtype_of(dtype).bits // 8


class Item:
    """An ItemView over the union of what the ranks collected."""

    def __init__(self, states):
        self.name, self.kind = states[0].name, states[0].kind
        self.leaves = []  # [dtype, shape, bytes, times written]
        by_path = {}
        trees = []
        for state in states:
            number = {}

            def change(path, leaf, number=number):
                if not isinstance(leaf, TensorLeaf):
                    return leaf
                if id(leaf) in number:
                    return TensorRef(number[id(leaf)])
                index = by_path.get(path)
                if index is None:
                    index = by_path[path] = len(self.leaves)
                    shape = (*leaf.shape, item_bytes(leaf.dtype))
                    self.leaves.append([leaf.dtype, leaf.shape, np.full(shape, MISSING, np.uint8), np.zeros(leaf.shape, int)])
                number[id(leaf)] = index
                self.take(index, leaf)
                return TensorRef(index)

            trees.append(map_leaves(state.tree, change))
        self.tree = union(trees)

    def take(self, index, leaf):
        dtype, shape, data, times = self.leaves[index]
        assert (dtype, shape) == (leaf.dtype, leaf.shape)
        for piece in leaf.pieces:
            size = piece.source.nbytes
            assert size == piece.region.elements * item_bytes(dtype)
            view = piece.source.view()
            if view is None:
                view = memoryview(bytearray(size))
                piece.source.read_into(0, view[: size // 2])
                piece.source.read_into(size // 2, view[size // 2 :])
                piece.source.close()
            flat = np.frombuffer(view, np.uint8).reshape(-1, item_bytes(dtype))
            for box, first in region_boxes(piece.region):
                where = tuple(slice(o, o + s) for o, s in zip(box.offset, box.size, strict=True))
                part = flat[first : first + math.prod(box.size)].reshape(*box.size, -1)
                data[where] = part
                times[where] += 1

    def dtype(self, tensor):
        return self.leaves[tensor][0]

    def shape(self, tensor):
        return self.leaves[tensor][1]

    def array(self, path, dtype):
        node = self.tree
        for part in path:
            node = node.values[part] if isinstance(node, Indexed) else node[part]
        return self.leaves[node.index][2].reshape(-1).view(dtype).reshape(self.shape(node.index))


def union(nodes):
    first = nodes[0]
    if isinstance(first, dict):
        return {k: union([n[k] for n in nodes if k in n]) for k in dict.fromkeys(k for n in nodes for k in n)}
    if isinstance(first, Indexed):
        return Indexed(first.axis, first.size, {i: v for n in nodes for i, v in n.values.items()})
    if isinstance(first, frozenset):
        return frozenset().union(*nodes)
    if isinstance(first, Flattened):
        return first
    return first


def load(item, binder, *, strict=True):
    """Fills a binder's target from an item; raises StateMismatch with its findings."""
    bound = binder.bind(item)
    findings = bound.findings + (bound.unexpected if strict else [])
    if findings:
        raise StateMismatch("state.mismatch", "does not fit", findings=findings)
    for request in bound.requests:
        dtype, _, data, _ = item.leaves[request.tensor]
        for region, sink in request.target.pieces:
            memory = sink.open()
            out = memoryview(bytearray(sink.nbytes)) if memory is None else memory
            assert len(out) == sink.nbytes == region.elements * item_bytes(dtype)
            flat = np.frombuffer(out, np.uint8).reshape(-1, item_bytes(dtype))
            for box, first in region_boxes(region):
                where = tuple(slice(o, o + s) for o, s in zip(box.offset, box.size, strict=True))
                part = data[where]
                flat[first : first + math.prod(box.size)] = part.reshape(-1, item_bytes(dtype))
            if memory is None and region.elements:
                wait = sink.take(out, region_copies(region, region))
                if wait is not None:
                    wait()
            del out, memory
            sink.close()
    return bound.finish()
