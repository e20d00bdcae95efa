"""pyckpt: sharded checkpoints of training state, written once, loaded into any layout, verified to the last byte.

``save``, ``load``, ``open``, ``verify``, ``list``, ``latest``, ``delete``, ``diff`` and ``gc`` are the calls;
``SaveOptions`` and ``LoadOptions`` their choices. The format that they write is specified in ``spec/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyckpt.engine.checkpoint import Checkpoint, LazyTensor
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.engine.report import LoadReport, SaveReport, VerifyReport
from pyckpt.errors import PyckptError
from pyckpt.facade import delete, diff, gc, latest, load, load_report, save, verify
from pyckpt.facade import list_ as list
from pyckpt.facade import open_ as open
from pyckpt.version import __version__

if TYPE_CHECKING:
    from pyckpt.torch.layout import Shard, local_shard
    from pyckpt.torch.optimizer import with_model
    from pyckpt.torch.per_rank import per_rank
    from pyckpt.torch.rng import RNG

__all__ = [
    "RNG",
    "Checkpoint",
    "LazyTensor",
    "LoadOptions",
    "LoadReport",
    "PyckptError",
    "SaveOptions",
    "SaveReport",
    "Shard",
    "VerifyReport",
    "__version__",
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
    "save",
    "verify",
    "with_model",
]


def __getattr__(name: str) -> Any:
    """Names that need torch, brought in when they are first used."""
    if name == "RNG":
        from pyckpt.torch.rng import RNG as found
    elif name == "Shard":
        from pyckpt.torch.layout import Shard as found  # type: ignore[assignment]
    elif name == "local_shard":
        from pyckpt.torch.layout import local_shard as found  # type: ignore[assignment]
    elif name == "per_rank":
        from pyckpt.torch.per_rank import per_rank as found  # type: ignore[assignment]
    elif name == "with_model":
        from pyckpt.torch.optimizer import with_model as found  # type: ignore[assignment]
    else:
        raise AttributeError(f"module 'pyckpt' has no attribute {name!r}")
    return found
