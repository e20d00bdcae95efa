"""One small model and its AdamW in every layout that training uses, filled by a formula.

A value depends on its name and its position in the whole tensor alone. A layout is made by torch's own means from the
whole values, never by pyckpt's rules, so that a wrong region shows. It takes all ranks of the world, or some seats of
a larger one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import pyckpt
from tests.ranks.seats import Seats

__all__ = [
    "GROUPS",
    "LAYOUTS",
    "Layout",
    "Net",
    "differences",
    "formula",
    "local_part",
    "reset",
    "shapes",
    "state_of",
    "target_of",
]

WIDTH, ROWS, EXPERTS = 8, 67, 4
STEP = 7.0
GROUPS = ({"lr": 0.25, "weight_decay": 0.125}, {"lr": 0.5, "weight_decay": 0.0})
"""Options of the two groups: matrices, and everything that is not decayed."""


def formula(name: str, kind: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The whole tensor ``name`` of ``kind`` (``param``, ``exp_avg``, ``exp_avg_sq``, ``zero``), exact in its dtype."""
    count = torch.Size(shape).numel()
    if kind == "zero":
        return torch.zeros(shape, dtype=dtype)
    seed = zlib.crc32(f"{kind}/{name}".encode())
    mixed = (torch.arange(count, dtype=torch.int64) * 1103515245 + seed) % 999983
    if not dtype.is_floating_point:
        return (mixed % 2 if dtype is torch.bool else mixed).to(dtype).view(shape)
    if dtype is torch.bfloat16:
        mixed %= 256
    sign = 0 if kind == "exp_avg_sq" else 128
    return (mixed.to(torch.float64) / 4096 - sign).to(dtype).view(shape)


class Block(nn.Module):
    """A feed-forward layer with its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 12)
        self.down = nn.Linear(12, WIDTH)


class Experts(nn.Module):
    """Stacked experts, ``count`` of them from number ``first`` on."""

    def __init__(self, first: int = 0, count: int = EXPERTS) -> None:
        super().__init__()
        self.first, self.count = first, count
        self.up = nn.Parameter(torch.empty(count, WIDTH, 6))
        self.down = nn.Parameter(torch.empty(count, 6, WIDTH))


class Net(nn.Module):
    """Embedding with an uneven number of rows, two blocks, experts, a linear of one row, a head tied to the embedding.

    ``parts`` are the members that this process has (pipeline stages have some); a head always brings its embedding.
    """

    PARTS = ("embed", "layers.0", "experts", "layers.1", "norm", "one", "head", "buffers")

    def __init__(self, parts: tuple[str, ...] = PARTS, experts: tuple[int, int] = (0, EXPERTS)) -> None:
        super().__init__()
        if "embed" in parts:
            self.embed = nn.Embedding(ROWS, WIDTH)
        self.layers = nn.ModuleDict({str(i): Block() for i in range(2) if f"layers.{i}" in parts})
        if "experts" in parts:
            self.experts = Experts(*experts)
        if "norm" in parts:
            self.norm = nn.LayerNorm(WIDTH)
        if "one" in parts:
            self.one = nn.Linear(WIDTH, 1)
        if "head" in parts:
            self.head = nn.Linear(WIDTH, ROWS, bias=False)
            self.head.weight = self.embed.weight
        if "buffers" in parts:
            self.register_buffer("temperature", torch.zeros(()))
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
            self.register_buffer("table", torch.zeros(5, 3, dtype=torch.bfloat16))
            self.register_buffer("mask", torch.zeros(7, dtype=torch.bool))

    def fill(self, kind: str) -> Net:
        """Sets everything by the formula; to be called before the module is laid out."""
        first = self.experts.first if hasattr(self, "experts") else 0
        with torch.no_grad():
            for name, tensor in self.state_dict().items():
                source = "embed.weight" if name == "head.weight" else name
                if name.startswith("experts."):
                    whole = formula(source, kind, (EXPERTS, *tensor.shape[1:]))
                    tensor.copy_(whole[first : first + tensor.shape[0]])
                else:
                    tensor.copy_(formula(source, kind, tuple(tensor.shape), tensor.dtype))
        return self


def shapes() -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Name -> whole shape and dtype of everything in the model."""
    return {name: (tuple(t.shape), t.dtype) for name, t in Net().state_dict().items()}


Build = Callable[[str, Seats], nn.Module]


def _one(kind: str, seats: Seats) -> nn.Module:
    return Net().fill(kind)


def _ddp(kind: str, seats: Seats) -> nn.Module:
    return nn.parallel.DistributedDataParallel(Net().fill(kind), process_group=seats.group())


