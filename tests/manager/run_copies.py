"""Copies to a second store, verbatim and standalone, that break off and go on, as rules of the random histories."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

import pyckpt
from pyckpt.engine.listing import list_checkpoints
from pyckpt.errors import AlreadyExists, Corrupt, NotFound, SaveAborted, StoreError
from tests.manager.run_hands import Hands
from tests.manager.run_stores import picks


class Copies(Hands):
    """What is in the second store stays, whatever becomes of the first: ``copies`` has name -> record, source's digest."""

    @rule(
        pick=picks,
        how=st.sampled_from(["verbatim", "verbatim", "renamed", "standalone"]),
        verify=st.booleans(),
        fail=st.none() | st.integers(1, 25),
        when=st.sampled_from(["before", "after"]),
        stays=st.booleans(),
        again=st.booleans(),
    )
    def copy(self, pick, how, verify, fail, when, stays, again):
        """One that is broken off, as if it was killed where the fault ``stays``, is perhaps done ``again`` at once."""
        self.settle()
        if not self.everything():
            return
        record = self.pick(self.everything(), pick)
        name = {"verbatim": record.name, "renamed": f"as-{record.name}", "standalone": f"alone-{record.name}"}[how]
        self.arm(self.target, fail, when, stays=stays)
        done = self.copy_once(record, name, how, verify, fail)
        self.disarm(self.target)
        if not done and again and not record.damage:
            report = self.copy_once(record, name, how, True, None)
            if report is not None and how != "standalone" and not report.already_there:
                total = report.sent + report.found
                size = len(self.target_inner.get(f"{name}/checkpoint.json", limit=1 << 24))
                assert total == size + sum(self.size(key, record.name, name) for key in self.reached(record.name))

    def size(self, key, name, renamed):
        there = f"{renamed}/{key[len(name) + 1 :]}" if key.startswith(f"{name}/") else key
        return self.target_inner.info(there).size

    def copy_once(self, record, name, how, verify, fail):
        """The report, or None where it ended in an error that had to be."""
        alone = how == "standalone"
        root = self.root(record.name)
        known = self.copies.get(name)
        try:
            report = pyckpt.copy(
                self.url(record), f"{self.target_inner.url}/{name}", standalone=alone, verify=verify, threads=1
            )
        except AlreadyExists:
            assert known is not None
            assert root is None or known[1] != root.digest
            return None
        except (Corrupt, NotFound):
            assert record.damage
            assert known is None or root is None or known[1] != root.digest
            return None
        except (StoreError, SaveAborted):
            assert fail
            if name in self.copies or self.root(name, self.target_inner) is None:
                return None
            report = None
        assert root is not None
        assert report is None or alone or report.digest == root.digest
        assert report is None or not report.already_there or known is not None or fail
        if known is None:
            # One that is damaged by now may be made whole by what the target has of an earlier copy.
            self.copies[name] = record, root.digest
        else:
            assert known[1] == root.digest
        made = self.root(name, self.target_inner)
        assert not (alone and made.external)
        assert self.holds(self.copies[name][0], self.target_inner, name)
        return report

    @rule(pick=picks, fail=st.none() | st.none() | st.integers(1, 2), when=st.sampled_from(["before", "after"]))
    def delete_copy(self, pick, fail, when):
        if not self.copies:
            return
        name = self.pick(sorted(self.copies), pick)
        self.arm(self.target, fail, when)
        try:
            pyckpt.delete(f"{self.target_inner.url}/{name}")
        except StoreError:
            assert fail
        self.disarm(self.target)
        if self.root(name, self.target_inner) is None:
            del self.copies[name]
        else:
            assert fail

    @rule(grace=st.sampled_from([0, 0, 30]), fail=st.none() | st.none() | st.integers(1, 4))
    def collect_copies(self, grace, fail):
        self.arm(self.target, fail, "before")
        try:
            pyckpt.gc(self.target_inner.url, grace=grace)
        except StoreError:
            assert fail
        if not self.disarm(self.target) and grace == 0:
            self.check_nothing_left(self.target_inner, list(self.copies))

    def check_copies(self):
        assert {each.name for each in list_checkpoints(self.target_inner)} == set(self.copies)
        self.times.clear()
        for name, (record, _) in self.copies.items():
            assert self.holds(record, self.target_inner, name), name
