"""When to save, what to keep, how to resume: a manager over a store of checkpoints, and its policies."""

from __future__ import annotations

from pyckpt.manager.events import PassedOver, Preempted, Restored, RetentionReport, SaveEvent, TierEvent
from pyckpt.manager.keep import KeepBest, KeepEvery, KeepLast, KeepNamed, KeepPolicy, KeepYounger, Stored
from pyckpt.manager.manager import CheckpointManager
from pyckpt.manager.tier import Tier
from pyckpt.manager.when import (
    AtSteps,
    BeforePreemption,
    Every,
    EveryNSteps,
    Moment,
    Needs,
    OnFile,
    OnSignal,
    SavePolicy,
    all_of,
    any_of,
)

__all__ = [
    "AtSteps",
    "BeforePreemption",
    "CheckpointManager",
    "Every",
    "EveryNSteps",
    "KeepBest",
    "KeepEvery",
    "KeepLast",
    "KeepNamed",
    "KeepPolicy",
    "KeepYounger",
    "Moment",
    "Needs",
    "OnFile",
    "OnSignal",
    "PassedOver",
    "Preempted",
    "Restored",
    "RetentionReport",
    "SaveEvent",
    "SavePolicy",
    "Stored",
    "Tier",
    "TierEvent",
    "all_of",
    "any_of",
]
