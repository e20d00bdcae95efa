"""Four ranks reference what each of them has stored before."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

import pyckpt
from pyckpt.engine.open import load_item, open_root
from pyckpt.storage.local import LocalStore

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SIZE = 4
OPTIONS = pyckpt.SaveOptions(reference="newest", block_bytes=4096, threads=1, silence=20.0)


def built(rank, shape=(4,)):
    """A frozen base and adapters, sharded over a mesh, beside replicas and a value of each rank."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", shape)
    torch.manual_seed(0)
    placements = [Shard(0)] if len(shape) == 1 else [Replicate(), Shard(1)]
    model = {
        "base": distribute_tensor(torch.randn(64, 128), mesh, placements),
        "adapter": distribute_tensor(torch.randn(64, 2), mesh, [Shard(0)] if len(shape) == 1 else [Replicate(), Shard(0)]),
    }
    plain = {"large": torch.randn(64, 1024), "small": torch.randn(10), "bias": torch.randn(700)}
    return {"model": model, "plain": plain, "mine": {"rng": pyckpt.per_rank(torch.full((3000,), float(rank)))}}


def change(state, step):
    state["model"]["adapter"].to_local().add_(step)
    state["plain"]["bias"].add_(step)


def three_saves(rank, store):
    state = built(rank)
    reports = []
    for number in range(3):
        change(state, number)
        reports.append(pyckpt.save(f"{store}/{number}", state, options=OPTIONS))
    handle = pyckpt.save_async(f"{store}/3", state, options=OPTIONS)
    reports.append(handle.wait(60))
    other = built(rank, (2, 2))
    pyckpt.load(f"{store}/2", into=other)
    other["mine"] = state["mine"]  # a load leaves the bare value
    change(other, 5)
    reports.append(pyckpt.save(f"{store}/4", other, options=OPTIONS))
    change(state, 5)
    return [(each.written, each.referenced, each.external, each.warnings) for each in reports], whole(state)


def whole(state):
    model = {name: value.full_tensor().numpy() for name, value in state["model"].items()}
    return {"model": model, "plain": {name: value.numpy() for name, value in state["plain"].items()}}


def test_each_rank_references_its_own(ranks, tmp_path):
    outcomes = ranks(SIZE).run(three_saves, str(tmp_path))
    reports, expected = outcomes[0]
    assert all(each[0] == reports for each in outcomes)
    total = 4 * (64 * 128 + 64 * 2 + 64 * 1024 + 10 + 700 + SIZE * 3000)
    changing = 4 * (64 * 2 + 700)
    first, second, third, fourth, fifth = reports
    assert first[1:] == (0, (), ())
    assert second[1:] == third[1:] == (total - changing, ("0",), ())
    assert second[0] == third[0] < 0.1 * first[0]
    assert fourth[:3] == (0, total, ("0", "2"))
    assert "stale" in fourth[3][0]
    # Other regions of the base are new; what is replicated or each rank's own is still the same.
    assert fifth[1:] == (total - changing - 4 * 64 * 128, ("0",), ())
    pyckpt.delete(tmp_path / "0", grace=0)
    pyckpt.gc(tmp_path, grace=0)
    for name in "1234":
        assert pyckpt.verify(tmp_path / name).ok
    loaded = pyckpt.load(tmp_path / "4", options=pyckpt.LoadOptions(framework="torch"))
    for item, tensors in expected.items():
        for key, value in tensors.items():
            assert (loaded[item][key].numpy() == value).all(), key


def two_groups(rank, store):
    """Ranks 0 and 1 hold other tensors than ranks 2 and 3, but both groups have one in common."""
    own = {"left": torch.arange(3000.0)} if rank < 2 else {"right": torch.arange(5000.0)}
    state = {"x": {"common": torch.arange(2000.0), **own}}
    reports = [pyckpt.save(f"{store}/{number}", state, options=OPTIONS) for number in range(2)]
    return [(each.written, each.referenced) for each in reports]


def test_a_second_copy_that_is_a_reference_leaves_no_trace(ranks, tmp_path):
    (written, _), (again, referenced) = ranks(SIZE).run(two_groups, str(tmp_path))[0]
    assert written > 4 * 12000
    assert (again, referenced) == (0, 4 * 10000)
    assert pyckpt.verify(tmp_path / "1").ok
    store = LocalStore(tmp_path)
    before, after = (load_item(store, name, "x", open_root(store, name).root).manifest for name in "01")
    assert before.shards.assigned < len(before.shards)
    assert after.shards.assigned == len(after.shards)
    assert all(row.store_key for row in after.objects)


def deleted_meanwhile(rank, store):
    state = built(rank)
    if rank == 0:
        pyckpt.save(f"{store}/a", {"plain": state["plain"]}, options=pyckpt.SaveOptions(collective=False))
    report = pyckpt.save(f"{store}/b", state, options=OPTIONS)
    change(state, 1)

    def remove(done, total):
        if rank == 2 and (LocalStore(store).info("b/checkpoint.json")) is not None:
            pyckpt.delete(f"{store}/b")

    options = pyckpt.SaveOptions(reference="b", block_bytes=4096, threads=1, silence=20.0, progress=remove)
    report = pyckpt.save(f"{store}/c", state, options=options)
    change(state, 0)
    return report.external, report.warnings, report.referenced, whole(state)


def test_a_base_that_goes_is_written_anew_by_all(ranks, tmp_path):
    for external, warnings, referenced, expected in ranks(SIZE).run(deleted_meanwhile, str(tmp_path)):
        assert (external, referenced) == ((), 0)
        assert "after all" in warnings[0]
    pyckpt.gc(tmp_path, grace=0)
    assert pyckpt.verify(tmp_path / "c").ok
    loaded = pyckpt.load(tmp_path / "c", options=pyckpt.LoadOptions(framework="torch"))
    assert (loaded["model"]["base"].numpy() == expected["model"]["base"]).all()
    assert (loaded["plain"]["bias"].numpy() == expected["plain"]["bias"]).all()


def some_whole(rank, store):
    """The model in files that open as they lie, the rest by reference."""
    state = built(rank)
    options = pyckpt.SaveOptions(reference="newest", whole=["model"], block_bytes=4096, threads=1, silence=20.0)
    reports = [pyckpt.save(f"{store}/{number}", state, options=options) for number in range(2)]
    last = pyckpt.save(f"{store}/2", {"mine": state["mine"]}, carry={"model": "1"}, options=options)
    change(state, 0)
    return [(each.referenced, each.external) for each in (*reports, last)], last.items, whole(state)


def test_whole_items_are_written_and_others_referenced(ranks, tmp_path):
    saves, items, expected = ranks(SIZE).run(some_whole, str(tmp_path))[3]
    plain, mine, model = 4 * (64 * 1024 + 10 + 700), 4 * SIZE * 3000, 4 * (64 * 128 + 64 * 2)
    assert saves == [(0, ()), (plain + mine, ("0",)), (mine + model, ("0", "1"))]
    assert items == ("mine", "model")
    assert pyckpt.verify(tmp_path / "2").ok
    loaded = pyckpt.load(tmp_path / "2", options=pyckpt.LoadOptions(framework="torch"))
    assert (loaded["model"]["base"].numpy() == expected["model"]["base"]).all()
