"""Waiting for messages, in the moments that are hard to meet."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
import torch

from pyckpt.engine.coordinator import Single
from pyckpt.torch import wire
from pyckpt.torch.wire import Posted, Wire


class Late(Future):
    """Is done in the very moment in which a wait for it has run out."""

    def result(self, timeout=None):
        if timeout is not None:
            super().result(None)
            raise TimeoutError
        return super().result(timeout)


class Work:
    def __init__(self, error=None):
        self.error = error

    def wait(self):
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [None, ValueError("broken")])
def test_what_arrives_when_the_look_ends_has_arrived(monkeypatch, error):
    monkeypatch.setattr(wire, "Future", Late)
    own = Wire(None)
    with own.watched(Single()):
        posted = Posted((Work(error),), (0,), on_host=True)
        if error is None:
            own.finish(posted)
        else:
            with pytest.raises(ValueError, match="broken"):
                own.finish(posted)


def test_what_is_half_bound_is_not_taken_for_bound(monkeypatch):
    import pyckpt
    from pyckpt.torch import exchange

    first = {"a": torch.arange(6.0)}
    target = {"a": torch.zeros(6)}
    resharder = pyckpt.Resharder(first, target)
    resharder.run()
    first["a"] = torch.arange(6.0) + 1
    with monkeypatch.context() as broken:
        broken.setattr(exchange.Exchange, "_prepare", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            resharder.run()
    resharder.run()
    assert torch.equal(target["a"], first["a"])
