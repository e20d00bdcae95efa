"""Four gloo ranks: what each collects, put together, is the whole; and what is loaded is each rank's part."""

import sys
import warnings

import pytest
import torch
import torch.multiprocessing as mp

RANKS = 4


def full(shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


def dtensors(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
    from torch.distributed.tensor.placement_types import _StridedShard

    one = init_device_mesh("cpu", (4,))
    two = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    cases = {
        "even": (one, (8, 3), [Shard(0)]),
        "uneven": (one, (5, 3), [Shard(0)]),
        "empty": (one, (1, 7), [Shard(0)]),
        "none": (one, (0, 7), [Shard(0)]),
        "columns": (one, (3, 6), [Shard(1)]),
        "scalar": (one, (), [Replicate()]),
        "hsdp": (two, (6, 3), [Replicate(), Shard(0)]),
        "both": (two, (5, 7), [Shard(0), Shard(1)]),
        "same": (two, (7, 2), [Shard(0), Shard(0)]),
        "replicated": (two, (3, 3), [Replicate(), Replicate()]),
        "fsdp-tp": (two, (8, 2), [_StridedShard(0, split_factor=2), Shard(0)]),
        "interleaved": (two, (16, 2), [_StridedShard(0, split_factor=4), Shard(0)]),
        "interleaved-columns": (two, (4, 16), [Shard(0), _StridedShard(1, split_factor=4)]),
    }
    out = {name: distribute_tensor(full(shape), mesh, p) for name, (mesh, shape, p) in cases.items()}
    assert all(isinstance(t, DTensor) for t in out.values())
    return out, two, one


def models(two, one):
    from torch import nn
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    def build(sizes):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(sizes[0], sizes[1]), nn.ReLU(), nn.Linear(sizes[1], sizes[0]))

    out = {}
    for rows in (3, 5, 8):
        m = build((4, rows))
        out[f"fsdp2-{rows}"] = fully_shard(m, mesh=one)
        m = build((4, rows))
        out[f"hsdp-{rows}"] = fully_shard(m, mesh=two)
        m = build((4, rows))
        parallelize_module(m, two["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
        out[f"tp-fsdp2-{rows}"] = fully_shard(m, mesh=two["dp"])
    return out, build


def check_regions(rank, gather):
    import numpy as np
    from fake_engine import Item
    from torch.distributed.tensor import Partial, Shard

    import pyckpt.torch as pt
    from pyckpt.errors import UsageError

    tensors, two, one = dtensors(rank)
    (state,) = pt.collect({"x": {**tensors, "n": 1}}, rank=rank, world_size=RANKS)
    for name, leaf in state.tree.items():
        if name == "n":
            continue
        local = tensors[name].to_local()
        assert leaf.shape == tuple(tensors[name].shape)
        assert sum(p.region.elements for p in leaf.pieces) == local.numel()
        whole = full(leaf.shape).numpy()
        for piece in leaf.pieces:
            box = piece.region.box
            where = tuple(slice(o, o + s) for o, s in zip(box.offset, box.size, strict=True))
            view = piece.source.view()
            if view is None:
                view = bytearray(piece.source.nbytes)
                piece.source.read_into(0, memoryview(view))
            assert np.array_equal(np.frombuffer(view, np.float32).reshape(box.size), whole[where]), name
    replicas = {name: leaf.replicas for name, leaf in state.tree.items() if name != "n"}
    assert replicas["even"] == ()
    assert replicas["scalar"] == (0, 1, 2, 3)
    assert replicas["replicated"] == (0, 1, 2, 3)
    assert replicas["hsdp"] == ((0, 2) if rank in (0, 2) else (1, 3))
    assert replicas["interleaved"] == ()
    assert state.tree["hsdp"].claimed

    one_each = {name for name, group in replicas.items() if group == ()}
    for name in one_each:
        held = gather([(p.region, bytes(p.source.view() or b"")) if p.source.view() is not None else None for p in state.tree[name].pieces])
        assert sum(len(h) for h in held) >= (0 if name == "none" else 1)
    del Item

    from torch.distributed.tensor import DTensor

    partial = DTensor.from_local(torch.ones(2, 2), two, [Partial(), Shard(0)], run_check=False)
    with pytest.raises(UsageError, match="x/deep/p") as error:
        pt.collect({"x": {"deep": {"p": partial}}})
    assert error.value.code == "state.partial"
    lies = DTensor.from_local(torch.ones(rank + 1, 2), one, [Shard(0)], run_check=False, shape=torch.Size((10, 2)), stride=(2, 1))
    if rank != 2:  # three of ten rows is what rank 2 would hold by the rule
        with pytest.raises(UsageError) as error:
            pt.collect({"x": {"lies": lies, "n": 1}})
        assert error.value.code == "state.layout"


def pack(state):
    """ItemState to something that crosses processes: sources become bytes."""
    from pyckpt.engine.leaves import ItemState, Piece, TensorLeaf
    from pyckpt.format.tree import map_leaves

    made = {}

    def change(path, leaf):
        if not isinstance(leaf, TensorLeaf):
            return leaf
        if id(leaf) not in made:
            pieces = []
            for piece in leaf.pieces:
                data = bytearray(piece.source.nbytes)
                piece.source.read_into(0, memoryview(data))
                pieces.append(Piece(piece.region, Bytes(bytes(data))))
            made[id(leaf)] = TensorLeaf(leaf.dtype, leaf.shape, tuple(pieces), leaf.replicas, leaf.claimed)
        return made[id(leaf)]

    return ItemState(state.name, state.kind, map_leaves(state.tree, change))


class Bytes:
    def __init__(self, data):
        self.data, self.nbytes = data, len(data)

    def view(self):
        return memoryview(self.data)


def check_resharding(rank, gather):
    """Every layout's model and optimizer into every other layout."""
    import numpy as np
    from fake_engine import Item, load
    from torch import nn

    import pyckpt.torch as pt

    _, two, one = dtensors(rank)
    built, build = models(two, one)
    options = pt.BindOptions(rank=rank, world_size=RANKS)
    saved = {}
    for name, m in built.items():
        o = torch.optim.AdamW(m.parameters(), lr=0.01)
        for _ in range(2):
            # Not a backward pass: tensor parallelism in torch can't compute with uneven parts, only hold them.
            for p in m.parameters():
                p.grad = p.detach() * 2 + 1
            o.step()
        items = [Item(gather(pack(s))) for s in pt.collect({"m": m, "o": o}, rank=rank, world_size=RANKS)]
        for leaf in (*items[0].leaves, *items[1].leaves):
            assert (leaf[3] >= 1).all(), name
        for fqn, p in m.named_parameters():
            assert np.array_equal(items[0].array((fqn,), np.float32), p.full_tensor().detach().numpy()), (name, fqn)
        fqn, p = next(iter(m.named_parameters()))
        moment = o.state[p]["exp_avg"].full_tensor().numpy()
        assert np.array_equal(items[1].array(("state", fqn, "exp_avg"), np.float32), moment)
        saved[name] = items
    fresh, _ = models(two, one)
    for name, m in fresh.items():
        rows = name.rpartition("-")[2]
        source = {"fsdp2": "tp-fsdp2", "tp-fsdp2": "hsdp", "hsdp": "fsdp2"}[name.rpartition("-")[0]] + "-" + rows
        items = saved[source]
        o = torch.optim.AdamW(m.parameters())
        bound = pt.binders({"m": m, "o": o}, options)
        for item, which in zip(items, "mo", strict=True):
            load(item, bound[which])
        assert o.param_groups[0]["lr"] == 0.01
        for fqn, p in m.named_parameters():
            want = items[0].array((fqn,), np.float32)
            assert np.array_equal(want, p.full_tensor().detach().numpy()), (name, fqn)
            state = o.state[p]
            assert state["exp_avg"].placements == p.placements
            want = items[1].array(("state", fqn, "exp_avg"), np.float32)
            assert np.array_equal(want, state["exp_avg"].full_tensor().numpy())
            assert float(state["step"]) == 2
        for p in m.parameters():
            p.grad = p.detach() * 2
        o.step()
    plain = build((4, 5))
    o = torch.optim.AdamW(plain.parameters())
    bound = pt.binders({"m": plain, "o": o}, options)
    load(saved["tp-fsdp2-5"][0], bound["m"])
    load(saved["tp-fsdp2-5"][1], bound["o"])
    assert isinstance(plain[0], nn.Linear)
    assert o.state[plain[0].weight]["exp_avg"].shape == (5, 4)


def check_ddp(rank, gather):
    from fake_engine import Item, load
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    import pyckpt.torch as pt

    m = DistributedDataParallel(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    m.module[1].running_mean.fill_(float(rank + 1))
    o = torch.optim.SGD(m.parameters(), momentum=0.9)
    states = pt.collect({"m": m, "o": o}, rank=rank, world_size=RANKS)
    tree = states[0].tree
    assert list(tree) == list(m.module.state_dict())
    assert tree["0.weight"].replicas is None
    assert tree["0.weight"].claimed
    assert tree["1.running_mean"].replicas == ()
    assert len(tree["1.running_mean"].pieces) == (1 if rank == 0 else 0)
    assert states[1].tree["groups"]["0"]["params"] == {"0.weight", "0.bias", "1.weight", "1.bias"}
    item = Item(gather(pack(states[0])))
    load(item, pt.binders({"m": m}, pt.BindOptions(rank=rank, world_size=RANKS))["m"])
    assert m.module[1].running_mean.tolist() == [1.0] * 3


def check_fsdp1(rank, gather):
    import numpy as np
    from fake_engine import Item, load
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel

    import pyckpt.torch as pt
    from pyckpt.errors import UnsupportedState

    mesh = init_device_mesh("cpu", (4,))

    def build(seed, *, orig, meshed):
        torch.manual_seed(seed)
        m = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))
        options = {"device_mesh": mesh} if meshed else {}
        m = FullyShardedDataParallel(m, use_orig_params=orig, device_id=torch.device("cpu"), **options)
        return m, torch.optim.AdamW(m.parameters(), lr=0.01)

    for orig, meshed in ((True, True), (False, True), (False, False)):
        m, o = build(0, orig=orig, meshed=meshed)
        with pytest.raises(UnsupportedState):
            pt.collect({"m": m, "o": o}, rank=rank, world_size=RANKS)
        m(torch.ones(2, 3)).sum().backward()
        o.step()
        states = pt.collect({"m": m, "o": o}, rank=rank, world_size=RANKS)
        items = [Item(gather(pack(state))) for state in states]
        assert list(items[0].tree) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        for item in items:
            assert all((leaf[3] >= 1).all() for leaf in item.leaves)
        with FullyShardedDataParallel.summon_full_params(m):
            want = m.module[0].weight.detach().clone().numpy()
        assert np.array_equal(items[0].array(("0.weight",), np.float32), want)
        m2, o2 = build(1, orig=orig, meshed=meshed)
        bound = pt.binders({"m": m2, "o": o2}, pt.BindOptions(rank=rank, world_size=RANKS))
        load(items[1], bound["o"])
        load(items[0], bound["m"])
        with FullyShardedDataParallel.summon_full_params(m2):
            assert np.array_equal(m2.module[0].weight.detach().clone().numpy(), want)
        for a, b in zip(m.parameters(), m2.parameters(), strict=True):
            for name, value in o.state[a].items():
                assert torch.equal(value, o2.state[b][name]), name
        assert o2.param_groups[0]["lr"] == 0.01


CHECKS = {"regions": check_regions, "resharding": check_resharding, "ddp": check_ddp, "fsdp1": check_fsdp1}


def run(rank, path, names):
    import torch.distributed as dist

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=RANKS)

    def gather(value):
        out = [None] * RANKS
        dist.all_gather_object(out, value)
        return out

    try:
        for name in names:
            CHECKS[name](rank, gather)
            dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore")
def test_four_ranks(tmp_path):
    assert "fake_engine" not in sys.modules or sys.modules["fake_engine"]
    mp.spawn(run, (str(tmp_path / "init"), tuple(CHECKS)), nprocs=RANKS)
