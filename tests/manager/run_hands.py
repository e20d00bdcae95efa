"""What others do to the store of a run: saves, deletions and collections by hand, time that goes by, damage."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

import pyckpt
from pyckpt.engine.collect import collect_garbage
from pyckpt.errors import Corrupt, NotFound, PyckptError, StoreError, UsageError
from tests.manager.run_model import Record
from tests.manager.run_saves import Saves, changed
from tests.manager.run_stores import STORES, picks

MARKS = {"object": ".safetensors", "manifest": "/manifest-", "root": "/checkpoint.json"}


class Hands(Saves):
    """Rules beside those of the manager."""

    @rule(changed=changed, reference=st.sampled_from([None, "newest", "any"]), carry=st.none() | picks, pick=picks)
    def save_by_hand(self, changed, reference, carry, pick):
        """A checkpoint that the manager doesn't know: it may refer to the manager's, and the next of those to it."""
        self.settle()
        there = self.everything()
        source = self.pick(there, carry) if carry is not None and there else None
        if reference == "any":
            reference = self.pick(there, pick).name if there else None
        values = self.next_values(changed)
        state = values.state()
        sources = {}
        if source is not None:
            del state["base"]
            sources = {"base": self.url(source)}
            values = type(values)(values.serial, values.frozen, values.adapter, source.values.base)
        new = Record(f"hand-{self.serial}", 0, values)
        options = pyckpt.SaveOptions(threads=1, block_bytes=4096, reference=reference)
        try:
            pyckpt.save(self.url(new), state, carry=sources, options=options)
        except (NotFound, Corrupt) as error:
            assert source is not None
            # An origin may have been deleted, or its deletion have begun, or nobody can tell.
            lost_root = error.code.startswith("root.") and any(each.damage == "root" for each in there)
            assert source.damage or lost_root or error.code in ("external.missing", "external.digest")
            return
        self.check_origins(new.name)
        if not self.holds(new):
            assert self.scars
            new.damage = "object"
            self.tainted = True
        self.hands.append(new)

    @rule(pick=picks, fail=st.none() | st.none() | st.integers(1, 2), when=st.sampled_from(["before", "after"]))
    def delete_by_hand(self, pick, fail, when):
        self.settle()
        if not self.everything():
            return
        record = self.pick(self.everything(), pick)
        self.arm(self.store, fail, when)
        try:
            pyckpt.delete(self.url(record))
        except StoreError:
            assert fail
        except Corrupt:
            assert record.damage == "root"
            self.disarm(self.store)
            # What a person does with a root that can't be read.
            self.inner.delete(f"{record.name}/checkpoint.json")
        self.disarm(self.store)
        gone = self.inner.info(f"{record.name}/checkpoint.json") is None
        assert gone or fail
        if gone:
            self.records = [each for each in self.records if each is not record]
            self.hands = [each for each in self.hands if each is not record]

    @rule(pick=picks, what=st.sampled_from(["object", "object", "manifest", "root"]), often=st.integers(0, 2))
    def damage(self, pick, what, often):
        """Changes a byte, perhaps one that other checkpoints refer to."""
        if often:
            return
        self.settle()
        sound = [each for each in [*self.everything(), self.other] if not each.damage]
        own = [each for each in sound if each is not self.other]
        if not own:
            return
        record = self.pick(own, pick)
        keys = {f"{record.name}/checkpoint.json"} if what == "root" else self.reached(record.name)
        key = self.pick(sorted(key for key in keys if MARKS[what] in key), pick)
        reaching = [each for each in sound if each is record or key in self.reached(each.name)]
        bytes_ = bytearray(self.inner.get(key, limit=1 << 24))
        # In an object, in any of the tensors: some are shared and some are not.
        data = 8 + int.from_bytes(bytes_[:8], "little") if what == "object" else len(bytes_) - 5
        bytes_[data + (len(bytes_) - 5 - data) * pick // 11] ^= 4
        self.inner.put(key, bytes_)
        for each in sound:
            assert pyckpt.verify(self.url(each)).ok == self.holds(each) or what == "root"
            if not self.holds(each):
                assert each in reaching
                each.damage = what
        assert record.damage or what == "object"
        self.scars = self.tainted = True

    @rule(seconds=st.sampled_from([10, 50, 100, 10**6]))
    def wait(self, seconds):
        self.settle()
        self.clock.ahead += seconds

    @rule(grace=st.sampled_from([0, 0, 30, 100]), fail=st.none() | st.none() | st.integers(1, 4), settled=st.booleans())
    def collect(self, grace, fail, settled):
        """By hand; with a grace that is long enough also while a save goes on."""
        if settled or grace < 100:
            self.settle()
        if self.flying:
            fail = None
        else:
            self.arm(self.store, fail, "before")
        try:
            pyckpt.gc(self.inner.url, grace=grace)
        except UsageError:
            # Where grace is left, also what a deleted checkpoint needs has to be known.
            assert any(each.damage in ("root", "manifest") for each in self.everything()) or (grace and self.scars)
            self.disarm(self.store) if not self.flying else None
            return
        except StoreError:
            assert fail
        if not self.flying and not self.disarm(self.store) and grace == 0:
            self.check_nothing_left(self.inner, [each.name for each in self.everything()])

    def check_nothing_left(self, inner, names):
        """The store has what these checkpoints need, what others put there, and perhaps tombstones."""
        needed = {f"{name}/checkpoint.json" for name in names}
        for name in [*names, *(["other-1"] if inner is self.inner else [])]:
            needed |= self.reached(name, inner)
        found = {info.key for info in inner.list("") if not info.key.startswith(".tombstones/")}
        assert needed <= found
        assert {key for key in found - needed if key not in self.foreign} == set()

    def clear_away(self, inner, records):
        """Deletes all of them; then nothing is left, but what never belonged to a checkpoint."""
        for name in records:
            try:
                pyckpt.delete(f"{inner.url}/{name}")
            except PyckptError:
                inner.delete(f"{name}/checkpoint.json")
        # Twice: a tombstone whose manifest is damaged goes when that has gone.
        for _ in range(2):
            collect_garbage(STORES[inner.url], grace=0)
        assert {info.key for info in inner.list("")} - self.foreign == set()
