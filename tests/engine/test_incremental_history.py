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
NAMES = "abcd"
SIZES = {"one": 3, "two": 1500, "three": 4096, "four": 0}
numbers = itertools.count()

values = st.fixed_dictionaries({name: st.integers(0, 2) for name in SIZES})
saves = st.tuples(
    st.just("save"),
    st.sampled_from(NAMES),
    values,
    st.sampled_from([None, "newest", *NAMES]),
    st.sampled_from(["none", "zstd"]),
    st.booleans(),
    st.none() | st.sampled_from(NAMES),
    st.none() | st.sampled_from(NAMES),
)
"""Name, value of each tensor, reference, codec, in the background, carry an item from, delete while it runs."""
others = st.tuples(st.just("delete"), st.sampled_from(NAMES)) | st.tuples(st.just("collect"))


def filled(chosen):
    """Tensors of the chosen values; a value changes either everywhere or in the last element."""
    tree = {}
    for name, value in chosen.items():
        tree[name] = np.full(SIZES[name], value // 2, np.float64)
        if SIZES[name]:
            tree[name][-1] = value
    return {"x": tree}


def same(loaded, expected):
    return loaded.keys() == expected.keys() and all(
        loaded[item][name].tobytes() == value.tobytes() for item in expected for name, value in expected[item].items()
    )


class Run:
    """A store, and what the checkpoints that should be in it hold."""

    def __init__(self):
        self.store = MemoryStore(f"incremental-{next(numbers)}")
        self.expected = {}

    def url(self, name):
        return f"{self.store.url}/{name}"

    def delete(self, name):
        if self.expected.pop(name, None) is not None:
            pyckpt.delete(self.url(name))

    def collect(self):
        pyckpt.gc(self.store.url, grace=0)

    def save(self, name, chosen, reference, codec, background, source, victim):
        before = dict(self.expected)

        def progress(done, total):
            if victim is not None:
                self.delete(victim)

        options = pyckpt.SaveOptions(
            reference=reference, codec=codec, block_bytes=4096, threads=1, progress=progress, collective=False
        )
        state, carry = filled(chosen), None if source is None else {"carried": (source, "x")}
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
        self.expected[name] = {**state, **({} if source is None else {"carried": before[source]["x"]})}

    def check(self):
        assert sorted(pyckpt.list(self.store.url)) == sorted(map(self.url, self.expected))
        for name, expected in self.expected.items():
            assert same(pyckpt.load(self.url(name), options=NUMPY), expected)


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(st.lists(saves | saves | others, min_size=3, max_size=14))
def test_what_exists_loads_bit_for_bit(history):
    run = Run()
    try:
        for what, *how in history:
            getattr(run, what)(*how)
            run.check()
        for name in list(run.expected):
            assert pyckpt.verify(run.url(name)).ok
            run.delete(name)
            run.collect()
            run.check()
        run.collect()
        assert [info.key for info in run.store.list("")] == []
    finally:
        run.store.clear()
