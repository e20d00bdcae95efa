"""Loading into tensors whose memory is not the stored bytes: other strides, other dtypes, and a device of the tests."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import pyckpt
import pyckpt.torch as pt
from pyckpt.engine.coordinator import Single
from pyckpt.engine.leaves import Target, TensorRequest
from pyckpt.engine.load import load
from pyckpt.errors import Corrupt
from pyckpt.format.geometry import Box, Copy, Region
from pyckpt.storage.local import LocalStore
from pyckpt.torch.dtypes import PACKED
from pyckpt.torch.layout import Declared
from pyckpt.torch.sink import DeviceSink
from pyckpt.torch.source import byte_tensor

MIB = 1 << 20
pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "float16", "bfloat16", "int32", "float32", "int64", "float64"]
DTYPES += ["float8_e4m3fn", "complex32", "complex64", "complex128"]


class LateStreams:
    """Runs the work of sinks in a thread of its own, once somebody waits or a moment later."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(1)
        self.runs = 0

    def follow(self):
        pass

    def run(self, work):
        self.runs += 1
        begin = threading.Event()
        done = self.pool.submit(lambda: (begin.wait(0.002), work()))

        def wait():
            begin.set()
            done.result()

        return wait


class OnDevice:
    """A binder whose tensors take the way of those on a device."""

    def __init__(self, binder, streams):
        self.binder, self.streams = binder, streams

    def bind(self, item):
        bound = self.binder.bind(item)
        bound.requests = [
            TensorRequest(
                each.path,
                each.tensor,
                Target(tuple((r, DeviceSink(sink.tensor, sink.stored, self.streams)) for r, sink in each.target.pieces)),
            )
            for each in bound.requests
        ]
        return bound


@pytest.fixture(params=["host", "device"])
def load_into(request):
    """Loads a state dict in place, its tensors taken as they are or as if they were on a device."""

    def go(path, state, *, layout=None, **options):
        options = pyckpt.LoadOptions(**options)
        if request.param == "host":
            return pyckpt.load_report(path / "s", into={"x": state}, layout=layout, options=options).report
        bind = pt.BindOptions(dtype=options.dtype, layout=layout)
        streams = LateStreams()
        binders = {name: OnDevice(each, streams) for name, each in pt.binders({"x": state}, bind).items()}
        loaded = load(
            LocalStore(path), "s", lambda: binders, pt.FreshBinder(), items=None, options=options, coordinator=Single()
        )
        assert streams.runs
        return loaded.report

    return go


def save(path, state, **options):
    pyckpt.save(path / "s", {"x": state}, options=pyckpt.SaveOptions(**options))


