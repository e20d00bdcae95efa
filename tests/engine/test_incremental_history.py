"""Random histories of saves that reference each other, of deletions and collections: what exists loads bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyckpt
from pyckpt.errors import PyckptError
from pyckpt.storage.memory import MemoryStore

NUMPY = pyckpt.LoadOptions(framework="numpy", threads=1)
SIZES = {"one": 3, "two": 1500, "three": 4096, "four": 0}
numbers = itertools.count()

picks = st.integers(0, 30)
"""One of the checkpoints that there are."""
saves = st.tuples(
    st.just("save"),
    st.frozensets(st.sampled_from(list(SIZES)), max_size=2),
    st.just("newest") | st.none() | picks,
    st.sampled_from(["none", "none", "zstd"]),
    st.booleans(),
    st.none() | picks,
    st.none() | st.none() | picks,
    st.none() | st.none() | picks,
)
"""Tensors that change, reference, codec, in the background, carry from, delete while it runs, name to use again."""
others = st.tuples(st.just("delete"), picks) | st.tuples(st.just("collect"))


def same(loaded, expected):
    return loaded.keys() == expected.keys() and all(
        loaded[item][name].tobytes() == value.tobytes() for item in expected for name, value in expected[item].items()
    )


class Run:
    """A store, and what the checkpoints that should be in it hold."""

    def __init__(self):
        self.store = MemoryStore(f"incremental-{next(numbers)}")
        self.expected = {}
        self.names = []
        self.steps = dict.fromkeys(SIZES, 0)

    def url(self, name):
        return f"{self.store.url}/{name}"

    def pick(self, number):
        names = list(self.expected)
        return names[number % len(names)] if number is not None and names else None

    def delete(self, number):
        name = self.pick(number)
        if name is not None:
            del self.expected[name]
            pyckpt.delete(self.url(name))

    def collect(self):
        pyckpt.gc(self.store.url, grace=0)

    def state(self):
        """A step changes a tensor everywhere or, every other time, in the last element alone."""
        tree = {}
        for name, step in self.steps.items():
            tree[name] = np.full(SIZES[name], step // 2, np.float64)
            tree[name][SIZES[name] - 1 :] = step
        return {"x": tree}

    def save(self, changed, reference, codec, background, source, victim, again):
        for each in changed:
            self.steps[each] += 1
        name = self.names[again % len(self.names)] if again is not None and self.names else f"c{len(self.names)}"
        before = dict(self.expected)
        if reference != "newest":
            reference = self.pick(reference)
        source, victims = self.pick(source), [] if victim is None else [victim]

        def progress(done, total):
            if victims:
                self.delete(victims.pop())

        options = pyckpt.SaveOptions(
            reference=reference, codec=codec, block_bytes=4096, threads=1, progress=progress, collective=False
        )
        state, carry = self.state(), None if source is None else {"carried": (source, "x")}
        try:
            if background:
                pyckpt.save_async(self.url(name), state, carry=carry, options=options).wait(60)
            else:
                pyckpt.save(self.url(name), state, carry=carry, options=options)
        except PyckptError as error:
            if error.code == "checkpoint.exists":
                assert name in before
            else:
                assert source is not None
                assert error.code in ("checkpoint.missing", "external.missing", "external.digest")
            return
        assert name not in before
        self.names.append(name)
        self.expected[name] = {**state, **({} if source is None else {"carried": before[source]["x"]})}

    def check(self):
        assert sorted(pyckpt.list(self.store.url)) == sorted(map(self.url, self.expected))
        for name, expected in self.expected.items():
            assert same(pyckpt.load(self.url(name), options=NUMPY), expected)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.lists(saves | saves | others, min_size=6, max_size=12))
def test_what_exists_loads_bit_for_bit(history):
    run = Run()
    try:
        for what, *how in history:
            getattr(run, what)(*how)
            run.check()
        for name in list(run.expected):
            assert pyckpt.verify(run.url(name)).ok
            run.delete(0)
            run.collect()
            run.check()
        run.collect()
        assert [info.key for info in run.store.list("")] == []
    finally:
        run.store.clear()
