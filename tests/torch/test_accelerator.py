"""State on an accelerator: saved from the device and loaded to it, in place. Skips where there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import pyckpt
from pyckpt.errors import Corrupt

pytestmark = pytest.mark.skipif(not torch.accelerator.is_available(), reason="this machine has no accelerator")


def trained(device: torch.device, seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(300, 500), torch.nn.BatchNorm1d(500), torch.nn.Linear(500, 7)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(9, 300, device=device)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def test_device_to_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    model, optimizer = trained(device, 0)
    pyckpt.save(tmp_path / "step", {"model": model, "optimizer": optimizer, "rng": pyckpt.RNG()})
    other, its_optimizer = trained(device, 1)
    pyckpt.load(tmp_path / "step", into={"model": other, "optimizer": its_optimizer})
    for name, tensor in model.state_dict().items():
        assert other.state_dict()[name].device.type == device.type
        assert torch.equal(other.state_dict()[name], tensor)
    for mine, theirs in zip(model.parameters(), other.parameters()):
        for name, tensor in optimizer.state[mine].items():
            assert torch.equal(its_optimizer.state[theirs][name], tensor)


def test_saved_in_the_background(tmp_path):
    device = torch.accelerator.current_accelerator()
    model, optimizer = trained(device, 0)
    module = torch.get_device_module(device)
    with module.stream(module.Stream()):
        for parameter in model.parameters():
            parameter.data.mul_(3)
        want = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        handle = pyckpt.save_async(tmp_path / "step", {"model": model, "optimizer": optimizer})
        for parameter in model.parameters():
            parameter.data.zero_()
    handle.wait()
    loaded = pyckpt.load(tmp_path / "step", items=["model"], device=device)["model"]
    assert all(torch.equal(loaded[name], tensor) for name, tensor in want.items())


def test_saved_beside_the_next_pass(tmp_path):
    """Steps of fused and foreach engines come after the copies in the order of the device, not in the program's."""
    device = torch.accelerator.current_accelerator()
    for number, engine in enumerate(({"foreach": True}, {"fused": True})):
        model, _ = trained(device, 0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **engine)
        optimizer.step()
        want = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        moments = [optimizer.state[p]["exp_avg"].clone() for p in model.parameters()]
        work = torch.randn(4096, 4096, device=device)
        for _ in range(50):
            work = work @ work
            work = work / work.norm()
        model[0].weight.data.add_(work[:500, :300] * 0)
        handle = pyckpt.save_async(tmp_path / str(number), {"model": model, "optimizer": optimizer})
        for _ in range(3):
            model(torch.randn(9, 300, device=device)).square().sum().backward()
            optimizer.step()
        report = handle.wait()
        assert report.copied_late > 1_000_000
        loaded = pyckpt.load(tmp_path / str(number), device=device)
        assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in want.items())
        back = loaded["optimizer"]["state"]
        assert all(torch.equal(back[n]["exp_avg"], m) for (n, _), m in zip(model.named_parameters(), moments))


def test_fresh_tensors_on_the_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    model, _ = trained(device, 0)
    transposed = torch.randn(40, 50, device=device).T
    pyckpt.save(tmp_path / "step", {"model": model, "x": {"transposed": transposed}})
    loaded = pyckpt.load(tmp_path / "step", device=device)
    assert torch.equal(loaded["x"]["transposed"], transposed)
    assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in model.state_dict().items())


def test_random_state_of_the_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    pyckpt.save(tmp_path / "step", {"rng": pyckpt.RNG()})
    first = torch.randn(5, device=device)
    pyckpt.load(tmp_path / "step", into={"rng": pyckpt.RNG()})
    assert torch.equal(torch.randn(5, device=device), first)


def test_every_order_and_dtype_on_the_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    shape = (6, 10, 14, 18)
    dtypes = [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64]
    saved = {str(dtype): torch.randint(0, 2, shape).to(dtype) for dtype in dtypes}
    for codec in ("none", "zstd", "planes"):
        url = tmp_path / codec
        pyckpt.save(url, {"x": saved}, options=pyckpt.SaveOptions(codec=codec, block_bytes=4096))
        for order in ("plain", "transposed", "channels_last", "narrowed", "strided"):
            into = {name: placed(order, shape, tensor.dtype, device) for name, tensor in saved.items()}
            pyckpt.load(url, into={"x": into})
            for name, tensor in into.items():
                assert torch.equal(tensor.cpu().contiguous().view(torch.uint8), saved[name].view(torch.uint8)), (name, order)


