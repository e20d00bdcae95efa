"""Two writers, as threads, that save one checkpoint with every kind of region."""

from concurrent.futures import ThreadPoolExecutor
from math import prod
from threading import Barrier

import numpy as np

from pyckpt.engine.leaves import ItemState, Piece, TensorLeaf
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.save import Request, save
from pyckpt.format.geometry import Box, Region
from pyckpt.storage.url import open_store

WRITERS = 2


class Desk:
    """Where the writers leave their messages."""

    def __init__(self):
        self.barrier = Barrier(WRITERS, timeout=60)
        self.payloads = [b""] * WRITERS
        self.answer = b""


class Coordinator:
    size = WRITERS

    def __init__(self, desk, rank):
        self.desk, self.rank = desk, rank

    def gather(self, what, payload):
        self.desk.payloads[self.rank] = payload
        self.desk.barrier.wait()
        gathered = list(self.desk.payloads) if self.rank == 0 else None
        self.desk.barrier.wait()
        return gathered

    def announce(self, what, payload):
        if self.rank == 0:
            self.desk.answer = payload
        self.desk.barrier.wait()
        answer = self.desk.answer
        self.desk.barrier.wait()
        return answer

    def close(self):
        pass


class Source:
    def __init__(self, data):
        self.data, self.nbytes = data, len(data)

    def view(self):
        return memoryview(self.data)

    def read_into(self, start, out):
        out[:] = self.data[start : start + len(out)]

    def close(self):
        pass


def regions(rank):
    def box(offset, size):
        return Region.of_box(Box(offset, size))

    return {
        "rows": ((16, 8), [box((rank * 8, 0), (8, 8))]),
        "columns": ((6, 8), [box((0, rank * 4), (6, 4))]),
        "line": ((10,), [box((rank * 7,), (7 - 4 * rank,))]),
        "flat": ((5, 7), [Region.flat((5, 7), 17 * rank, 17 + 18 * rank)]),
        "optimizer": ((8, 8), [Region(Box((row, 0), (4, 8)), rank * 16, rank * 16 + 16) for row in (0, 4)]),
        "interleaved": ((8, 2), [box((row + 2 * rank, 0), (2, 2)) for row in (0, 4)]),
        "cube": ((4, 3, 4), [box((d, 0, (d + 2 * rank) % 4), (2, 3, 2)) for d in (0, 2)]),
        "empty": ((0, 4), [box((0, 0), (0, 4))] if rank == 0 else []),
        "scalar": ((), [box((), ())] if rank == 0 else []),
    }


def leaf(shape, held):
    whole = np.arange(prod(shape), dtype=np.float32).reshape(shape)
    pieces = []
    for region in held:
        index = tuple(slice(low, high) for low, high in zip(region.box.offset, region.box.end, strict=True))
        data = whole[index].reshape(-1)[region.start : region.stop].tobytes()
        pieces.append(Piece(region, Source(data)))
    return TensorLeaf("F32", shape, tuple(pieces), ())


def save_sharded(store_url, name):
    desk = Desk()

    def write(rank):
        tree = {key: leaf(shape, held) for key, (shape, held) in regions(rank).items()}
        request = Request(lambda: [ItemState("model", "model", tree)], {"step": 7}, {}, ("tests", "1"))
        return save(open_store(store_url), name, request, options=SaveOptions(), coordinator=Coordinator(desk, rank))

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, range(WRITERS)))[0]
