"""Two stores that fail, one of the run and one for copies, and what is asked of them: shared by the random histories."""

from __future__ import annotations

import itertools
import time

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

import pyckpt
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.open import descriptor_key, load_item, open_root
from pyckpt.errors import PyckptError
from pyckpt.storage.memory import MemoryStore
from tests.manager.run_model import Values, same
from tests.storage.faulty import FaultyStore

NUMPY = pyckpt.LoadOptions(framework="numpy", threads=1)
FOREIGN = {"other-1/notes.txt": b"mine", "step-1/model/notes.txt": b"not eight digits", "step-00000003/log.txt": b"log"}
STORES = {}
"""URL -> the faulty store that the library gets for it."""
numbers = itertools.count()
picks = st.integers(0, 11)


class Clock:
    """Stands in for the module ``time`` in stores of memory; can be put forward."""

    def __init__(self):
        self.ahead = 0.0

    def time(self):
        return time.time() + self.ahead


class Stores(RuleBasedStateMachine):
    """The stores of one history."""

    def open_stores(self):
        number = next(numbers)
        self.inner, self.store = self.opened(f"history-{number}")
        self.target_inner, self.target = self.opened(f"history-{number}-copies")
        for key, data in FOREIGN.items():
            self.inner.put(key, data)
        self.serial = 0
        self.parts = {"frozen": 0, "adapter": 0, "base": 0}
        self.records, self.hands, self.copies, self.times = [], [], {}, {}

    def opened(self, name):
        inner = MemoryStore(name)
        STORES[inner.url] = store = FaultyStore(inner, count_only=True)
        return inner, store

    def close_stores(self):
        for inner in (self.inner, self.target_inner):
            inner.clear()
            del STORES[inner.url]

    def next_values(self, changed):
        self.serial += 1
        for part in changed:
            self.parts[part] = self.serial
        return Values(self.serial, **self.parts)

    def everything(self):
        """All that should be in the store of the run."""
        return [*self.records, *self.hands]

    def pick(self, records, number):
        """One of them; whatever there is, what is drawn is the same, or a history that ends otherwise counts as flaky."""
        return records[number % len(records)]

    def url(self, record):
        return f"{self.inner.url}/{record.name}"

    def is_own(self, name):
        return name.startswith("step-")

    def names(self):
        """Names of this pattern with a root, damaged ones as well."""
        return {each.name for each in list_checkpoints(self.inner) if self.is_own(each.name)}

    def root(self, name, store=None):
        """The root of this name, if there is one that can be read."""
        try:
            return open_root(store or self.inner, name).root
        except PyckptError:
            return None

    def external(self, name):
        root = self.root(name)
        return set() if root is None else {each.checkpoint for each in root.external}

    def check_origins(self, name):
        """All that a new checkpoint refers to stands."""
        root = self.root(name)
        for origin in root.external:
            assert self.root(origin.checkpoint).digest == origin.digest

    def reached(self, name, store=None):
        """Keys in use by a checkpoint whose root can be read, the root apart."""
        store = store or self.inner
        root = self.root(name, store)
        keys = set()
        for item, entry in root.items.items():
            keys |= {descriptor_key(name, entry.manifest), *load_item(store, name, item, root).object_keys}
        return keys

    def holds(self, record, store=None, name=None):
        """Whether it loads bit for bit; looked at again only if anything that it reaches has been written since."""
        store, name = store or self.inner, name or record.name
        case = store.url, name, record.values
        if case in self.times and self.times[case] == self.written(store, self.times[case]):
            return True
        if not self.loads(f"{store.url}/{name}", record.values.state()):
            return False
        self.times[case] = self.written(store, {f"{name}/checkpoint.json", *self.reached(name, store)})
        return True

    def written(self, store, keys):
        """When each of them was written."""
        found = {key: store.info(key) for key in keys}
        return {key: None if info is None else info.modified for key, info in found.items()}

    def loads(self, url, expected):
        try:
            return same(pyckpt.load(url, options=NUMPY), expected)
        except PyckptError:
            return False

    def arm(self, store, fail, when, *, stays=False):
        store.when, store.stays = when, stays
        store.fail_at = None if fail is None else store.count + fail

    def disarm(self, store):
        """Whether the fault has struck."""
        struck = store.fail_at is not None and store.count >= store.fail_at
        store.fail_at = None
        return struck
