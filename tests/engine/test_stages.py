"""Tensors brought together in stages: the plan's bounds, and the order of filling and writing."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyckpt.engine.stages import in_stages
from pyckpt.engine.whole_plan import ALIGNMENT, plan_whole


@given(st.lists(st.integers(0, 500), max_size=40), st.integers(1, 6), st.sampled_from([1, 256, 1000, 10**6]))
def test_places_are_bounded_and_do_not_overlap(sizes, ranks, budget):
    places = plan_whole(sizes, ranks, budget=budget)
    assert len(places) == len(sizes)
    by_stage: dict[tuple[int, int], list[tuple[int, int]]] = {}
    loads = [0] * ranks
    for place, size in zip(places, sizes):
        loads[place.owner] += size
        by_stage.setdefault((place.owner, place.stage), []).append((place.offset, size))
    assert max(loads, default=0) <= sum(sizes) / ranks + max(sizes, default=0)
    for spans in by_stage.values():
        full = [span for span in spans if span[1]]
        for (first, size), (second, _) in zip(full, full[1:]):
            assert first + size <= second
            assert second % ALIGNMENT == 0
        # One tensor that is too large has a stage for itself.
        assert sum(size for _, size in full) <= budget // 2 or len(full) == 1
    for rank in range(ranks):
        stages = sorted({stage for owner, stage in by_stage if owner == rank})
        assert stages == list(range(len(stages)))


class Recorder:
    """Two slots of memory; writing reads the slot, filling overwrites it."""

    def __init__(self, count, fail_at=None):
        self.count = count
        self.slots = [None, None]
        self.filled = []
        self.fail_at = fail_at

    def fill(self, stage):
        if stage == self.fail_at:
            raise RuntimeError("lost a rank")
        self.slots[stage % 2] = stage
        self.filled.append(stage)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_stage_is_written_before_its_memory_is_used_again(count):
    stages = Recorder(count)

    def write(stage):
        time.sleep(0.01)
        assert stages.slots[stage % 2] == stage
        return stage

    assert in_stages(stages, write) == list(range(count))


def test_the_next_stage_is_filled_while_one_is_written():
    stages = Recorder(2)
    second = threading.Event()
    fill = stages.fill

    def filling(stage):
        fill(stage)
        if stage == 1:
            second.set()

    stages.fill = filling
    assert in_stages(stages, lambda stage: second.wait(10)) == [True, True]


def test_a_failed_write_is_raised_after_all_stages_were_filled():
    stages = Recorder(6)

    def write(stage):
        if stage == 1:
            raise OSError("disk full")
        return stage

    with pytest.raises(OSError, match="disk full"):
        in_stages(stages, write)
    assert stages.filled == list(range(6))


def test_a_failed_fill_is_raised_at_once():
    stages = Recorder(4, fail_at=2)
    with pytest.raises(RuntimeError, match="lost a rank"):
        in_stages(stages, lambda stage: stage)
    assert stages.filled == [0, 1]
