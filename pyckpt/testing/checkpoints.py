"""The tests of whole checkpoints in a store, by one process."""

# ruff: noqa: D102  the name of a test says what it checks
from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
import pytest

import pyckpt
from pyckpt.engine.coordinator import Coordinator, Single
from pyckpt.engine.leaves import ItemState, Piece, TensorLeaf
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.engine.report import SaveReport
from pyckpt.engine.save import Request, save
from pyckpt.errors import AlreadyExists, NotFound
from pyckpt.format.geometry import Box, Region
from pyckpt.format.keys import attempt_marker_key, join, root_key
from pyckpt.numpy import ArraySource, collect_numpy
from pyckpt.storage.url import checkpoint_url, open_store, split_url
from pyckpt.testing.objects import outcome, refuses, write_object
from pyckpt.testing.writers import thread_coordinators, together

__all__ = ["CheckpointSuite", "same", "sample_state"]

_NUMPY = LoadOptions(framework="numpy")
_PROGRAM = ("pyckpt.testing", "1")


def sample_state(seed: int = 0, elements: int = 20_000) -> dict[str, Any]:
    """Give two items of arrays and values, the same for the same seed."""
    rng = np.random.default_rng(seed)
    model = {
        "weight": rng.standard_normal((elements // 100, 100)).astype(np.float32),
        "half": rng.standard_normal(9001).astype(np.float16),
        "bytes": rng.integers(0, 256, 50_001, dtype=np.uint8),
        "scalar": np.array(3.5 + seed, np.float32),
        "empty": np.zeros((0, 4), np.int16),
    }
    return {"model": model, "data": {"step": seed, "list": [1, (2.5, None)], "order": np.arange(5) + seed}}


def same(a: object, b: object) -> bool:
    """Tell whether two states are equal bit for bit."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


class CheckpointSuite:
    """What users do with checkpoints: save, load, reshard, list, delete, collect, copy, and leave it to a manager.

    A subclass gives the fixture ``store_url``, the URL of an empty store that is new for each test.
    """

    weak: ClassVar[bool] = False
    """The store does not honour create-if-absent, and says so (``conditional_put`` is ``emulated``)."""
    clock_seconds: ClassVar[float] = 0.0
    """How coarse the store's clock is: what is younger than that is not collected yet, and the tests wait for it."""
    elements: ClassVar[int] = 20_000
    """Of the largest tensor; more than a part of an upload where the store has such."""

    @property
    def save_options(self) -> SaveOptions:
        """Options that a save takes on this store."""
        return SaveOptions(accept_weak_store=self.weak)

    def test_what_is_saved_comes_back(self, store_url: str) -> None:
        state = sample_state(1, self.elements)
        url = checkpoint_url(store_url, "step_1")
        report = pyckpt.save(
            url, state, metadata={"step": 1}, assets={"model": {"config.json": b"{}"}}, options=self.save_options
        )
        assert report.weak is self.weak
        assert same(pyckpt.load(url, options=_NUMPY), state)
        target = {"model": {name: np.zeros_like(array) for name, array in state["model"].items()}}
        pyckpt.load(url, into=target)
        assert same(target["model"], state["model"])
        opened = pyckpt.open(url, framework="numpy")
        assert opened.metadata["step"] == 1
        assert opened.asset("model", "config.json") == b"{}"
        found = pyckpt.verify(url)
        assert found.ok, found.findings
        assert not [info.key for info in open_store(store_url).list("step_1/") if "attempt" in info.key]

    def test_a_name_is_used_once(self, store_url: str) -> None:
        first = sample_state(1)
        url = checkpoint_url(store_url, "step_1")
        report = pyckpt.save(url, first, options=self.save_options)
        refuses(AlreadyExists, lambda: pyckpt.save(url, sample_state(2), options=self.save_options))
        assert same(pyckpt.load(url, options=_NUMPY), first)
        assert pyckpt.open(url).digest == report.digest

    def test_slices(self, store_url: str) -> None:
        state = sample_state(3, self.elements)
        pyckpt.save(checkpoint_url(store_url, "s"), state, options=self.save_options)
        model = pyckpt.open(checkpoint_url(store_url, "s"), framework="numpy")["model"]
        weight = state["model"]["weight"]
        for where in (np.s_[0:1, :], np.s_[17:101, 3:50], np.s_[len(weight) - 1 : len(weight), 99:100]):
            assert same(model["weight"][where], weight[where])

    def test_four_writers_and_any_reader(self, store_url: str) -> None:
        rng = np.random.default_rng(5)
        weight = rng.standard_normal((203, 64)).astype(np.float32)
        bounds = (0, 50, 100, 150, 203)
        store = open_store(store_url)

        def write(coordinator: Coordinator) -> SaveReport:
            first, last = bounds[coordinator.rank], bounds[coordinator.rank + 1]
            piece = Piece(Region.of_box(Box((first, 0), (last - first, 64))), ArraySource(weight[first:last]))
            leaf = TensorLeaf("F32", weight.shape, (piece,), (), claimed=False)
            request = Request(lambda: [ItemState("model", "model", {"w": leaf})], {}, {}, _PROGRAM)
            return save(store, "step", request, options=self.save_options, coordinator=coordinator)

        reports = together(thread_coordinators(4), write)
        assert all(isinstance(each, SaveReport) for each in reports), reports
        assert pyckpt.verify(checkpoint_url(store_url, "step")).ok
        assert same(pyckpt.load(checkpoint_url(store_url, "step"), options=_NUMPY)["model"]["w"], weight)
        opened = pyckpt.open(checkpoint_url(store_url, "step"), framework="numpy")["model"]["w"]
        for first, last in ((0, 22), (22, 43), (43, 64)):
            assert same(opened[:, first:last], weight[:, first:last])

    def test_two_savers_of_one_name(self, store_url: str) -> None:
        if self.weak:
            pytest.skip("the store does not promise it")
        store = open_store(store_url)
        start = threading.Barrier(2)
        reports: list[SaveReport] = []

        def race(seed: int) -> None:
            request = Request(lambda: collect_numpy(sample_state(seed)), {}, {}, _PROGRAM)
            start.wait()
            reports.append(save(store, "step", request, options=self.save_options, coordinator=Single()))

        errors: list[BaseException | None] = [None, None]

        def run(seed: int) -> None:
            errors[seed] = outcome(lambda: race(seed))

        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lost = [error for error in errors if error is not None]
        assert len(reports) == 1
        assert len(lost) == 1
        assert isinstance(lost[0], AlreadyExists), lost[0]
        assert pyckpt.open(checkpoint_url(store_url, "step")).digest == reports[0].digest
        assert pyckpt.verify(checkpoint_url(store_url, "step")).ok

    def test_newest_first(self, store_url: str) -> None:
        assert pyckpt.list(store_url) == []
        assert pyckpt.latest(store_url) is None
        for name in ("step_2", "step_10", "step_3"):
            pyckpt.save(checkpoint_url(store_url, name), sample_state(), options=self.save_options)
        assert [split_url(url)[1] for url in pyckpt.list(store_url)] == ["step_3", "step_10", "step_2"]
        assert pyckpt.latest(store_url) == checkpoint_url(store_url, "step_3")

    def test_delete_and_collect(self, store_url: str) -> None:
        for seed in (1, 2):
            pyckpt.save(checkpoint_url(store_url, f"step_{seed}"), sample_state(seed), options=self.save_options)
        store = open_store(store_url)
        write_object(store, join("step_3", "model/0123456789abcdef-00000.safetensors"), b"left by a save that died")
        store.put(join("step_3", attempt_marker_key("0123456789abcdef")), b"{}")
        store.put("step_1/notes.txt", b"another's")
        pyckpt.delete(checkpoint_url(store_url, "step_1"))
        refuses(NotFound, lambda: pyckpt.load(checkpoint_url(store_url, "step_1")))
        assert pyckpt.gc(store_url).keys == ()
        time.sleep(self.clock_seconds)
        doomed = pyckpt.gc(store_url, grace=0, dry_run=True).keys
        assert {key.split("/")[0] for key in doomed} == {"step_1", "step_3", ".tombstones"}
        assert pyckpt.gc(store_url, grace=0).keys == doomed
        assert [info.key for info in store.list("") if not info.key.startswith("step_2/")] == ["step_1/notes.txt"]
        assert pyckpt.gc(store_url, grace=0).keys == ()
        assert same(pyckpt.load(checkpoint_url(store_url, "step_2"), options=_NUMPY), sample_state(2))
        pyckpt.save(checkpoint_url(store_url, "step_1"), sample_state(3), options=self.save_options)
        assert pyckpt.verify(checkpoint_url(store_url, "step_1")).ok

    def test_manager(self, store_url: str) -> None:
        def manager() -> pyckpt.CheckpointManager:
            return pyckpt.CheckpointManager(
                store_url,
                save_every_n_steps=2,
                keep_last_n=2,
                verify_saved="deep",
                grace=timedelta(0),
                options=self.save_options,
            )

        state = {"model": {"w": np.zeros(1000)}}
        with manager() as saving:
            assert saving.restore(state).fresh
            for step in range(1, 8):
                state["model"]["w"] += step
                saving.step(step, state, {"loss": 1 / step})
        assert [split_url(url)[1] for url in pyckpt.list(store_url)] == ["step-00000006", "step-00000004"]
        if self.clock_seconds:
            time.sleep(self.clock_seconds)
            pyckpt.gc(store_url, grace=0)
        store = open_store(store_url)
        assert {key.split("/")[0] for key in (info.key for info in store.list(""))} <= {
            "step-00000004", "step-00000006", ".tombstones",
        }  # fmt: skip
        fresh = {"model": {"w": np.zeros(1000)}}
        with manager() as resuming:
            assert resuming.restore(fresh).step == 6
        assert (fresh["model"]["w"] == 21).all()
        store.put(root_key("step-00000006"), b"damaged")
        with manager() as resuming:
            found = resuming.restore(fresh)
        assert found.step == 4
        assert [each.name for each in found.passed] == ["step-00000006"]
        assert (fresh["model"]["w"] == 10).all()

    def test_copy(self, store_url: str) -> None:
        copy = getattr(pyckpt, "copy", None)
        if copy is None:
            pytest.skip("this version of pyckpt has no copy")
        state = sample_state(4, self.elements)
        source, target = (checkpoint_url(checkpoint_url(store_url, name), "step") for name in ("from", "to"))
        report = pyckpt.save(source, state, options=self.save_options)
        copy(source, target, accept_weak_store=self.weak)
        assert pyckpt.open(target).digest == report.digest
        assert same(pyckpt.load(target, options=_NUMPY), state)
