"""The area ``state``: training state that is restored (chapter 16)."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case
from . import state_model, state_optimizer, state_rng, state_values

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All of them."""
    for module in (state_model, state_optimizer, state_values, state_rng):
        yield from module.cases()
