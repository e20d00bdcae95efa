"""All mutants."""

from __future__ import annotations

from collections.abc import Iterator
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
    committers,  # the one that waits for a time limit is the first to start
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
    collectors,
    outages,
    restores,
)


def _all() -> Iterator[Mutant]:
    for module in _MODULES:
        yield from (value for value in vars(module).values() if isinstance(value, Mutant))


MUTANTS: Final = {each.name: each for each in _all()}
"""By name, in the order of the modules."""
assert len(MUTANTS) == len(list(_all())), "two mutants have one name"
