"""Random histories of a run over stores that fail: what was acknowledged and should be kept is there, bit for bit.

A manager saves, refers, deletes and collects; others save, delete, collect and damage beside it, and copy to a second
store. The model (``run_model``) knows nothing of the library's code: it keeps a list of what was committed, in order,
and works out by itself what retention has to leave. ``PYCKPT_HISTORIES`` says how many, ``PYCKPT_SEED`` which.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, run_state_machine_as_test

import pyckpt
from tests.manager.run_copies import Copies
from tests.manager.run_model import Record, Values, always_kept
from tests.manager.run_saves import OPTIONS
from tests.manager.run_stores import FOREIGN, STORES, Clock

HISTORIES = int(os.environ.get("PYCKPT_HISTORIES", "40"))
SEED = os.environ.get("PYCKPT_SEED")
PHASES = [Phase.generate]
"""Making a failure smaller takes minutes, with nothing on the screen; set all phases by hand where that is wanted."""


class History(Copies):
    """Two stores, one manager at a time."""

    clock = Clock()

    @initialize(background=st.booleans(), referring=st.booleans())
    def begin(self, background, referring):
        self.open_stores()
        self.other = Record("other-1", 0, Values(10**6, 0, 0, 0))
        pyckpt.save(self.url(self.other), self.other.values.state(), options=OPTIONS)
        self.foreign = {info.key for info in self.inner.list("")}
        self.start(background, referring)

    def teardown(self):
        if not hasattr(self, "manager"):
            return
        try:
            self.settle()
            self.manager.close()
            self.clear_away(self.inner, [each.name for each in self.everything()])
            self.check_copies()
            self.clear_away(self.target_inner, list(self.copies))
        finally:
            self.manager.close()
            self.close_stores()

    @invariant()
    def all_good_ones_load(self):
        if not hasattr(self, "manager"):
            return
        safe = {each.name for each in self.everything()}
        if self.flying:
            safe = always_kept(self.records, self.flying, self.known_damaged) - {each.name for each in self.flying}
            safe |= {each.name for each in self.hands}
        for each in self.everything():
            assert each.damage or each.name not in safe or self.holds(each), each
        listed = {url.rpartition("/")[2] for url in pyckpt.list(self.inner.url)} - {"other-1"}
        assert self.flying or listed == {each.name for each in self.everything() if each.damage != "root"}
        for key, data in FOREIGN.items():
            assert self.inner.get(key, limit=100) == data
        assert self.other.damage or self.holds(self.other)
        assert {url.rpartition("/")[2] for url in pyckpt.list(self.target_inner.url)} == set(self.copies)


def test_histories(monkeypatch):
    from pyckpt.storage import url as urls

    opened = urls.open_store

    def through_faults(url, **options):
        return STORES.get(str(url)) or opened(url, **options)

    monkeypatch.setattr("pyckpt.facade.address.open_store", through_faults)
    monkeypatch.setattr("pyckpt.manager.manager.open_store", through_faults)
    monkeypatch.setattr("pyckpt.storage.memory.time", History.clock)
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)
    monkeypatch.setattr("pyckpt.engine.listing._log.disabled", True)
    # On a machine that others use, threads that let everybody go first take for ever.
    monkeypatch.setattr("pyckpt.manager.flight.step_back", lambda: None)
    monkeypatch.setattr("pyckpt.engine.background.step_back", lambda: None)
    machine = History if SEED is None else seed(int(SEED))(History)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=20,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
