"""Which kind of item a value makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pyckpt.torch.optimizer import NamedOptimizer
from pyckpt.torch.per_rank import PerRank
from pyckpt.torch.rng import RNG
from pyckpt.torch.values import has_state

__all__ = ["kind_of"]


def kind_of(value: Any) -> str:
    """``model``, ``optimizer``, ``scheduler``, ``rng``, ``dataloader`` or ``other``."""
    if isinstance(value, PerRank):
        return kind_of(value.value)
    if isinstance(value, nn.Module):
        return "model"
    if isinstance(value, (torch.optim.Optimizer, NamedOptimizer)):
        return "optimizer"
    if isinstance(value, RNG):
        return "rng"
    if isinstance(value, Mapping):
        return "model" if value and all(isinstance(v, torch.Tensor) for v in value.values()) else "other"
    if has_state(value):
        names = [base.__name__ for base in type(value).__mro__]
        if isinstance(value, torch.optim.lr_scheduler.LRScheduler) or any("Scheduler" in name for name in names):
            return "scheduler"
        if callable(getattr(value, "__iter__", None)) and any("Loader" in name for name in names):
            return "dataloader"
    return "other"
