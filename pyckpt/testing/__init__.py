"""Tests for backends: subclass a suite, say where an empty store is, and run pytest. See ``docs/own-storage.md``.

``StoreSuite`` is what pyckpt relies on in a store, ``CheckpointSuite`` what users do with whole checkpoints there, and
``RanksSuite`` the same from several processes. They need pytest; ``pyckpt.testing.writers`` and ``.objects`` do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyckpt.testing.checkpoints import CheckpointSuite
    from pyckpt.testing.ranks import RanksSuite
    from pyckpt.testing.stores import StoreSuite

__all__ = ["CheckpointSuite", "RanksSuite", "StoreSuite"]

_HOMES = {
    "CheckpointSuite": "pyckpt.testing.checkpoints",
    "RanksSuite": "pyckpt.testing.ranks",
    "StoreSuite": "pyckpt.testing.stores",
}


def __getattr__(name: str) -> Any:
    """Brings a suite in when it is first used: programs that only want writers have no pytest."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pyckpt.testing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