def _sharded(net: nn.Module, mesh: Any, **options: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for block in net.layers.values():
        fully_shard(block, mesh=mesh, **options)
    fully_shard(net, mesh=mesh, **options)
    return net


def _fsdp2(*sizes: int) -> Build:
    return lambda kind, seats: _sharded(Net().fill(kind), seats.mesh(*sizes))


def _fsdp2_columns(kind: str, seats: Seats) -> nn.Module:
    from torch.distributed.tensor import Shard

    def last_even(param: torch.Tensor) -> Any:
        # FSDP2 cuts only its first dimension unevenly.
        return Shard(next((d for d in reversed(range(param.ndim)) if param.shape[d] % 4 == 0), 0))

    return _sharded(Net().fill(kind), seats.mesh(4), shard_placement_fn=last_even)


def _tensor_parallel(net: Net, mesh: Any) -> Net:
    """Rows and columns over the mesh; the last norm is left plain, and the experts are cut along their last dimension."""
    from torch.distributed.tensor import Shard, distribute_tensor
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        SequenceParallel,
        parallelize_module,
    )

    plan: dict[str, Any] = {"embed": RowwiseParallel(), "one": ColwiseParallel(), "head": ColwiseParallel()}
    for name in net.layers:
        plan |= {
            f"layers.{name}.norm": SequenceParallel(),
            f"layers.{name}.up": ColwiseParallel(),
            f"layers.{name}.down": RowwiseParallel(),
        }
    parallelize_module(net, mesh, plan)
    net.head.weight = net.embed.weight
    for name in ("up", "down"):
        whole = getattr(net.experts, name)
        setattr(net.experts, name, nn.Parameter(distribute_tensor(whole.detach(), mesh, [Shard(2)])))
    return net


def _tp(kind: str, seats: Seats) -> nn.Module:
    return _tensor_parallel(Net().fill(kind), seats.mesh(2))


def _tp_fsdp2(kind: str, seats: Seats) -> nn.Module:
    mesh = seats.mesh(2, 2)
    return _sharded(_tensor_parallel(Net().fill(kind), mesh["inner"]), mesh["outer"])


