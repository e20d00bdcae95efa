"""torch on top of the engine: modules, optimizers, schedulers and nested state as leaves and as targets."""

from __future__ import annotations

from pyckpt.torch.bind import BindOptions, FreshBinder, ObjectBinder, binders
from pyckpt.torch.collect import collect
from pyckpt.torch.layout import Declared, LocalShard, Shard, local_shard
from pyckpt.torch.optimizer import NamedOptimizer, with_model
from pyckpt.torch.per_rank import PerRank, per_rank
from pyckpt.torch.rng import RNG, rng_state

__all__ = [
    "RNG",
    "BindOptions",
    "Declared",
    "FreshBinder",
    "LocalShard",
    "NamedOptimizer",
    "ObjectBinder",
    "PerRank",
    "Shard",
    "binders",
    "collect",
    "local_shard",
    "per_rank",
    "rng_state",
    "with_model",
]
