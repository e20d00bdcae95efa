"""All mutants."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from . import (
    blocks,
    collectors,
    committers,
    geometry,
    integrity,
    json_texts,
    manifests,
    outages,
    packed,
    restores,
    roots,
    stores,
    trees,
    trivial,
    writers,
)
from .mutant import Mutant

__all__ = ["MUTANTS"]

_MODULES: Final = (
    trivial,
    roots,
    json_texts,
    manifests,
    packed,
    trees,
    geometry,
    blocks,
    integrity,
    stores,
    writers,
    committers,
    collectors,
    outages,
    restores,
)


def _of(module: ModuleType) -> list[Mutant]:
    return [value for value in vars(module).values() if isinstance(value, Mutant)]


MUTANTS: Final = {each.name: each for module in _MODULES for each in _of(module)}
"""By name, in the order of the modules."""
