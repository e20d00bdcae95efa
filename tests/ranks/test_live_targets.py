"""Every way to say where tensors shall go, for every kind of tensor."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
import torch.distributed as dist
from torch import nn

import pyckpt
from pyckpt.errors import UsageError
from pyckpt.format.geometry import Box, Region
from tests.ranks.seats import Seats
from tests.ranks.wire_bytes import counted

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

SIZE = 4
LIMITS = {"timeout": 60.0, "silence": 20.0}
DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.complex128, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
)  # fmt: skip


def options(**more):
    return pyckpt.ReshardOptions(**LIMITS, **more)


def numbers(shape, dtype=torch.float32, start=1):
    count = torch.Size(shape).numel()
    # Small whole numbers are exact in every dtype, and neighbours differ.
    values = torch.arange(start, start + count).remainder(13).view(shape)
    if dtype.is_complex:
        return torch.complex(values.double(), -values.double()).to(dtype)
    return (values % 2 if dtype is torch.bool else values).to(torch.float32).to(dtype)


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(bits(one), bits(other))


def spread(values, mesh, placements):
    """By torch's own rules."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(values, mesh, placements, src_data_rank=None)


def meshes():
    seats = Seats(0, SIZE)
    return seats.mesh(4), seats.mesh(2, 2)


# Meshes and placements


def by_pattern(rank):
    from torch.distributed.tensor import DTensor, Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    line, square = meshes()
    half = Seats(2, 2)
    half.found()
    wholes = {
        "rows.a": numbers((10, 3)),
        "rows.b": numbers((3, 7)),
        "columns": numbers((4, 9)),
        "both": numbers((6, 10)),
        "twice": numbers((9, 4)),
        "interleaved": numbers((16, 2)),
        "fsdp.over.tp": numbers((11, 2)),
        "copies": numbers((5,)),
        "mixed": numbers((5, 6)),
        "scalar": numbers(()),
        "empty": numbers((0, 3)),
        "some ranks": numbers((7, 2)),
    }
    state = {}
    for number, (name, values) in enumerate(wholes.items()):
        plain = values.ndim == 0 or number % 3 == 0
        state[name] = values if plain else spread(values, line, [Shard(number % values.ndim)])
    rules = {
        "rows.*": (line, [Shard(0)]),
        "columns": (line, (Shard(-1),)),
        "both": (square, [Shard(1), Shard(0)]),
        "twice": (square, [Shard(0), Shard(0)]),
        "interleaved": (line, [_StridedShard(0, split_factor=2)]),
        "fsdp.over.tp": (square, [_StridedShard(0, split_factor=2), Shard(0)]),
        "copies": (line, Replicate()),
        "mixed": (square, [Replicate(), Shard(1)]),
        "scalar": (line, [Replicate()]),
        "em?ty": (line, [Shard(0)]),
        "state/some ranks": (half.mesh(2), [Shard(0)]),
    }
    got = pyckpt.reshard(state, rules, options=options())
    assert list(got) == list(wholes)
    for name, values in wholes.items():
        rule = next(r for key, r in rules.items() if key.split("/")[-1].split(".*")[0].replace("?", "p") in name)
        placements = [rule[1]] if not isinstance(rule[1], (list, tuple)) else list(rule[1])
        tensor = got[name]
        assert isinstance(tensor, DTensor)
        assert tensor.shape == values.shape
        if rank < 2 and name == "some ranks":
            assert not tensor.to_local().numel()
            continue
        if name == "fsdp.over.tp":
            # 11 rows, halved by the inner dimension first: 6 and 5, and each of them by the outer one.
            inner, outer = divmod(rank, 2)[::-1]
            part = values.chunk(2)[inner].chunk(2)[outer]
            assert same(tensor.to_local(), part)
            continue
        want = spread(values, rule[0], placements)
        assert tensor.placements == want.placements or name == "columns"
        assert same(tensor.to_local(), want.to_local()), name


def test_patterns_and_placements(ranks):
    ranks(SIZE).run(by_pattern)


