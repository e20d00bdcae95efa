"""Lets tests hold late copies back."""

from __future__ import annotations

import pytest

from pyckpt.engine.background import flights
from tests.torch.held_copies import HeldCopies


@pytest.fixture
def copies(monkeypatch):
    """Holds all late copies of the test."""
    from pyckpt.engine import snapshot
    from pyckpt.torch.step_gate import step_gate

    held = HeldCopies()

    class HeldCopy(snapshot.LateCopy):
        def __init__(self, state, jobs, pieces, **more):
            super().__init__(state, [held.hold(job) for job in jobs], pieces, **more)

    monkeypatch.setattr(snapshot, "LateCopy", HeldCopy)
    yield held
    held.go.set()
    flights.make_room(1)
    assert step_gate._held == ()
