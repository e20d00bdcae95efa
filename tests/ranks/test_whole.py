"""Consolidated saves: tensors of any layout lie whole in files that other tools open as they are."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from torch import nn

import pyckpt
from pyckpt.errors import RankError
from tests.ranks.layouts import LAYOUTS, differences, formula, shapes, state_of, target_of
from tests.ranks.pool import Ranks

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

INDEX = "model.safetensors.index.json"


def save_whole(rank, store, layout, budget):
    state = {**state_of(layout), "rng": pyckpt.RNG(on_resize="reseed"), "count": {"steps": 7}}
    options = pyckpt.SaveOptions(layout=LAYOUTS[layout].regions(rank), whole=True, whole_budget_bytes=budget)
    return pyckpt.save(f"{store}/{layout}", state, options=options).shards


def files_of(folder: Path) -> dict[str, torch.Tensor]:
    """All weights that the index lists, read without pyckpt."""
    index = json.loads((folder / INDEX).read_text())
    assert set(index) == {"metadata", "weight_map"}
    held = {}
    for file in sorted(set(index["weight_map"].values())):
        content = load_file(folder / file)
        assert {name for name, where in index["weight_map"].items() if where == file} == set(content)
        held |= content
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in held.values())
    return held


@pytest.mark.parametrize(("layout", "budget"), [*((layout, 2000) for layout in LAYOUTS), ("fsdp2-4", 1 << 28)])
def test_any_layout_lies_whole(ranks, tmp_path, layout, budget):
    size = LAYOUTS[layout].size
    store = str(tmp_path)
    ranks(size).run(save_whole, store, layout, budget)
    report = pyckpt.verify(f"{store}/{layout}")
    assert report.ok, report.findings
    held = files_of(tmp_path / layout / "model")
    known = shapes()
    # One name of tied weights is stored; FSDP1's own state dict forgets what is tied.
    assert set(held) == set(known) - (set() if layout == "fsdp1-2" else {"head.weight"})
    for name, tensor in held.items():
        shape, dtype = known[name]
        source = "embed.weight" if name == "head.weight" else name
        assert torch.equal(tensor, formula(source, "param", shape, dtype)), name
    optim = pyckpt.open(f"{store}/{layout}", framework="torch")["optim"]
    assert not (tmp_path / layout / "optim" / INDEX).exists()
    assert torch.equal(optim["state"]["embed.weight"]["exp_avg"][...], formula("embed.weight", "exp_avg", (67, 8)))


def load_into_layout(rank, store, source, layout):
    want, target = state_of(layout), target_of(layout)
    pyckpt.load(
        f"{store}/{source}", into=target, layout=LAYOUTS[layout].regions(rank), items=["model", "optim"]
    )
    return differences(target, want)


def test_it_loads_into_other_layouts(ranks, tmp_path):
    ranks(4).run(save_whole, str(tmp_path), "tp-fsdp2-2x2", 4000)
    for layout in ("one", "fsdp2-4", "pp-2"):
        assert ranks(LAYOUTS[layout].size).run(load_into_layout, str(tmp_path), "tp-fsdp2-2x2", layout) == [
            []
        ] * LAYOUTS[layout].size


def save_choice(rank, url, options):
    model = state_of("fsdp2-4")
    report = pyckpt.save(url, model, options=pyckpt.SaveOptions(**options))
    return report.shards, report.warnings


def test_one_item_can_be_whole_alone(ranks, tmp_path):
    ranks(4).run(save_choice, str(tmp_path / "one"), {"whole": ["model"]})
    ranks(4).run(save_choice, str(tmp_path / "all"), {"layout": "whole"})
    ranks(4).run(save_choice, str(tmp_path / "none"), {})
    shards = {
        name: {item: entry.shards for item, entry in pyckpt.open(tmp_path / name).root.items.items()}
        for name in ("one", "all", "none")
    }
    assert shards["one"]["model"] == shards["all"]["model"] < shards["none"]["model"]
    assert shards["one"]["optim"] == shards["none"]["optim"] > shards["all"]["optim"]
    report = pyckpt.diff(tmp_path / "all", tmp_path / "none", values=True)
    assert not report.differences


def big(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(512, 512) for _ in range(24)])
    return fully_shard(model, mesh=init_device_mesh("cpu", (4,)))


def save_big(rank, url, codec):
    pyckpt.save(url, {"model": big(rank)}, options=pyckpt.SaveOptions(layout="whole", codec=codec))


def test_an_encoded_item_has_no_index(ranks, tmp_path):
    for codec in ("none", "zstd"):
        ranks(4).run(save_big, str(tmp_path / codec), codec)
        assert pyckpt.verify(tmp_path / codec).ok
        assert (INDEX in pyckpt.open(tmp_path / codec).asset_names("model")) == (codec == "none")


def peak_growth(rank, url, budget):
    """Growth of this rank's peak memory in a whole save, beyond a sharded one before it; bytes."""

    def resident(what):
        for line in open("/proc/self/status"):
            if line.startswith(what):
                return int(line.split()[1]) * 1024
        return 0

    model = big(rank)
    pyckpt.save(f"{url}-warm", {"model": model}, options=pyckpt.SaveOptions(whole=True, whole_budget_bytes=1 << 20))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = resident("VmRSS")
    pyckpt.save(url, {"model": model}, options=pyckpt.SaveOptions(whole=True, whole_budget_bytes=budget, threads=1))
    return resident("VmHWM") - before, sum(tensor.nbytes for tensor in model.state_dict().values())


