"""Copies made beside training: who waits for what, with a stand-in for a device, which not every machine has."""

from __future__ import annotations

import threading
import time

import pytest

from pyckpt.engine.late_copy import LateCopy, seen
from pyckpt.engine.memory import MemorySource
from pyckpt.errors import UsageError


class State:
    """Nobody changes anything, unless ``names`` says so."""

    def __init__(self):
        self.names, self.freed = [], 0

    def changed(self):
        return self.names

    def free(self, copy):
        self.freed += 1


class StandInDevice:
    """It notes what it was asked."""

    def __init__(self):
        self.asked = []

    def queue(self):
        self.asked.append("queue")

    def follow(self):
        self.asked.append("follow")

    def finish(self):
        self.asked.append("finish")


def test_the_device_waits_and_the_caller_does_not():
    for full in (False, True):
        state, device = State(), StandInDevice()
        copy = LateCopy(state, [], [], queued=device, threads=2, full=full)
        copy.let_go()
        assert device.asked == ["queue", "finish" if full else "follow"]
        # What changes from now on changes nothing in the copy.
        state.names.append("model/x")
        copy.run()
        assert device.asked[2:3] == ["finish"]
        assert state.freed == 1


def test_who_waits_helps_when_nobody_else_copies():
    out = bytearray(10)
    copied = []
    source = MemorySource(b"0123456789")
    jobs = [lambda at=at: copied.append(source.read_into(at, memoryview(out)[at : at + 1])) for at in range(10)]
    copy = LateCopy(State(), jobs, [seen("x", source, memoryview(out), full=True)], queued=None, threads=3, full=True)
    copy.let_go()
    assert out == b"0123456789"
    copy.run()


def test_what_differs_from_the_call_is_named():
    data, out = bytearray(b"a" * 1000), bytearray(1000)
    source = MemorySource(data)
    piece = seen("model/x", source, memoryview(out), full=True)
    data[500:501] = b"b"
    copy = LateCopy(State(), [lambda: source.read_into(0, memoryview(out))], [piece], queued=None, threads=1, full=True)
    with pytest.raises(UsageError, match="model/x"):
        copy.run()


def test_nothing_is_written_after_the_end():
    """A failure elsewhere ends the copy; a job that is under way is waited for, since the memory is given back then."""
    begun, go = threading.Event(), threading.Event()
    written = []

    def slow():
        begun.set()
        go.wait(10)
        written.append(True)

    def fail():
        begun.wait(10)
        raise OSError("lost")

    state = State()
    copy = LateCopy(state, [slow, fail, slow], [], queued=None, threads=1, full=False)
    waiting = threading.Thread(target=copy.let_go)
    waiting.start()
    begun.wait(10)
    threading.Timer(0.1, go.set).start()
    with pytest.raises(OSError, match="lost"):
        copy.run()
    assert written == [True]
    waiting.join(10)
    begin = time.perf_counter()
    copy.let_go()
    assert time.perf_counter() - begin < 1
