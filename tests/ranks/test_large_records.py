"""Conversations in which ranks say more than a store of torch takes as one value."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from pyckpt.engine.rounds import round_trip
from pyckpt.torch import group
from pyckpt.torch.group import coordinator_for

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]


def say(rank, sizes):
    coordinator = coordinator_for(f"say {sizes}", collective=None, timeout=30.0, silence=10.0)
    answers = []
    try:
        for size in sizes:
            own = bytes([rank + 1]) * size
            answers.append(round_trip(coordinator, "say", lambda own=own: own, b"".join))
    finally:
        coordinator.close()
    return [answer == b"\1" * size + b"\2" * size for answer, size in zip(answers, sizes, strict=True)]


def test_what_is_larger_than_one_value_goes_in_parts(ranks):
    unit = group.PART_BYTES
    sizes = [0, 3, unit - 1, unit, unit + 1, 2 * unit - 1, 9 << 20]
    assert ranks(2).run(say, sizes) == [[True] * len(sizes)] * 2
