"""Every fault at every request of a save and of a load, on a real server behind a proxy that does harm.

A sample of them; ``PYCKPT_FAULTS=all`` runs all, ``PYCKPT_FAULTS=100`` so many of each kind.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("obstore", reason="obstore is not installed")

import pyckpt
from pyckpt.errors import AlreadyExists, PyckptError, SaveAborted
from tests.storage.faulty_http import FAULTS, FaultyHttp

MIB = 1 << 20
TIMEOUT, DEADLINE = 1.0, 6.0
PATIENT = f"timeout={TIMEOUT}&connect_timeout={TIMEOUT}&deadline={DEADLINE}&retries=6"
# For a server that stays away.
HASTY_SECONDS = 1.0
HASTY = "timeout=0.5&connect_timeout=0.5&deadline=0.5&retries=2"
# An upload of two parts, a read of three ranges.
SIZES = f"part_bytes={5 * MIB}&range_bytes={2 * MIB}"


def state(seed):
    model = {"w": np.random.default_rng(seed).standard_normal(int(5.3 * MIB) // 8), "b": np.full(7, seed)}
    return {"model": model, "step": {"n": seed}}


def equal(loaded, wanted):
    same = np.array_equal(loaded["model"]["w"], wanted["model"]["w"]) and np.array_equal(loaded["model"]["b"], wanted["model"]["b"])
    return same and loaded["step"] == wanted["step"]


BEFORE, AFTER = state(1), state(2)


class Bench:
    """A store with one checkpoint, reached directly and through a proxy."""

    def __init__(self, server, place):
        self.url = f"s3://{place}/run"
        self.port = urlsplit(server.endpoint).port
        pyckpt.save(f"{self.url}/before", BEFORE)

    def save(self, net, patience=PATIENT):
        return pyckpt.save(
            f"{self.url}/after?endpoint={net.endpoint}&{SIZES}&{patience}", AFTER, assets={"model": {"config.json": b"{}"}}
        )

    def load(self, net, patience=PATIENT):
        return pyckpt.load(f"{self.url}/before?endpoint={net.endpoint}&{SIZES}&{patience}")

    def requests(self, act):
        """How many requests it takes when nothing happens."""
        with FaultyHttp(self.port) as net:
            act(net)
            count = len(net.log)
        self.forget()
        return count

    def faulty(self, number, fault, *, ever=False):
        """A proxy that does it to the request of a number, or to all from there on."""
        return FaultyHttp(self.port, lambda at, asked: fault if at == number or (ever and at > number) else None)

    def complaints(self, attempt=None):
        """What is wrong with the store, whatever has happened."""
        listed = pyckpt.list(self.url)
        if listed not in ([f"{self.url}/before"], [f"{self.url}/after", f"{self.url}/before"]):
            return f"listed: {listed}"
        if not equal(pyckpt.load(f"{self.url}/before"), BEFORE) or not pyckpt.verify(f"{self.url}/before").ok:
            return "the checkpoint before is damaged"
        if len(listed) == 2 and not (pyckpt.verify(f"{self.url}/after").ok and equal(pyckpt.load(f"{self.url}/after"), AFTER)):
            return "the new checkpoint is damaged"
        if attempt is not None and len(listed) != 2:
            return "the new checkpoint was acknowledged and is not there"
        return ""

    def forget(self):
        if f"{self.url}/after" in pyckpt.list(self.url):
            pyckpt.delete(f"{self.url}/after")
        pyckpt.gc(self.url, grace=0)


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


@pytest.fixture
def bench(seaweed, weed_place, weed_environment):
    return Bench(seaweed, weed_place)


def chosen(requests, faults, sample, wanted=os.environ.get("PYCKPT_FAULTS", "")):
    """Pairs of a request and a fault: all, or so many, in which all requests and all faults come alike often."""
    pairs = [(number, faults[(number + turn) % len(faults)]) for turn in range(len(faults)) for number in range(requests)]
    if wanted == "all":
        return pairs
    first = pairs[:requests]
    random.Random(5).shuffle(first)
    return (first + pairs[requests:])[: int(wanted or sample)]


def test_choice_is_even():
    pairs = chosen(20, FAULTS, 20, "")
    assert sorted(number for number, _ in pairs) == list(range(20))
    assert {fault for _, fault in pairs} == set(FAULTS)
    assert len(set(pairs)) == 20


def names_an_object(error):
    return bool(error.key) and error.key in str(error)


def test_one_fault_in_a_save(bench):
    """It succeeds, unless it loses what the server says of an upload as a whole: the parts are sent once."""
    wrong = []
    count = bench.requests(bench.save)
    pairs = chosen(count, FAULTS, 18)
    for number, fault in pairs:
        with bench.faulty(number, fault) as net:
            begin = time.monotonic()
            attempt = None
            try:
                attempt = bench.save(net).attempt
            except PyckptError as error:
                if not (fault == "half" and "upload" in net.log[number].path and names_an_object(error)):
                    wrong.append(f"{fault} at {net.log[number]}: {error}")
            seconds = time.monotonic() - begin
            if not net.struck or seconds > DEADLINE + TIMEOUT:
                wrong.append(f"{fault} at {number}: struck {net.struck}, {seconds:.1f} s")
        if complaint := bench.complaints(attempt):
            wrong.append(f"{fault} at {net.log[number]}: {complaint}")
        bench.forget()
    assert not wrong, f"{len(wrong)} of {len(pairs)}\n" + "\n".join(wrong)
    print(f"{len(pairs)} faults at {count} requests of a save")


def test_one_fault_in_a_load(bench):
    wrong = []
    count = bench.requests(bench.load)
    pairs = chosen(count, FAULTS, 9)
    for number, fault in pairs:
        with bench.faulty(number, fault) as net:
            try:
                if not equal(bench.load(net), BEFORE):
                    wrong.append(f"{fault} at {net.log[number]}: loaded something else")
            except PyckptError as error:
                wrong.append(f"{fault} at {net.log[number]}: {error}")
            if not net.struck:
                wrong.append(f"{fault} at {number}: not reached")
    assert not wrong, f"{len(wrong)} of {len(pairs)}\n" + "\n".join(wrong)
    assert not bench.complaints()
    print(f"{len(pairs)} faults at {count} requests of a load")


STAYING = ("cut", "503", "silent", "lost")


def test_server_that_fails_from_some_request_on(bench):
    wrong = []
    saving, loading = bench.requests(bench.save), bench.requests(bench.load)
    pairs = [(bench.save, *pair) for pair in chosen(saving, STAYING, 4)] + [(bench.load, *pair) for pair in chosen(loading, STAYING, 2)]
    for act, number, fault in pairs:
        what = f"{act.__name__}, {fault} from {number} on"
        with bench.faulty(number, fault, ever=True) as net:
            begin = time.monotonic()
            error = attempt = None
            try:
                done = act(net, HASTY)
                attempt = done.attempt if act == bench.save else None
            except PyckptError as raised:
                error = raised
            seconds = time.monotonic() - begin
        # Only the attempt's own marker may be left behind by a save that nevertheless succeeds.
        if error is None and not (act == bench.save and number >= saving - 2):
            wrong.append(f"{what}: no error")
        if error is not None and not names_an_object(error):
            wrong.append(f"{what}: {error}")
        # The request, a look at what became of it, a look at the root.
        if seconds > 4 * HASTY_SECONDS + 1:
            wrong.append(f"{what}: {seconds:.1f} s")
        if complaint := bench.complaints(attempt):
            wrong.append(f"{what}: {complaint}")
        if error is not None and not isinstance(error, SaveAborted) and f"{bench.url}/after" in pyckpt.list(bench.url):
            wrong.append(f"{what}: the save failed by {error}, and there is a checkpoint")
        bench.forget()
    assert not wrong, f"{len(wrong)} of {len(pairs)}\n" + "\n".join(wrong)
    print(f"{len(pairs)} servers that went away")


def is_root(asked):
    return asked.method == "PUT" and urlsplit(asked.path).path.endswith("/after/checkpoint.json")


@pytest.mark.parametrize("fault", ["lost", "late 500", "half", "cut", "silent"])
def test_answer_about_the_root_is_lost_and_the_root_is_ones_own(bench, fault):
    roots = itertools.count()
    with FaultyHttp(bench.port, lambda at, asked: fault if is_root(asked) and next(roots) == 0 else None) as net:
        report = bench.save(net)
        assert net.struck == 1
    assert pyckpt.open(f"{bench.url}/after").root.attempt == report.attempt
    assert not bench.complaints(report.attempt)


@pytest.mark.parametrize("fault", ["lost", "cut", "late 500", None])
def test_answer_about_the_root_is_lost_and_the_root_is_anothers(bench, fault):
    roots = itertools.count()
    others = []

    def rival(at, asked):
        if is_root(asked) and next(roots) == 0:
            others.append(pyckpt.save(f"{bench.url}/after", AFTER))
            return fault
        return None

    with FaultyHttp(bench.port, rival) as net, pytest.raises(AlreadyExists, match=r"checkpoint\.exists.*after"):
        bench.save(net)
    assert pyckpt.open(f"{bench.url}/after").root.attempt == others[0].attempt
    assert not bench.complaints(others[0].attempt)
