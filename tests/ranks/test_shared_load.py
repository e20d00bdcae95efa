"""What several ranks want alike is read once and passed on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from unittest import mock

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import pyckpt
from pyckpt.errors import Corrupt, RankError, StateMismatch
from tests.ranks.pool import Ranks

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

WIDTH = 256


def net() -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Embedding(4 * WIDTH, WIDTH), *[nn.Linear(WIDTH, WIDTH) for _ in range(6)], nn.Linear(WIDTH, 67), nn.BatchNorm1d(5)
    )
    model.register_buffer("flags", torch.arange(7) % 2 == 0)
    model.register_buffer("none", torch.zeros(0, 4))
    return model


def emptied(kind: str) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = net()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    if kind == "transposed":
        with torch.no_grad():
            model[1].weight.data = model[1].weight.data.T.contiguous().T
    if kind == "bf16":
        return model.bfloat16()
    if kind in ("plain", "transposed"):
        return model
    shape = {"hsdp": (2, 2), "fsdp": (4,)}[kind]
    names = ("outer", "inner") if len(shape) == 2 else ("all",)
    return fully_shard(model, mesh=init_device_mesh("cpu", shape, mesh_dim_names=names))


def whole(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: value.full_tensor() if hasattr(value, "full_tensor") else value for name, value in model.state_dict().items()
    }


def save_one(rank, url):
    if rank == 0:
        options = pyckpt.SaveOptions(collective=False, block_bytes=4096, codec={"packed": "planes"})
        pyckpt.save(url, {"model": net(), "packed": net()}, options=options)


def load_one(rank, url, kind, replicas, item="model"):
    """Whether all values are right, and the report's figures."""
    model = emptied(kind)
    options = pyckpt.LoadOptions(replicas=replicas, dtype="cast")
    report = pyckpt.load_report(url, into={item: model}, options=options).report
    want = net().state_dict()
    wrong = [
        name
        for name, value in whole(model).items()
        if not torch.equal(value, want[name].to(value.dtype))
    ]
    return wrong, report.read, report.bytes, report.exchanged


@pytest.fixture(scope="module")
def saved(ranks, tmp_path_factory):
    url = str(tmp_path_factory.mktemp("shared") / "step")
    ranks(4).run(save_one, url)
    return url


def size_of(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in model.state_dict().values())


@pytest.mark.parametrize("kind", ["plain", "transposed", "bf16", "hsdp"])
def test_replicas_cost_the_store_one_copy(ranks, saved, kind):
    read = {}
    for replicas in ("read", "exchange"):
        results = ranks(4).run(load_one, saved, kind, replicas)
        assert [wrong for wrong, *_ in results] == [[]] * 4
        assert all(exchanged == (replicas == "exchange") for *_, exchanged in results)
        read[replicas] = sum(amount for _, amount, _, _ in results)
    total = size_of(net())
    copies = 2 if kind == "hsdp" else 4
    assert read["read"] >= copies * total * 0.95
    # Where a cut falls within a block, two ranks read that block.
    assert total <= read["exchange"] <= 1.05 * total


def test_encoded_blocks_are_exchanged_decoded(ranks, saved):
    results = ranks(4).run(load_one, saved, "plain", "exchange", "packed")
    assert [wrong for wrong, *_ in results] == [[]] * 4


def load_apart(rank, url, kind):
    """As if every two ranks were on one machine."""
    with mock.patch("pyckpt.torch.load_exchange.LoadExchanger.machine", lambda self: f"host{rank // 2}"):
        return load_one(rank, url, kind, "auto")


def test_auto_exchanges_what_is_worth_it(ranks, saved):
    assert all(exchanged for *_, exchanged in ranks(4).run(load_apart, saved, "plain"))
    assert not any(exchanged for *_, exchanged in ranks(4).run(load_apart, saved, "fsdp"))


def test_auto_reads_where_all_ranks_have_the_page_cache(ranks, saved):
    assert not any(exchanged for *_, exchanged in ranks(4).run(load_one, saved, "plain", "auto"))