def random_tensor(dtype, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    count = torch.Size(shape).numel() * dtype.itemsize
    high = 2 if dtype is torch.bool else 256
    return torch.randint(0, high, (count,), dtype=torch.uint8, generator=generator).view(dtype).reshape(shape)


def placed(kind, shape, dtype):
    """A tensor with memory in some order, with values that no test expects."""

    def filled(size):
        return torch.full((torch.Size(size).numel() * dtype.itemsize,), 0x5A, dtype=torch.uint8).view(dtype).reshape(size)

    if kind == "transposed":
        return filled(shape[::-1]).permute(*range(len(shape) - 1, -1, -1))
    if kind == "channels_last":
        return filled(shape).to(memory_format=torch.channels_last)
    if kind == "narrowed":
        tensor = filled([n + 3 for n in shape])
        for dim, n in enumerate(shape):
            tensor = tensor.narrow(dim, 2, n)
        return tensor
    if kind == "strided":
        return filled((*shape, 2))[..., 1]
    return filled(shape)


KINDS = ["plain", "transposed", "channels_last", "narrowed", "strided"]


def same(a, b):
    return a.dtype == b.dtype and torch.equal(byte_tensor(a), byte_tensor(b))


@pytest.mark.parametrize("codec", ["none", "zstd", "planes"])
def test_every_dtype_in_every_order(tmp_path, load_into, codec):
    shape = (3, 5, 7, 9)
    saved = {f"{dtype}/{kind}": random_tensor(dtype, shape) for dtype in DTYPES for kind in KINDS}
    saved |= {"scalar": torch.tensor(3.5), "one": torch.full((1, 1), 4), "empty": torch.zeros(0, 3)}
    save(tmp_path, saved, codec=codec, block_bytes=4096)
    into = {name: placed(name.partition("/")[2], t.shape, t.dtype) for name, t in saved.items()}
    load_into(tmp_path, into)
    assert [name for name in saved if not same(saved[name], into[name])] == []


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_large_tensors_in_parts(tmp_path, load_into, codec):
    """Parts of a read begin and end in the middle of rows."""
    saved = {kind: random_tensor("int32", (7, 61, 83, 97)) for kind in KINDS}
    save(tmp_path, saved, codec=codec, block_bytes=1 << 16)
    into = {kind: placed(kind, t.shape, t.dtype) for kind, t in saved.items()}
    report = load_into(tmp_path, into, threads=2)
    assert all(same(saved[kind], into[kind]) for kind in KINDS)
    # Encoded random bytes are a little larger than decoded ones, and buffers come in powers of two.
    assert 0 < report.staging <= 2 * (8 if codec == "none" else 16 + 8) * MIB


def test_casts(tmp_path, load_into):
    values = torch.randn(50, 70, dtype=torch.float64)
    whole = torch.randint(-9, 9, (50, 70), dtype=torch.int8)
    save(tmp_path, {f"f{i}": values for i in range(4)} | {"i": whole, "z": torch.randn(9, dtype=torch.complex128)})
    z = torch.zeros(9, dtype=torch.complex64)
    into = {
        "f0": torch.zeros(50, 70),
        "f1": torch.zeros(70, 50, dtype=torch.bfloat16).T,
        "f2": torch.zeros(50, 140, dtype=torch.float16)[:, ::2],
        "f3": torch.zeros(50, 70, dtype=torch.float8_e4m3fn),
        "i": torch.zeros(70, 50, dtype=torch.int64).T,
        "z": z.conj(),
    }
    load_into(tmp_path, into, dtype="cast")
    for name in ("f0", "f1", "f2", "f3"):
        assert same(into[name], values.to(into[name].dtype))
    assert torch.equal(into["i"], whole.long())
    fresh = pyckpt.load(tmp_path / "s")["x"]["z"]
    assert same(z, fresh.to(z.dtype).conj())


@pytest.mark.skipif(PACKED is None, reason="this torch has no dtype of two numbers a byte")
def test_two_numbers_a_byte(tmp_path, load_into):
    saved = {name: random_tensor("float4_e2m1fn_x2", (6, 4, 10)) for name in ("plain", "transposed", "narrowed")}
    save(tmp_path, saved)
    into = {kind: placed(kind, t.shape, torch.uint8).view(t.dtype) for kind, t in saved.items()}
    load_into(tmp_path, into)
    assert all(torch.equal(saved[kind].view(torch.uint8), into[kind].view(torch.uint8)) for kind in saved)


def test_columns_of_shards_in_any_order(tmp_path, load_into):
    """Stored as three shards by columns and rows, wanted as other columns, as a run across rows, and transposed."""
    whole = random_tensor("int16", (40, 96))
    boxes = [Box((0, 0), (40, 31)), Box((0, 31), (25, 65)), Box((25, 31), (15, 65))]
    held = torch.cat([whole[b.offset[0] : b.end[0], b.offset[1] : b.end[1]].reshape(-1) for b in boxes])
    shards = {"x": {"w": Declared((40, 96), tuple(map(Region.of_box, boxes)))}}
    pyckpt.save(tmp_path / "s", {"x": {"w": held}}, options=pyckpt.SaveOptions(block_bytes=4096, layout=shards))

    columns = torch.zeros(50, 40, dtype=torch.int16).T
    run = torch.zeros(17, 31, dtype=torch.int16).T
    region = Region.flat((40, 96), 1234, 1234 + 31 * 17)
    load_into(tmp_path, {"w": columns}, layout={"x": {"w": Declared((40, 96), (Region.of_box(Box((0, 20), (40, 50))),))}})
    load_into(tmp_path, {"w": run}, layout={"x": {"w": Declared((40, 96), (region,))}})
    assert torch.equal(columns, whole[:, 20:70])
    assert torch.equal(run.reshape(-1), whole.reshape(-1)[1234 : 1234 + 31 * 17])


def test_autograd_sees_the_change(tmp_path, load_into):
    save(tmp_path, {"w": torch.ones(3, 4), "v": torch.ones(5)})
    w, v = torch.zeros(4, 3, requires_grad=True), torch.zeros(5, requires_grad=True)
    loss = (w * w).sum() + (v * v).sum()
    before = w._version, v._version
    load_into(tmp_path, {"w": w.T, "v": v})
    assert w._version > before[0] and v._version > before[1]
    assert torch.equal(w, torch.ones(4, 3)) and torch.equal(v, torch.ones(5))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("made_in", [True, False])
@pytest.mark.parametrize("loaded_in", [True, False])
def test_inference_mode(tmp_path, load_into, made_in, loaded_in):
    save(tmp_path, {"w": torch.ones(3, 4), "v": torch.ones(5), "c": torch.ones(5)})
    with torch.inference_mode(made_in):
        into = {"w": torch.zeros(4, 3).T, "v": torch.zeros(5), "c": torch.zeros(5, dtype=torch.float64)}
    with torch.inference_mode(loaded_in):
        load_into(tmp_path, into, dtype="cast")
    assert all((tensor == 1).all() for tensor in into.values())


def test_version_of_a_device_tensor_in_inference_mode():
    class Inline:
        def follow(self):
            pass

        def run(self, work):
            work()
            return lambda: None

    tensor = torch.ones(5)
    with torch.inference_mode():
        sink = DeviceSink(tensor.detach(), torch.float32, Inline())
        sink.take(memoryview(bytearray(20)), (Copy((5,), 0, (1,), 0, (1,)),))
    assert tensor.tolist() == [0] * 5 and tensor._version == 1


def test_damage(tmp_path, load_into):
    save(tmp_path, {"w": torch.ones(2000, 1000)})
    file = next(tmp_path.rglob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(Corrupt) as error:
        load_into(tmp_path, {"w": torch.zeros(1000, 2000).T})
    assert error.value.code == "block.digest"


def resident():
    """Peak and present host memory of this process, in bytes."""
    text = Path("/proc/self/status").read_text()
    return [int(re.search(rf"{name}:\s+(\d+)", text)[1]) << 10 for name in ("VmHWM", "VmRSS")]


def test_host_memory_is_that_of_the_ring(tmp_path, load_into):
    """A tensor of 256 MiB in another order takes no second one on its way."""
    rows, columns = 8192, 8192
    tensor = torch.arange(rows * columns, dtype=torch.int32).reshape(rows, columns)
    save(tmp_path, {"w": tensor})
    into = tensor.T.contiguous().T
    into.fill_(-1)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()[1]
    report = load_into(tmp_path, {"w": into}, threads=4)
    after = resident()[0]
    assert torch.equal(into, tensor)
    assert 8 * MIB <= report.staging <= 4 * 8 * MIB
    # On the device of this test a piece lies once more; a real one has it in its own memory.
    assert after - before < 100 * MIB
