"""Sinks without host memory: what they take, when their buffers are used again, and how many bytes are staged."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import pyckpt
from pyckpt.engine.coordinator import Single
from pyckpt.engine.leaves import BoundItem, ItemState, Piece, Target, TensorLeaf, TensorRequest
from pyckpt.engine.load import load
from pyckpt.engine.memory import MemorySink, MemorySource
from pyckpt.engine.save import Request
from pyckpt.engine.save import save as engine_save
from pyckpt.errors import Corrupt
from pyckpt.format.dtypes import dtype_of
from pyckpt.format.geometry import Box, Region
from pyckpt.storage.local import LocalStore

MIB = 1 << 20
PATIENCE = 20
"""Seconds after which something that should have happened has not."""


class Device:
    """Makes copies only when somebody waits for them, or by itself a while later."""

    def __init__(self, *, before_copy=lambda: None):
        self.before_copy = before_copy
        self.log = []
        self.lock = threading.Lock()

    def note(self, what):
        with self.lock:
            self.log.append(what)


class DeviceSink:
    """Row-major memory that only the device writes, late."""

    def __init__(self, device, elements, word):
        self.device = device
        self.memory = np.zeros(elements, word)
        self.nbytes = self.memory.nbytes
        self.closed = 0

    def open(self):
        return None

    def take(self, staged, copies):
        self.device.note("take")

        def copy():
            self.device.before_copy()
            word = self.memory.dtype
            for each in copies:
                source = np.frombuffer(staged, word)[each.src_start :]
                there = as_strided(source, each.shape, [s * word.itemsize for s in each.src_strides])
                here = self.memory[each.dst_start :]
                as_strided(here, each.shape, [s * word.itemsize for s in each.dst_strides])[...] = there
            self.device.note("copied")

        return copy

    def close(self):
        self.closed += 1


class PoisonedPool:
    """Buffers that are overwritten as soon as they come back."""

    def __init__(self, device):
        self.device = device

    @contextmanager
    def buffer(self, size):
        memory = bytearray(size)
        try:
            yield memoryview(memory)
        finally:
            memory[:] = b"\xee" * size
            self.device.note("returned")


class Binding:
    def __init__(self, requests, staging=None):
        self.requests = requests
        self.staging = staging

    def bind(self, item):
        bound = BoundItem(staging=self.staging)
        for name, pieces in self.requests(item).items():
            bound.requests.append(TensorRequest((name,), item.tree[name].index, Target(tuple(pieces))))
        return bound


def load_into(path, binding, **options):
    options = pyckpt.LoadOptions(strict=False, **options)
    store = LocalStore(path)
    return load(store, "s", lambda: {"x": binding}, binding, items=None, options=options, coordinator=Single()).report


def save(path, state, **options):
    pyckpt.save(path / "s", {"x": state}, options=pyckpt.SaveOptions(**options))


def halves(shape):
    """The columns of a matrix, in two regions."""
    rows, columns = shape
    return [Region.of_box(Box((0, c), (rows, columns // 2))) for c in (0, columns // 2)]


@pytest.mark.parametrize("codec", ["none", "zstd", "planes"])
@pytest.mark.parametrize("block_bytes", [4096, MIB])
def test_late_copies_see_the_staged_bytes(tmp_path, codec, block_bytes):
    rng = np.random.default_rng(0)
    state = {
        "wide": rng.standard_normal((1500, 2000)).astype(np.float32),
        "small": np.arange(7, dtype=np.int16),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 3)),
        "odd": rng.integers(0, 256, 4097, dtype=np.uint8),
        "host": rng.standard_normal(3000),
    }
    save(tmp_path, state, codec=codec, block_bytes=block_bytes)
    device = Device()
    sinks = {}

    def requests(item):
        for name, array in state.items():
            regions = halves(array.shape) if name == "wide" else [Region.whole(array.shape)]
            kind = (lambda n, _: MemorySink(n * 8)) if name == "host" else lambda n, word: DeviceSink(device, n, word)
            sinks[name] = [(region, kind(region.elements, array.dtype)) for region in regions]
        return sinks

    report = load_into(tmp_path, Binding(requests, PoisonedPool(device)), threads=3)
    for (_, sink), columns in zip(sinks["wide"], np.split(state["wide"], 2, 1)):
        assert np.array_equal(sink.memory.reshape(1500, 1000), columns)
    for name in ("small", "scalar", "odd"):
        assert sinks[name][0][1].memory.tobytes() == state[name].tobytes()
    assert bytes(sinks["host"][0][1].data) == state["host"].tobytes()
    assert [sink.closed for name in state if name != "host" for _, sink in sinks[name]] == [1, 1, 1, 1, 0, 1]
    assert 0 < report.staging <= 3 * 17 * MIB
    assert device.log.count("take") == device.log.count("copied") >= 5


def test_reads_go_on_while_copies_are_under_way(tmp_path):
    save(tmp_path, {"w": np.arange(4 * MIB, dtype=np.float64)})
    both = threading.Barrier(2)
    # Nobody's copy gets done before another thread has read the next bytes and handed them over.
    device = Device(before_copy=lambda: both.wait(PATIENCE))
    sink = DeviceSink(device, 4 * MIB, np.float64)
    binding = Binding(lambda item: {"w": [(Region.whole((4 * MIB,)), sink)]}, PoisonedPool(device))
    report = load_into(tmp_path, binding, threads=2)
    assert np.array_equal(sink.memory, np.arange(4 * MIB))
    assert 16 * MIB <= report.staging < 19 * MIB


def damage(path, at):
    for file in path.rglob("*.safetensors"):
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)


def test_damage_is_found_while_the_copy_is_under_way(tmp_path):
    save(tmp_path, {"w": np.arange(MIB, dtype=np.float64)})
    damage(tmp_path, -1)
    device = Device()
    sink = DeviceSink(device, MIB, np.float64)
    binding = Binding(lambda item: {"w": [(Region.whole((MIB,)), sink)]}, PoisonedPool(device))
    with pytest.raises(Corrupt) as error:
        load_into(tmp_path, binding)
    assert error.value.code == "block.digest"
    assert device.log == ["take", "copied", "returned"], "the memory was in use until the copy was done"
    assert sink.closed == 0


@pytest.mark.parametrize("codec", ["zstd", "planes"])
def test_damaged_blocks_are_not_decoded(tmp_path, codec):
    save(tmp_path, {"w": np.arange(MIB, dtype=np.float64)}, codec=codec)
    damage(tmp_path, -1)
    device = Device()
    sink = DeviceSink(device, MIB, np.float64)
    binding = Binding(lambda item: {"w": [(Region.whole((MIB,)), sink)]}, PoisonedPool(device))
    with pytest.raises(Corrupt) as error:
        load_into(tmp_path, binding)
    assert error.value.code == "block.digest"
    assert "take" not in device.log and "returned" in device.log


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_copy_that_fails(tmp_path, codec):
    save(tmp_path, {"w": np.arange(4 * MIB, dtype=np.float64)}, codec=codec)

    def fail():
        raise MemoryError("the device is full")

    device = Device(before_copy=fail)
    sink = DeviceSink(device, 4 * MIB, np.float64)
    binding = Binding(lambda item: {"w": [(Region.whole((4 * MIB,)), sink)]}, PoisonedPool(device))
    with pytest.raises(MemoryError, match="the device is full"):
        load_into(tmp_path, binding, threads=2)
    assert device.log.count("returned") >= device.log.count("take") >= 1
    assert sink.closed == 0


def test_what_is_decoded_is_bounded_however_well_it_was_encoded(tmp_path):
    """A job of a few stored KiB holds 64 tensors of 4 MiB: they are decoded one after the other."""
    save(tmp_path, {f"w{i}": np.full(MIB, i, np.float32) for i in range(64)}, codec="zstd")
    device = Device()
    sinks = {f"w{i}": DeviceSink(device, MIB, np.float32) for i in range(64)}
    whole = Region.whole((MIB,))
    binding = Binding(lambda item: {name: [(whole, sink)] for name, sink in sinks.items()}, PoisonedPool(device))
    report = load_into(tmp_path, binding, threads=2)
    assert all((sink.memory == i).all() for i, sink in enumerate(sinks.values()))
    assert report.staging <= 2 * 12 * MIB


class ByteSink(DeviceSink):
    """For elements smaller than a byte: counts bytes."""

    def __init__(self, device, nbytes):
        super().__init__(device, nbytes, np.dtype(np.uint8))


@pytest.mark.parametrize(("dtype", "shape"), [("F4", (6, 10)), ("F6_E2M3", (6, 8)), ("F4", (3, 4, 8))])
def test_elements_smaller_than_a_byte(tmp_path, dtype, shape):
    bits = dtype_of(dtype).bits
    row = shape[-1] * bits // 8
    data = np.random.default_rng(1).integers(0, 256, (*shape[:-1], row), dtype=np.uint8)
    save_packed(tmp_path, dtype, shape, data)
    half = shape[-1] // 2 if bits == 4 and shape[-1] % 4 == 0 else 4 if bits == 6 else 2
    inner = Box((1,) + (0,) * (len(shape) - 2) + (half,), (2, *shape[1:-1], shape[-1] - half))
    for box, part in [(Box.whole(shape), data), (inner, data[1:3, ..., half * bits // 8 :])]:
        device = Device()
        sink = ByteSink(device, part.size)
        host = MemorySink(part.size)
        region = Region.of_box(box)
        binding = Binding(lambda item: {"w": [(region, sink), (region, host)]}, PoisonedPool(device))
        load_into(tmp_path, binding)
        assert sink.memory.tobytes() == bytes(host.data) == part.tobytes()


def save_packed(path, dtype, shape, data):
    leaf = TensorLeaf(dtype, shape, (Piece(Region.whole(shape), MemorySource(data.tobytes())),), ())
    state = ItemState("x", "other", {"w": leaf})
    options = pyckpt.SaveOptions()
    engine_save(LocalStore(path), "s", Request(lambda: (state,), {}, {}, ("test", "0")), options=options, coordinator=Single())
