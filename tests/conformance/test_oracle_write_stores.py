"""The stores that the oracle writes to: a directory, and a bucket that fails on demand."""

from __future__ import annotations

import os
import time

import pytest
from oracle_requests import before_creation, directory, item, node_map, ok, refused, request, s3, tensor

from conformance.oracle import operations
from conformance.oracle.audit import audit
from conformance.oracle.dir_writer import WritableDirectory
from conformance.oracle.errors import Rejected
from conformance.oracle.s3_store import S3Store
from conformance.oracle.snapshot import Snapshot
from conformance.oracle.store import NoSuchKey, TooLarge
from conformance.oracle.writable import Ambiguous, claim, honours_condition
from conformance.transactions.s3_faults import Fault
from conformance.transactions.simulator import Simulator


@pytest.fixture
def simulator():
    with Simulator(page=2) as found:
        yield found


def bucket(simulator, prefix="run"):
    return S3Store(simulator.endpoint, simulator.bucket, prefix)


@pytest.fixture(params=["directory", "s3"])
def store(request, tmp_path):
    if request.param == "directory":
        yield WritableDirectory(str(tmp_path / "deep" / "store"))
    else:
        with Simulator(page=2) as simulator:
            yield bucket(simulator, "/run/")


def io_failure(call, *arguments):
    with pytest.raises(Rejected) as caught:
        call(*arguments)
    return caught.value.code


# What all stores do


def test_objects_come_and_go(store):
    assert store.create_if_absent("a/b", b"12345") is True
    assert store.create_if_absent("a/b", b"other") is False
    store.create("a/c d+é%", b"")
    store.put("a/b", b"0123456789")
    assert store.get("a/b") == store.get("a/b", 10) == b"0123456789"
    assert store.get_range("a/b", 2, 5) == b"234"
    assert store.get_range("a/b", 10, 10) == b""
    assert (store.size("a/b"), store.size("a/c d+é%")) == (10, 0)
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    for call in (store.get, store.size, lambda key: store.get_range(key, 0, 1)):
        with pytest.raises(NoSuchKey):
            call("a/b")


def test_bounds_are_kept(store):
    store.put("a", b"0123456789")
    with pytest.raises(TooLarge) as caught:
        store.get("a", 9)
    assert caught.value.size == 10
    for begin, end in ((5, 11), (10, 12), (11, 11)):
        assert io_failure(store.get_range, "a", begin, end) == "store.io"


def test_listings_of_many_pages(store):
    for name in ("x/1", "x/2", "x/.tmp-0123456789abcdef", "x/y/3", "é/4", "x5", ".tombstones/6"):
        store.put(name, b"1")
    assert [one.key for one in store.list("")] == sorted([".tombstones/6", "x/1", "x/2", "x/y/3", "x5", "é/4"])
    assert [one.key for one in store.list("x/")] == ["x/1", "x/2", "x/y/3"]
    assert [one.key for one in store.list("x/1")] == ["x/1"]
    assert (store.names(""), store.names("x/")) == ([".tombstones", "x", "x5", "é"], ["1", "2", "y"])
    assert store.list("none/") == store.names("none/") == []


def test_times_are_those_of_the_clock(store):
    store.put("a", b"")
    (listed,) = store.list("a")
    assert abs(store.clock() - listed.mtime) < 3
    assert [one.key for one in store.list("")] == ["a"]


# A directory


def test_a_link_is_no_way_out(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_bytes(b"1")
    store = WritableDirectory(str(tmp_path / "store"))
    store.put("a", b"")
    os.symlink(tmp_path / "out", tmp_path / "store" / "link")
    for call in (store.create_if_absent, store.put):
        assert io_failure(call, "link/y", b"") == "store.io"
        assert io_failure(call, "../y", b"") == io_failure(call, "b/..", b"") == "store.io"
    assert io_failure(store.delete, "link/x") == "store.io"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]


def test_nothing_but_the_object_stays(tmp_path):
    store = WritableDirectory(str(tmp_path))
    store.create_if_absent("a", b"1")
    store.create_if_absent("a", b"2")
    store.put("a", b"3")
    with pytest.raises(Rejected):
        store.create("a", b"4")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert store.get("a") == b"3"