def every_dtype(rank):
    from torch.distributed.tensor import DTensor, Shard

    line, _ = meshes()
    wholes = {str(dtype): numbers((6, 5), dtype, start=3) for dtype in DTYPES}
    state = {}
    for name, values in wholes.items():
        part = values[rank * 2 : rank * 2 + 2].clone()
        state[name] = DTensor.from_local(part, line, [Shard(0)], run_check=False, shape=(6, 5), stride=(5, 1))
    state["conjugate"] = torch.conj(numbers((3, 4), torch.complex64))
    state["negative"] = torch.conj(numbers((3, 4), torch.complex64)).imag
    want = {**wholes, "conjugate": state["conjugate"].resolve_conj(), "negative": state["negative"].resolve_neg()}
    for budget in (4096, 1 << 20):
        got = pyckpt.reshard(state, {"*": (line, [Shard(1)])}, options=options(budget_bytes=budget))
        for name, values in want.items():
            at = -(-values.shape[1] // SIZE)
            assert same(got[name].to_local(), values[:, rank * at : (rank + 1) * at].clone()), name


def test_every_dtype(ranks):
    ranks(SIZE).run(every_dtype)


# Declared regions


def declared(rank):
    """Flat runs, as optimizers shard their buffers, into several boxes per rank and back."""
    shape = (8, 6)
    values = numbers(shape)
    cuts = [0, 5, 17, 17, 48]
    run = Region.flat(shape, cuts[rank], cuts[rank + 1])
    state = {"w": values.view(-1)[run.start : run.stop].clone(), "n": torch.tensor(3.0)}
    layout = {"state": {"w": pyckpt.Declared(shape, (run,) if run.elements else ())}}
    boxes = [Box((2 * rank, 0), (1, 6)), Box((2 * rank + 1, 1), (1, 4)), Box((0, 5), (3, 1))]
    several = pyckpt.Declared(shape, tuple(Region.of_box(box) for box in boxes))
    one = pyckpt.Declared(shape, (Region.of_box(Box((rank, 2), (4, 3))),))
    for rule, want in (
        (several, torch.cat([values[2 * rank], values[2 * rank + 1, 1:5], values[:3, 5]])),
        (one, values[rank : rank + 4, 2:5]),
        (pyckpt.Declared(shape, (Region.flat(shape, 3 + rank, 40),)), values.view(-1)[3 + rank : 40]),
        (pyckpt.Declared(shape, ()), values.view(-1)[:0]),
    ):
        rules = {"w": rule, "n": pyckpt.Declared((), (Region.whole(()),))}
        got = pyckpt.reshard(state, rules, options=options(layout=layout))
        assert same(got["w"], want.clone()), rule
        assert same(got["n"], torch.tensor(3.0))
    # Into memory that exists, the parts of each rank declared.
    target = {"w": torch.zeros(2, 6), "n": torch.zeros(())}
    into = {"state": {"w": pyckpt.Shard(0, rank, SIZE)}}
    pyckpt.reshard(state, target, options=options(layout=layout, into_layout=into))
    assert same(target["w"], values[2 * rank : 2 * rank + 2].clone())


def test_declared_regions(ranks):
    ranks(SIZE).run(declared)


# Whole tensors, one rank each


def dealt(rank):
    from torch.distributed.tensor import Shard

    line, _ = meshes()
    wholes = {f"w{n}": numbers((4 + n * n, 8), start=n) for n in range(9)} | {"big": numbers((300, 8)), "none": numbers((0,))}
    state = {"a": {"x": {k: spread(v, line, [Shard(0)]) for k, v in wholes.items()}, "n": 5}, "b": {"y": [numbers((3,)), "text"]}}
    got = pyckpt.reshard(state, "whole", options=options())
    for name, tensor in got["a"]["x"].items():
        assert same(tensor, wholes[name]), name
        assert type(tensor) is torch.Tensor
    assert got["a"]["n"] == 5
    assert got["b"]["y"][1] == "text"
    half = pyckpt.reshard(state, "whole", options=options(dtype=torch.bfloat16))
    assert all(same(tensor, wholes[name].bfloat16()) for name, tensor in half["a"]["x"].items())
    assert list(half["a"]["x"]) == list(got["a"]["x"])
    mine = list(got["a"]["x"].values()) + [t for t in got["b"]["y"] if isinstance(t, torch.Tensor)]
    return list(got["a"]["x"]), sum(tensor.nbytes for tensor in mine), sum(v.nbytes for v in wholes.values()) + 12


def test_whole_tensors_are_dealt_evenly(ranks):
    out = ranks(SIZE).run(dealt)
    names = [name for each, _, _ in out for name in each]
    assert sorted(names) == sorted([*(f"w{n}" for n in range(9)), "big", "none"])
    total = out[0][2]
    assert sum(nbytes for _, nbytes, _ in out) == total
    assert max(nbytes for _, nbytes, _ in out) <= total / SIZE + 300 * 8 * 4
    # The largest has a rank for itself, and the others share the rest.
    assert min(nbytes for _, nbytes, _ in out) > 0


# Another dtype on the way


def cast(rank):
    from torch.distributed.tensor import Replicate, Shard

    line, _ = meshes()
    exact = torch.randn(64, 16, generator=torch.Generator().manual_seed(3))
    count = torch.ones(8, dtype=torch.int64)
    state = {"w": spread(exact, line, [Shard(0)]), "count": spread(count, line, [Shard(0)])}
    narrow = pyckpt.Resharder(state, {"*": (line, [Replicate()])}, options=options(dtype=torch.bfloat16))
    with counted() as seen:
        narrow.run()
    assert same(narrow.value["w"].to_local(), exact.to(torch.bfloat16))
    # Only floating-point tensors are converted.
    assert same(narrow.value["count"].to_local(), count)
    assert seen.received == 48 * 16 * 2 + 6 * 8
    small = {"w": spread(exact.bfloat16(), line, [Shard(0)]), "count": state["count"]}
    target = {"w": torch.zeros(64, 16), "count": torch.zeros(8, dtype=torch.int64)}
    with pytest.raises(pyckpt.PyckptError) as caught:
        pyckpt.reshard(small, target, options=options())
    assert caught.value.code == "state.mismatch"
    assert "BF16" in str(caught.value)
    wide = pyckpt.Resharder(small, target, options=options(dtype="widen"))
    with counted() as seen:
        wide.run()
    assert same(target["w"], exact.bfloat16().float())
    assert seen.received == 48 * 16 * 2 + 6 * 8
    into = {"w": torch.zeros(64, 16, dtype=torch.float16), "count": torch.zeros(8, dtype=torch.int64)}
    with pytest.raises(pyckpt.PyckptError):
        pyckpt.reshard(state, into, options=options(dtype="widen"))
    assert not into["w"].any()
    pyckpt.reshard(state, into, options=options(dtype="cast"))
    assert same(into["w"], exact.half())
    # Two dtypes of one tensor on different ranks.
    mixed = {"w": torch.zeros(64, 16, dtype=torch.float64 if rank % 2 else torch.bfloat16)}
    pyckpt.reshard({"w": state["w"]}, mixed, options=options(dtype="cast"))
    assert same(mixed["w"], exact.to(mixed["w"].dtype))


def test_casts_travel_narrow(ranks):
    ranks(SIZE).run(cast)


# Modules


class Tied(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(10, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 10, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("steps", torch.tensor(seed))


class Other(nn.Module):
    """Another class with other names, tied alike."""

    def __init__(self):
        super().__init__()
        self.body = Tied(5)


def modules(rank):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard

    line, _ = meshes()
    reference, source = Tied(1), Tied(1)
    fully_shard(source, mesh=line)
    got = pyckpt.reshard(source, {"*": (line, [Shard(0)]), "steps": pyckpt.Declared((), (Region.whole(()),))}, options=options())
    assert got["embed.weight"] is got["head.weight"]
    assert same(got["embed.weight"].full_tensor(), reference.embed.weight)
    assert same(got["steps"], torch.tensor(1))
    whole = pyckpt.reshard(source, "whole", options=options())
    assert ("embed.weight" in whole) == ("head.weight" in whole)
    assert "embed.weight" not in whole or whole["embed.weight"] is whole["head.weight"]
    other = Other()
    filled = pyckpt.reshard(source, other, options=options(map_key=lambda name: name.removeprefix("body.")))
    assert filled is other
    assert other.body.head.weight is other.body.embed.weight
    assert all(same(t, reference.state_dict()[name]) for name, t in other.body.state_dict().items())
    # As an item beside others, and under autograd's eyes.
    target = Tied(3)
    version = target.embed.weight._version
    values = pyckpt.reshard({"model": source, "step": 3}, {"model": target, "step": None}, options=options())
    assert values["model"] is target
    assert values["step"] == 3
    assert target.embed.weight._version > version
    assert target.embed.weight.requires_grad
    # Some ranks alone have the target.
    lone = Tied(4) if rank == 2 else None
    assert pyckpt.reshard(source, lone, options=options()) is lone
    assert lone is None or all(same(t, reference.state_dict()[name]) for name, t in lone.state_dict().items())


def test_modules_and_tied_weights(ranks):
    ranks(SIZE).run(modules)


# Some ranks only


_pair = []


def subgroup(rank):
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import Shard

    if not _pair:
        _pair.append((dist.new_group([1, 3]), DeviceMesh("cpu", [1, 3])))
    group, mesh = _pair[0]
    values = numbers((9, 2))
    state = {"w": spread(values, mesh, [Shard(0)]), "b": values}
    if rank not in (1, 3):
        with pytest.raises(UsageError, match="not in the group"):
            pyckpt.reshard(state, "whole", group=group, options=options())
        return 0
    resharder = pyckpt.Resharder(state, {"*": (mesh, [Shard(1)])}, group=group, options=options())
    report = resharder.run()
    report = resharder.run()
    at = rank // 2
    assert all(same(t.to_local(), values[:, at : at + 1].clone()) for t in resharder.value.values())
    # One rank of the group has it all, and gives it to the other.
    lone = pyckpt.reshard({"w": values} if rank == 3 else None, {"w": torch.zeros(9, 2)}, group=group, options=options())
    assert same(lone["w"], values)
    assert "2 ranks" in resharder.describe()
    return report.received


def test_a_subgroup(ranks):
    assert ranks(SIZE).run(subgroup) == [0, 16, 0, 20]


# What is no torch tensor


def arrays(rank):
    import numpy as np

    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    target = {"a": np.zeros((3, 4), np.float32), "b": torch.zeros(3, 4), "n": 0}
    got = pyckpt.reshard({"a": values, "b": values, "n": 7} if rank == 1 else None, target, options=options())
    assert got["n"] == 7
    assert (target["a"] == values).all()
    assert (target["b"].numpy() == values).all()
    alone = pyckpt.reshard({"a": values}, {"*": pyckpt.Declared((3, 4), (Region.of_box(Box((rank % 3, 0), (1, 4))),))}, options=options())
    assert (alone["a"].numpy() == values[rank % 3]).all()
    part = {"w": pyckpt.local_shard(torch.from_numpy(values[:, rank : rank + 1].copy()), (3, 4), (0, rank))}
    assert pyckpt.reshard(part, {"w": torch.zeros(3, 4)}, options=options())["w"].tolist() == values.tolist()


def test_numpy_arrays_and_local_shards(ranks):
    ranks(SIZE).run(arrays)


def packed_pairs(rank):
    """Four-bit elements, two a byte, from one rank to rows and columns of two."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard

    raw = torch.arange(48, dtype=torch.uint8).view(6, 8)
    mesh = init_device_mesh("cpu", (2,))
    names = ("rows", "columns")
    state = {name: raw.clone().view(torch.float4_e2m1fn_x2) for name in names} if rank == 0 else None
    got = pyckpt.reshard(state, {"rows": (mesh, [Shard(0)]), "columns": (mesh, [Shard(1)])})
    return [
        torch.equal(got[name].to_local().view(torch.uint8), raw.chunk(2, dim)[rank])
        for dim, name in enumerate(names)
    ]


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="this torch has no packed dtype")
def test_packed_elements_go_where_they_are_wanted(ranks):
    assert ranks(2).run(packed_pairs) == [[True, True]] * 2


def tied_apart(rank):
    """Two names of one tensor, each with a rule of its own; a third that shares one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard

    tied = numbers((6, 8))
    mesh = init_device_mesh("cpu", (2,))
    state = {"a": tied, "b": tied, "c": tied} if rank == 0 else None
    got = pyckpt.reshard(state, {"[ac]": (mesh, [Shard(0)]), "b": (mesh, [Shard(1)])})
    right = [torch.equal(got[name].to_local(), tied.chunk(2, dim)[rank]) for dim, name in enumerate("ab")]
    return [*right, got["c"] is got["a"]]


def test_names_of_one_tensor_may_lie_differently(ranks):
    assert ranks(2).run(tied_apart) == [[True] * 3] * 2