def test_memory_is_bounded_by_the_budget(ranks, tmp_path):
    budget = 4 << 20
    for growth, total in ranks(4).run(peak_growth, str(tmp_path / "step"), budget):
        assert total > 20 << 20
        # Buffers of the exchange and of one writing thread come on top; the whole model would be 25 MB.
        assert growth < budget + (12 << 20), growth


def whole_and_stop(rank, url, sign):
    def stop(done, total):
        if rank == 2 and done:
            os.kill(os.getpid(), sign)

    options = pyckpt.SaveOptions(
        layout="whole", whole_budget_bytes=1 << 20, silence=2.0, timeout=30.0, threads=1, progress=stop
    )
    begin = time.monotonic()
    with pytest.raises(RankError) as caught:
        pyckpt.save(url, {"model": big(rank)}, options=options)
    return str(caught.value), time.monotonic() - begin


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_lost_on_the_way_is_named_and_nothing_committed(tmp_path, sign):
    group = Ranks(4)
    try:
        outcomes = group.outcomes(whole_and_stop, str(tmp_path / "step"), sign, lost=[2])
        for rank in (0, 1, 3):
            assert outcomes[rank].ok, outcomes[rank].trace
            text, seconds = outcomes[rank].value
            assert "rank 2" in text
            assert seconds < 25
    finally:
        for process in group.processes:
            process.kill()
        group.close()
    assert pyckpt.list(tmp_path) == []


def fail_writing(rank, url):
    """Rank 1 can't write; the others learn of it, and none of them hangs in the exchange."""
    from pyckpt.storage import local_write

    if rank == 1:
        original = local_write.os.pwritev
        local_write.os.pwritev = lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    try:
        with pytest.raises((RankError, OSError)) as caught:
            pyckpt.save(
                url, {"model": big(rank)}, options=pyckpt.SaveOptions(layout="whole", whole_budget_bytes=1 << 20)
            )
    finally:
        if rank == 1:
            local_write.os.pwritev = original
    return str(caught.value)


def test_a_full_disk_on_one_rank_ends_the_save_on_all(ranks, tmp_path):
    texts = ranks(4).run(fail_writing, str(tmp_path / "step"))
    assert "No space left" in texts[1]
    assert all("rank 1" in texts[rank] for rank in (0, 2, 3))
    assert pyckpt.list(tmp_path) == []


def diverged(rank, url):
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.fill_(rank)
    with pytest.raises(pyckpt.PyckptError) as caught:
        pyckpt.save(url, {"model": model}, options=pyckpt.SaveOptions(layout="whole"))
    return caught.value.code, str(caught.value)


def test_replicas_that_differ_are_refused(ranks, tmp_path):
    for code, text in ranks(2).run(diverged, str(tmp_path / "step")):
        assert code == "state.diverged"
        assert "model/weight" in text


def test_choices_out_of_range_are_refused():
    for wrong in ({"layout": "sharded"}, {"whole": "model"}, {"whole_budget_bytes": 0}):
        with pytest.raises(pyckpt.PyckptError):
            pyckpt.SaveOptions(**wrong)


def test_one_process_gets_the_index_too(tmp_path):
    model = nn.Linear(3, 2)
    pyckpt.save(tmp_path / "step", {"model": model}, options=pyckpt.SaveOptions(layout="whole"))
    held = files_of(tmp_path / "step" / "model")
    assert all(torch.equal(held[name], value) for name, value in model.state_dict().items())
