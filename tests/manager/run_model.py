"""What a run has saved and what retention has to leave of it, worked out with nothing of the library."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

LAST, EVERY = 2, 5
VARIABLE = ("frozen", "adapter")
"""Tensors of the model that only some saves change; ``w`` is another one in every save."""


@dataclass(frozen=True)
class Values:
    """A state, as the numbers that it is made from."""

    serial: int
    frozen: int
    adapter: int
    base: int

    def state(self):
        """Blocks of 4 KiB that belong to no other number."""
        model = {"w": _numbers(1500, self.serial), "none": np.zeros((0, 2))}
        model |= {name: _numbers(2500, 10**8 + getattr(self, name)) for name in VARIABLE}
        return {"model": model, "base": {"b": _numbers(1200, 2 * 10**8 + self.base)}, "note": {"serial": self.serial}}


def _numbers(count, start):
    return np.arange(count, dtype=np.uint32) * 7 + np.uint32(start)


def blank():
    state = Values(0, 0, 0, 0).state()
    for item in ("model", "base"):
        for array in state[item].values():
            array[...] = 0
    state["note"]["serial"] = -1
    return state


def same(loaded, expected):
    return loaded.keys() == expected.keys() and all(
        loaded[item].keys() == values.keys()
        and all(
            loaded[item][name].tobytes() == value.tobytes() if isinstance(value, np.ndarray) else loaded[item][name] == value
            for name, value in values.items()
        )
        for item, values in expected.items()
    )


@dataclass
class Record:
    """A checkpoint that exists, as the model has it."""

    name: str
    step: int
    values: Values
    loss: float = math.nan
    pinned: bool = False
    damage: str = ""


def kept(records, overlooked=()):
    """Names that stay after a save, worked out for the last of ``records``."""
    counted = [each for each in records if each.name not in overlooked and each.damage != "root"]
    best = min(
        (each for each in counted if not math.isnan(each.loss)), key=lambda each: (each.loss, -counted.index(each)), default=None
    )
    names = {each.name for each in counted[-LAST:]} | {each.name for each in counted if each.step % EVERY == 0}
    return names | {each.name for each in records if each.pinned} | ({best.name} if best else set())


def always_kept(base, new, overlooked):
    """Names that stay whichever of the new ones were seen by retention."""
    states = [base + list(seen) for count in range(len(new) + 1) for seen in itertools.combinations(new, count)]
    stay = set.intersection(*(kept(state, overlooked) | {each.name for each in new} for state in states))
    loose = {each.name for each in new} - kept([*base, *new], overlooked)
    return (stay | {each.name for each in base if each.damage == "root"}) - loose
