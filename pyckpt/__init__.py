"""pyckpt: sharded checkpoints of training state, written once, loaded into any layout, verified to the last byte.

``save``, ``save_async``, ``load``, ``reshard``, ``open``, ``verify``, ``list``, ``latest``, ``copy``, ``delete``,
``diff`` and ``gc`` are the calls; ``SaveOptions``, ``LoadOptions`` and ``ReshardOptions`` their choices.
``CheckpointManager`` decides when to save and what to keep. The format that they write is specified in ``spec/``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyckpt.version import __version__

if TYPE_CHECKING:
    from pyckpt.engine.background import SaveHandle
    from pyckpt.engine.checkpoint import Checkpoint, LazyTensor
    from pyckpt.engine.options import LoadOptions, ReshardOptions, SaveOptions
    from pyckpt.engine.report import CopyReport, LoadReport, SaveReport, VerifyReport
    from pyckpt.errors import PyckptError
    from pyckpt.facade import copy, delete, diff, gc, latest, load, load_report, save, save_async, verify
    from pyckpt.facade import list_ as list
    from pyckpt.facade import open_ as open
    from pyckpt.manager.events import Preempted
    from pyckpt.manager.manager import CheckpointManager
    from pyckpt.torch.layout import Declared, Shard, local_shard
    from pyckpt.torch.optimizer import with_model
    from pyckpt.torch.per_rank import per_rank
    from pyckpt.torch.reshard import Resharder, ReshardReport, reshard
    from pyckpt.torch.rng import RNG

__all__ = [
    "RNG",
    "Checkpoint",
    "CheckpointManager",
    "CopyReport",
    "Declared",
    "LazyTensor",
    "LoadOptions",
    "LoadReport",
    "Preempted",
    "PyckptError",
    "ReshardOptions",
    "ReshardReport",
    "Resharder",
    "SaveHandle",
    "SaveOptions",
    "SaveReport",
    "Shard",
    "VerifyReport",
    "__version__",
    "copy",
    "delete",
    "diff",
    "gc",
    "latest",
    "list",
    "load",
    "load_report",
    "local_shard",
    "open",
    "per_rank",
    "reshard",
    "save",
    "save_async",
    "verify",
    "with_model",
]

_HOMES = {
    "RNG": ("pyckpt.torch.rng", "RNG"),
    "Checkpoint": ("pyckpt.engine.checkpoint", "Checkpoint"),
    "CheckpointManager": ("pyckpt.manager.manager", "CheckpointManager"),
    "CopyReport": ("pyckpt.engine.report", "CopyReport"),
    "Declared": ("pyckpt.torch.layout", "Declared"),
    "LazyTensor": ("pyckpt.engine.checkpoint", "LazyTensor"),
    "LoadOptions": ("pyckpt.engine.options", "LoadOptions"),
    "LoadReport": ("pyckpt.engine.report", "LoadReport"),
    "Preempted": ("pyckpt.manager.events", "Preempted"),
    "PyckptError": ("pyckpt.errors", "PyckptError"),
    "ReshardOptions": ("pyckpt.engine.options", "ReshardOptions"),
    "ReshardReport": ("pyckpt.torch.reshard", "ReshardReport"),
    "Resharder": ("pyckpt.torch.reshard", "Resharder"),
    "SaveHandle": ("pyckpt.engine.background", "SaveHandle"),
    "SaveOptions": ("pyckpt.engine.options", "SaveOptions"),
    "SaveReport": ("pyckpt.engine.report", "SaveReport"),
    "Shard": ("pyckpt.torch.layout", "Shard"),
    "VerifyReport": ("pyckpt.engine.report", "VerifyReport"),
    "copy": ("pyckpt.facade", "copy"),
    "delete": ("pyckpt.facade", "delete"),
    "diff": ("pyckpt.facade", "diff"),
    "gc": ("pyckpt.facade", "gc"),
    "latest": ("pyckpt.facade", "latest"),
    "list": ("pyckpt.facade", "list_"),
    "load": ("pyckpt.facade", "load"),
    "load_report": ("pyckpt.facade", "load_report"),
    "local_shard": ("pyckpt.torch.layout", "local_shard"),
    "open": ("pyckpt.facade", "open_"),
    "per_rank": ("pyckpt.torch.per_rank", "per_rank"),
    "reshard": ("pyckpt.torch.reshard", "reshard"),
    "save": ("pyckpt.facade", "save"),
    "save_async": ("pyckpt.facade", "save_async"),
    "verify": ("pyckpt.facade", "verify"),
    "with_model": ("pyckpt.torch.optimizer", "with_model"),
}


def __getattr__(name: str) -> Any:
    """Brings a public name in when it is first used: a command that only prints help starts at once."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pyckpt' has no attribute {name!r}")
    value = getattr(import_module(home[0]), home[1])
    globals()[name] = value
    return value
