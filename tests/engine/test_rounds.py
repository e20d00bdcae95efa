"""One round: errors anywhere are errors everywhere, and nobody undoes what rank 0 may yet build on."""

from __future__ import annotations

import pytest

from pyckpt.engine.rounds import Fate, round_trip
from pyckpt.errors import RankError, StateDiverged, UsageError


class Other:
    """A rank other than 0, whose store fails at a chosen call. A double: real groups can't be made to fail there."""

    rank = 1
    size = 2

    def __init__(self, *, gather=None, announce=None, answer=b""):
        self.sent = None
        self._gather, self._announce, self._answer = gather, announce, answer

    def gather(self, what, payload):
        self.sent = payload
        if self._gather is not None:
            raise self._gather

    def announce(self, what, payload):
        if self._announce is not None:
            raise self._announce
        return self._answer

    def close(self):
        pass


class First:
    """Rank 0 with prepared contributions of the others."""

    rank = 0
    size = 3

    def __init__(self, *others, error=None):
        self.others, self.error, self.said = others, error, None

    def gather(self, what, payload):
        if self.error is not None:
            raise self.error
        return [payload, *self.others]

    def announce(self, what, payload):
        self.said = payload
        return payload

    def close(self):
        pass


LOST = RankError("rank.failed", "gone", key="rank 0")


@pytest.mark.parametrize("where", ["gather", "announce"])
def test_fate_is_unknown_once_a_contribution_may_have_arrived(where):
    fate = Fate()
    with pytest.raises(RankError):
        round_trip(Other(**{where: LOST}), "x", lambda: b"data", lambda _: b"", fate)
    assert not fate.known


def test_fate_is_known_where_the_contribution_itself_failed():
    fate, coordinator = Fate(), Other(answer=b"\0")

    def fail():
        raise UsageError("usage.invalid", "no")

    with pytest.raises(UsageError):
        round_trip(coordinator, "x", fail, lambda _: b"", fate)
    assert fate.known
    assert coordinator.sent[:1] == b"\1"


def test_fate_is_known_after_the_answer():
    fate = Fate()
    assert round_trip(Other(answer=b"\0yes"), "x", lambda: b"", lambda _: b"", fate) == b"yes"
    assert fate.known


def test_rank_0_tells_everybody_what_failed():
    told = First(b"\0a", b"\0b")
    with pytest.raises(StateDiverged):

        def decide(_):
            raise StateDiverged("state.diverged", "differ", key="w")

        round_trip(told, "x", lambda: b"", decide)
    with pytest.raises(StateDiverged) as caught:
        round_trip(Other(answer=told.said), "x", lambda: b"", lambda _: b"")
    assert caught.value.key == "w"
    lost = First(error=LOST)
    with pytest.raises(RankError):
        round_trip(lost, "x", lambda: b"", lambda _: b"")
    assert lost.said[:1] == b"\1"
    with pytest.raises(KeyboardInterrupt):

        def interrupted(_):
            raise KeyboardInterrupt

        round_trip(told, "x", lambda: b"", interrupted)
    assert told.said[:1] == b"\1"


def test_a_failed_contribution_is_named_on_every_rank():
    own = Other(answer=b"")
    with pytest.raises(ValueError, match="mine"):

        def fail():
            raise ValueError("mine")

        round_trip(own, "x", fail, lambda _: b"")
    first = First(b"\0a", own.sent)
    with pytest.raises(RankError) as caught:
        round_trip(first, "x", lambda: b"", lambda _: b"never")
    assert caught.value.key == "rank 2"
    assert "mine" in str(caught.value)