def test_a_file_in_the_place_of_a_directory_takes_the_key(tmp_path):
    store = WritableDirectory(str(tmp_path))
    store.put("a", b"1")
    assert store.create_if_absent("a/b", b"2") is False
    assert claim(store, "a/b", b"2") == "taken"
    store.put("c/d", b"1")
    assert claim(store, "c", b"2") == "taken"


# A bucket


@pytest.mark.parametrize("kind", ["fail", "drop_before", "drop_after", "cut"])
@pytest.mark.parametrize("operation", ["get", "get_range", "size", "list", "names", "clock"])
def test_a_failure_is_no_absence(simulator, kind, operation):
    store = bucket(simulator)
    store.put("a", b"0123456789")
    simulator.plan(Fault(kind=kind, persistent=True))
    arguments = {"get": ("a",), "get_range": ("a", 0, 5), "size": ("a",), "list": ("",), "names": ("",), "clock": ()}
    call = getattr(store, operation)
    if (kind, operation) == ("cut", "size"):
        assert call(*arguments[operation]) == 10
    else:
        assert io_failure(call, *arguments[operation]) == "store.io"


def test_a_short_answer_is_a_failure(simulator):
    store = bucket(simulator)
    store.put("a", b"0123456789")
    for call, arguments in ((store.get_range, ("a", 0, 8)), (store.list, ("",))):
        simulator.plan(Fault(kind="short"))
        assert io_failure(call, *arguments) == "store.io"


def test_a_bucket_that_is_not_there_is_a_failure(simulator):
    store = S3Store(simulator.endpoint, "other", "")
    for call in (store.get, store.list, store.names):
        assert io_failure(call, "a") == "store.io"
    message_to_nowhere = message({**s3(simulator), "bucket": "other"})
    assert refused(message_to_nowhere) == ("store.io", "store")


@pytest.mark.parametrize("fault", [Fault(kind="fail", status=409), Fault(kind="fail"), Fault(kind="drop_after")])
def test_a_creation_without_an_answer_is_ambiguous(simulator, fault):
    store = bucket(simulator)
    simulator.plan(fault)
    with pytest.raises(Ambiguous):
        store.create_if_absent("a", b"1")
    assert claim(store, "a", b"1") == ("same" if fault.kind == "drop_after" else "created")
    assert claim(store, "a", b"2") == "taken"


def test_a_store_that_fails_for_ever(simulator):
    store = bucket(simulator)
    simulator.plan(Fault(kind="fail", method="PUT", persistent=True))
    assert io_failure(claim, store, "a", b"1") == "store.io"
    simulator.plan(Fault(kind="fail", method="PUT", at=2, persistent=True))
    assert io_failure(honours_condition, store, "c") == "store.io"


@pytest.mark.parametrize("ignores", [False, True])
def test_the_probe_finds_out(ignores):
    with Simulator(ignore_conditions=ignores) as simulator:
        assert honours_condition(bucket(simulator), "c") is not ignores
        assert simulator.objects == {}


def test_the_probe_looks_at_what_is_there(tmp_path):
    class Overwriting(WritableDirectory):
        certain = False

        def create_if_absent(self, key, data):
            there = not super().create_if_absent(key, data)
            self.put(key, data)
            return not there

    assert not honours_condition(Overwriting(str(tmp_path)), "c")


# Saves over a bucket


def message(store, **more):
    tree = node_map(w=tensor("w", "F32", [8, 4], [[0, 0], [4, 4], None]))
    other = node_map(w=tensor("w", "F32", [8, 4], [[4, 0], [4, 4], None]), n=["int", "1"])
    return request(store, tree, other, items={"model": item(**{"config.json": "7b7d"})}, **more)