def load_silently(rank, url):
    """A load in which no rank hears what all the others want."""
    with mock.patch("pyckpt.engine.fill.agree_on_targets", side_effect=AssertionError):
        return load_apart(rank, url, "fsdp")


def test_what_nobody_shares_is_not_told_to_all(ranks, saved):
    results = ranks(4).run(load_silently, saved)
    assert [(wrong, exchanged) for wrong, *_, exchanged in results] == [([], False)] * 4


def load_fresh(rank, url):
    loaded = pyckpt.load_report(url, items=["model"], options=pyckpt.LoadOptions(replicas="exchange"))
    want = net().state_dict()
    return all(torch.equal(loaded.values["model"][name], want[name]) for name in want), loaded.report.read


def test_fresh_tensors_are_shared_too(ranks, saved):
    results = ranks(2).run(load_fresh, saved)
    assert all(right for right, _ in results)
    assert sum(read for _, read in results) <= 1.05 * size_of(net())


def load_differently(rank, url):
    """Ranks want different parts of the model, some of them in common, in different dtypes."""
    names = ["1.weight", "2.weight", "3.weight", "4.weight"]
    mine = names[rank : rank + 2] + ["0.weight"]
    dtype = torch.float64 if rank == 1 else torch.float32
    target = {name: torch.zeros(net().state_dict()[name].shape, dtype=dtype) for name in mine}
    options = pyckpt.LoadOptions(replicas="exchange", strict=False, dtype="widen")
    pyckpt.load(url, into={"model": target}, options=options)
    want = net().state_dict()
    return all(torch.equal(value, want[name].to(dtype)) for name, value in target.items())


def test_ranks_may_want_different_things(ranks, saved):
    assert all(ranks(3).run(load_differently, saved))


def load_mismatching(rank, url):
    model = net()
    if rank == 1:
        model[1] = nn.Linear(WIDTH, WIDTH + 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(StateMismatch) as caught:
        pyckpt.load(url, into={"model": model}, options=pyckpt.LoadOptions(replicas="exchange"))
    untouched = all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    return str(caught.value), untouched


def test_mismatches_are_found_before_anything_moves(ranks, saved):
    for text, untouched in ranks(2).run(load_mismatching, saved):
        assert "model/1.weight" in text
        assert "(rank 1)" in text
        assert untouched


def load_damaged(rank, url):
    try:
        pyckpt.load(url, into={"model": emptied("plain")}, options=pyckpt.LoadOptions(replicas="exchange"))
    except (Corrupt, RankError) as error:
        return error.code, str(error)
    return "", ""


def test_damage_on_one_rank_is_raised_on_all(ranks, tmp_path):
    url = str(tmp_path / "step")
    ranks(4).run(save_one, url)
    victim = max(Path(url, "model").glob("*.safetensors"), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    codes = sorted(code for code, _ in ranks(4).run(load_damaged, url))
    assert codes == ["block.digest", "rank.failed", "rank.failed", "rank.failed"]


def load_and_stop(rank, url, sign):
    """Rank 2 stops as soon as it has read something, for ever or by dying."""

    def stop(done, total):
        if rank == 2 and done:
            os.kill(os.getpid(), sign)

    options = pyckpt.LoadOptions(replicas="exchange", silence=2.0, timeout=30.0, progress=stop, threads=1)
    begin = time.monotonic()
    with pytest.raises(RankError) as caught:
        pyckpt.load(url, into={"model": emptied("plain")}, options=options)
    return str(caught.value), time.monotonic() - begin


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_lost_in_the_exchange_is_named(saved, sign):
    group = Ranks(4)
    try:
        outcomes = group.outcomes(load_and_stop, saved, sign, lost=[2])
        for rank in (0, 1, 3):
            assert outcomes[rank].ok, outcomes[rank].trace
            text, seconds = outcomes[rank].value
            assert "rank 2" in text
            assert seconds < 25
    finally:
        for process in group.processes:
            process.kill()
        group.close()


def test_unknown_choice_is_refused():
    with pytest.raises(pyckpt.PyckptError, match="replicas"):
        pyckpt.LoadOptions(replicas="both")