def _interleaved(kind: str, seats: Seats) -> nn.Module:
    """Strided shards that no torch wrapper makes: factors that are not the number of later parts."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor
    from torch.distributed.tensor.placement_types import _StridedShard

    net = Net().fill(kind)
    line, square = seats.mesh(4), seats.mesh(2, 2)
    choices: tuple[tuple[Any, list[Any]], ...] = (
        (line, [_StridedShard(0, split_factor=2)]),
        (square, [_StridedShard(0, split_factor=2), Replicate()]),
        (square, [Shard(0), _StridedShard(-1, split_factor=2)]),
    )
    for number, (name, param) in enumerate(list(net.named_parameters())):
        owner, _, leaf = name.rpartition(".")
        mesh, placements = choices[number % len(choices)] if param.shape[0] % 8 == 0 else (line, [Shard(0)])
        if param.ndim == 1 and mesh is square:
            placements = [_StridedShard(0, split_factor=4), Replicate()]
        spread = [
            _StridedShard(p.dim % param.ndim, split_factor=p.split_factor) if isinstance(p, _StridedShard) else p
            for p in placements
        ]
        setattr(net.get_submodule(owner), leaf, nn.Parameter(distribute_tensor(param.detach(), mesh, spread)))
    net.head.weight = net.embed.weight
    return net


def _pipeline(kind: str, seats: Seats) -> nn.Module:
    """Two stages under full names; the last one has its own copy of the embedding, as tied heads need it."""
    stages = (
        ("embed", "layers.0", "experts"),
        ("embed", "layers.1", "norm", "one", "head", "buffers"),
    )
    return Net(stages[seats.place]).fill(kind)


def _expert(kind: str, seats: Seats) -> nn.Module:
    half = EXPERTS // 2
    return Net(experts=(half * seats.place, half)).fill(kind)


def _expert_regions(place: int) -> dict[str, Any]:
    return {"model": {"experts.*": pyckpt.Shard(0, place, 2)}}


def _fsdp1(kind: str, seats: Seats) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(
        Net().fill(kind), use_orig_params=True, device_id=torch.device("cpu"), device_mesh=seats.mesh(2)
    )


@dataclass(frozen=True)
class Layout:
    """One way to lay the model out over ``size`` ranks."""

    size: int
    build: Build
    """The module on this rank of the seats, with values of a kind of the formula."""
    regions: Callable[[int], Mapping[str, Any]] = lambda place: {}
    """``layout=`` of the rank on a seat."""


LAYOUTS: dict[str, Layout] = {
    "one": Layout(1, _one),
    "ddp-2": Layout(2, _ddp),
    "fsdp1-2": Layout(2, _fsdp1),
    "fsdp2-2": Layout(2, _fsdp2(2)),
    "fsdp2-4": Layout(4, _fsdp2(4)),
    "fsdp2-columns-4": Layout(4, _fsdp2_columns),
    "hsdp-2x2": Layout(4, _fsdp2(2, 2)),
    "tp-2": Layout(2, _tp),
    "tp-fsdp2-2x2": Layout(4, _tp_fsdp2),
    "interleaved-4": Layout(4, _interleaved),
    "pp-2": Layout(2, _pipeline),
    "ep-2": Layout(2, _expert, _expert_regions),
}


def _optimizer(net: nn.Module, options: tuple[Mapping[str, float], ...]) -> torch.optim.AdamW:
    matrices, others = [], []
    for name, param in net.named_parameters():
        (matrices if "norm" not in name and not name.endswith("bias") else others).append(param)
    return torch.optim.AdamW([{"params": matrices, **options[0]}, {"params": others, **options[1]}])


def state_of(layout: str, seats: Seats | None = None) -> dict[str, Any]:
    """Model and optimizer in ``layout``, all values by the formula: the step count, moments and options too."""
    seats = Seats.all() if seats is None else seats
    build = LAYOUTS[layout].build
    net = build("param", seats)
    # A rate of zero makes the one real step create the state and change nothing.
    optimizer = _optimizer(net, ({"lr": 0.0}, {"lr": 0.0}))
    for param in net.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    optimizer.zero_grad()
    for group, options in zip(optimizer.param_groups, GROUPS, strict=True):
        group.update(options)
    with torch.no_grad():
        for kind in ("exp_avg", "exp_avg_sq"):
            for param, moment in zip(net.parameters(), build(kind, seats).parameters(), strict=True):
                optimizer.state[param][kind].copy_(moment)
        for values in optimizer.state.values():
            values["step"].fill_(STEP)
    return {"model": net, "optim": optimizer}


def target_of(layout: str, seats: Seats | None = None) -> dict[str, Any]:
    """Model of zeros and an optimizer that never stepped, in ``layout``."""
    net = LAYOUTS[layout].build("zero", Seats.all() if seats is None else seats)
    return {"model": net, "optim": _optimizer(net, ({"lr": 9.0}, {"lr": 9.0}))}


def reset(target: Mapping[str, Any]) -> None:
    """Makes a target that was filled what ``target_of`` gave."""
    net, optimizer = target["model"], target["optim"]
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            local_part(tensor).zero_()
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group.update({"lr": 9.0, "weight_decay": 0.01})


def local_part(value: Any) -> torch.Tensor:
    """What this rank has of a tensor."""
    from torch.distributed.tensor import DTensor

    value = value.detach()
    return value.to_local() if isinstance(value, DTensor) else value


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other) and one == other
    if type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
        return False
    if getattr(one, "placements", None) != getattr(other, "placements", None):
        return False
    a, b = local_part(one).contiguous().view(-1), local_part(other).contiguous().view(-1)
    return a.shape == b.shape and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def differences(got: Mapping[str, Any], want: Mapping[str, Any]) -> list[str]:
    """Names of everything on this rank that is not bit for bit the same in two states of one layout."""
    out = []
    net, reference = got["model"], want["model"]
    for what in ("named_parameters", "named_buffers"):
        pairs = zip(getattr(net, what)(), getattr(reference, what)(), strict=True)
        out += [name for (name, a), (other, b) in pairs if name != other or not _same(a, b)]
    optimizer, expected = got["optim"], want["optim"]
    for (name, a), b in zip(net.named_parameters(), reference.parameters(), strict=True):
        state, wanted = optimizer.state.get(a, {}), expected.state[b]
        if not state and not a.numel():
            continue  # FSDP1 leaves out the state of what it has no element of
        if set(state) != set(wanted):
            out.append(f"state of {name} is {sorted(state)}")
            continue
        out += [f"{key} of {name}" for key in wanted if not _same(state[key], wanted[key])]
    strangers = {id(param) for param in optimizer.state} - {id(param) for param in net.parameters()}
    if strangers:
        out.append(f"{len(strangers)} states of no parameter")
    for number, (a, b) in enumerate(zip(optimizer.param_groups, expected.param_groups, strict=True)):
        out += [f"option {key} of group {number}" for key in b if key != "params" and a.get(key) != b[key]]
        out += [f"unknown option {key} of group {number}" for key in a if key not in b]
    return out