def test_a_save_puts_its_root_last_and_once(simulator):
    before = Snapshot.take(bucket(simulator))
    simulator.clear()
    asked = message(s3(simulator, "run"))
    response = ok(asked)
    requests = simulator.requests
    assert audit(before, bucket(simulator), asked, response, should=True) == []
    puts = [one for one in requests if one.method == "PUT"]
    assert puts[-1].key == "run/c/checkpoint.json"
    assert puts[-1].conditional
    assert [one.operation for one in requests[-2:]] == ["PutObject", "DeleteObject"]
    assert len({one.key for one in puts if ".probe-" not in one.key}) == len(puts) - 2


def test_a_weak_store_needs_consent():
    with Simulator(ignore_conditions=True) as simulator:
        asked = message(s3(simulator))
        assert refused(asked) == ("store.condition", "commit")
        assert simulator.objects == {}
        asked["accept_weak"] = True
        response = ok(asked)
        assert response["weak"] is True
        assert audit(None, bucket(simulator, ""), asked, response) == []
        assert refused(asked) == ("checkpoint.exists", "save")
        other = message(s3(simulator), checkpoint="d", accept_weak=True)
        bucket(simulator, "").put("d/model/config.json", b"other")
        before = Snapshot(simulator.objects)
        assert audit(before, bucket(simulator, ""), other, ok(other)) == []


def count(simulator, asked):
    simulator.clear()
    ok(asked)
    return len(simulator.requests)


@pytest.mark.parametrize("kind", ["fail", "drop_before", "drop_after", "outage"])
def test_whatever_fails_the_save_is_there_or_not(kind):
    with Simulator() as simulator:
        requests = count(simulator, message(s3(simulator)))
    for at in range(1, requests + 1):
        with Simulator() as simulator:
            asked = message(s3(simulator))
            persistent = kind == "outage"
            simulator.plan(Fault(kind="fail" if persistent else kind, at=at, persistent=persistent))
            response = operations.perform(asked)
            simulator.clear()
            there = "c/checkpoint.json" in simulator.objects
            assert response["result"] in ("ok", "rejected")
            assert there or response["result"] == "rejected"
            if there:
                said = response if response["result"] == "ok" else None
                assert audit(Snapshot({}), bucket(simulator, ""), asked, said) == []
                assert refused(asked)[0] == "checkpoint.exists"
            else:
                ok(asked)


def test_roots_that_could_not_be_read_end_the_save(simulator):
    ok(message(s3(simulator, "run")))
    simulator.plan(Fault(kind="fail", key="run/c/checkpoint.json", method="GET"))
    assert refused(message(s3(simulator, "run"), checkpoint="d")) == ("store.io", "store")
    bucket(simulator).put("c/checkpoint.json", b"damaged")
    assert ok(message(s3(simulator, "run"), checkpoint="d"))["weak"] is False


def test_a_lost_answer_to_the_root_is_looked_into(simulator):
    simulator.plan(Fault(kind="drop_after", key="*/checkpoint.json", method="PUT"))
    asked = message(s3(simulator, "run"))
    assert audit(Snapshot({}), bucket(simulator), asked, ok(asked)) == []


def test_an_outcome_that_stays_unknown_removes_nothing(simulator):
    simulator.plan(
        Fault(kind="drop_before", key="*/checkpoint.json", method="PUT", persistent=True),
    )
    assert refused(message(s3(simulator, "run"))) == ("store.io", "store")
    assert any("/.attempt-" in key for key in simulator.objects)


def test_a_stalled_writer_is_silent(simulator):
    simulator.plan(Fault(kind="stall", key="*.safetensors", seconds=2.0))
    start = time.monotonic()
    assert refused(message(s3(simulator, "run"), deadline=0.2)) == ("rank.timeout", "commit")
    assert time.monotonic() - start < 1.5


# Saves over a directory


def test_a_crash_before_the_root_leaves_no_checkpoint(tmp_path, monkeypatch):
    store = directory(tmp_path)

    def crash():
        raise KeyboardInterrupt

    with before_creation(monkeypatch, "checkpoint.json", crash), pytest.raises(KeyboardInterrupt):
        ok(message(store))
    assert ok({"op": "list", "store": store})["checkpoints"] == []
    before = Snapshot.take(WritableDirectory(str(tmp_path)))
    assert audit(before, WritableDirectory(str(tmp_path)), message(store), ok(message(store))) == []