def placed(order, shape, dtype, device):
    if order == "transposed":
        return torch.zeros(shape[::-1], dtype=dtype, device=device).permute(3, 2, 1, 0)
    if order == "channels_last":
        return torch.zeros(shape, dtype=dtype, device=device).to(memory_format=torch.channels_last)
    if order == "narrowed":
        return torch.zeros([n + 3 for n in shape], dtype=dtype, device=device)[1:-2, 2:-1, 3:, :-3]
    if order == "strided":
        return torch.zeros((*shape, 2), dtype=dtype, device=device)[..., 1]
    return torch.zeros(shape, dtype=dtype, device=device)


def test_casts_on_the_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    values = torch.randn(300, 500)
    z = torch.randn(300, 500, dtype=torch.complex64)
    pyckpt.save(tmp_path / "step", {"x": {"a": values, "b": values, "z": z}})
    target = torch.zeros(500, 300, dtype=torch.complex64, device=device)
    into = {
        "a": torch.zeros(300, 500, dtype=torch.bfloat16, device=device),
        "b": torch.zeros(500, 300, dtype=torch.float64, device=device).T,
        "z": target.T.conj(),
    }
    pyckpt.load(tmp_path / "step", into={"x": into}, options=pyckpt.LoadOptions(dtype="cast"))
    assert torch.equal(into["a"].cpu(), values.bfloat16())
    assert torch.equal(into["b"].cpu(), values.double())
    assert torch.equal(into["z"].cpu().resolve_conj(), z)


def test_two_numbers_a_byte_on_the_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    saved = torch.randint(0, 256, (6, 10), dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    pyckpt.save(tmp_path / "step", {"x": {"w": saved}})
    into = torch.zeros(10, 6, dtype=torch.uint8, device=device).T.view(saved.dtype)
    pyckpt.load(tmp_path / "step", into={"x": {"w": into}})
    assert torch.equal(into.view(torch.uint8).cpu(), saved.view(torch.uint8))


@pytest.mark.parametrize("order", ["plain", "transposed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_tensor_takes_no_host_memory_but_the_ring(tmp_path, order, dtype):
    device = torch.accelerator.current_accelerator()
    shape = (8192, 16384)
    tensor = torch.randn(shape, device=device)  # 512 MiB
    pyckpt.save(tmp_path / "step", {"x": {"w": tensor}})
    into = torch.zeros(shape[::-1] if order == "transposed" else shape, dtype=dtype, device=device)
    view = into.T if order == "transposed" else into
    pyckpt.load(tmp_path / "step", into={"x": {"w": view}}, options=pyckpt.LoadOptions(dtype="cast"))
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()[1]
    torch.accelerator.reset_peak_memory_stats()
    on_device = torch.accelerator.memory_allocated()
    into.zero_()
    options = pyckpt.LoadOptions(dtype="cast", threads=8)
    report = pyckpt.load_report(tmp_path / "step", into={"x": {"w": view}}, options=options).report
    grown = resident()[0] - before
    more_on_device = torch.accelerator.max_memory_allocated() - on_device
    assert torch.equal(view, tensor.to(dtype))
    assert 0 < report.staging <= 8 * 8 << 20
    assert grown < 128 << 20
    assert more_on_device <= 2 * 8 * 8 << 20


def resident():
    """Peak and present host memory of this process, in bytes."""
    text = Path("/proc/self/status").read_text()
    return [int(re.search(rf"{name}:\s+(\d+)", text)[1]) << 10 for name in ("VmHWM", "VmRSS")]


def test_a_load_comes_after_what_is_queued_and_before_what_follows(tmp_path):
    """The tensor is zeroed by a kernel that is far back in the queue, and read as soon as the load is done."""
    device = torch.accelerator.current_accelerator()
    tensor = torch.randn(4096, 1024)
    pyckpt.save(tmp_path / "step", {"x": {"w": tensor}})
    into = torch.full((4096, 1024), 3.0, device=device)
    work = torch.randn(4096, 4096, device=device)
    for _ in range(50):
        work = work @ work
        work = work / work.norm()
    into.mul_(0).add_(work[:, :1024] * 0)
    pyckpt.load(tmp_path / "step", into={"x": {"w": into}})
    assert torch.equal(into.clone().cpu(), tensor)


def test_damage_on_the_way_to_the_device(tmp_path):
    device = torch.accelerator.current_accelerator()
    pyckpt.save(tmp_path / "step", {"x": {"w": torch.randn(4096, 1024)}})
    file = next(tmp_path.rglob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    into = torch.zeros(1024, 4096, device=device).T
    with pytest.raises(Corrupt) as error:
        pyckpt.load(tmp_path / "step", into={"x": {"w": into}})
    assert error.value.code == "block.digest"
    data[-1] ^= 1
    file.write_bytes(data)
    pyckpt.load(tmp_path / "step", into={"x": {"w": into}})
    assert torch.equal(into, pyckpt.load(tmp_path / "step", device=device)["x"]["w"])
