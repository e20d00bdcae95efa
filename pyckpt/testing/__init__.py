"""Tests for backends: subclass a suite, say where an empty store is, and run pytest. See ``docs/own-storage.md``.

``StoreSuite`` is what pyckpt relies on in a store, ``CheckpointSuite`` what users do with whole checkpoints there, and
``RanksSuite`` the same from several processes. Needs pytest.
"""

from __future__ import annotations

from pyckpt.testing.checkpoints import CheckpointSuite
from pyckpt.testing.ranks import RanksSuite
from pyckpt.testing.stores import StoreSuite

__all__ = ["CheckpointSuite", "RanksSuite", "StoreSuite"]
