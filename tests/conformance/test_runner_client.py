"""Processes of an implementation: right ones and all kinds of wrong ones."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from runner_suite import REFUSED, SOUND, fake

from conformance.runner.client import Broken, CannotStart, Client
from conformance.runner.session import Session

VERIFY = {"op": "verify", "store": {"kind": "directory", "path": "/x"}, "deep": True}


def ask(name):
    return {**VERIFY, "checkpoint": name}


@pytest.fixture
def started(tmp_path):
    clients = []

    def start(script, hello=None):
        clients.append(Client(fake(tmp_path, script, hello)))
        return clients[-1]

    yield start
    for client in clients:
        client.kill()


def broken(client, name, timeout=5.0):
    with pytest.raises(Broken) as caught:
        client.request(ask(name), timeout)
    assert not client.running
    return caught.value


def test_requests_and_responses(started):
    client = started({"a": SOUND, "b": REFUSED})
    assert client.request(ask("a"), 5)["sound"] is True
    assert client.request(ask("b"), 5)["code"] == "root.digest"
    assert client.running
    assert client.bye() == ""


def test_large_messages_go_both_ways(started):
    long = "ä" * 500_000
    client = started({"x" * 100_000: {**REFUSED, "message": long}})
    assert client.request(ask("x" * 100_000), 20)["message"] == long


def test_a_crash(started):
    client = started({"a": "sys.stderr.write('my last words'); sys.stderr.flush(); os._exit(3)"})
    error = broken(client, "a")
    assert error.kind == "crash"
    assert "status 3" in str(error)
    assert client.stderr_end() == "my last words"


def test_a_signal(started):
    error = broken(started({"a": "os.kill(os.getpid(), 11)"}), "a")
    assert (error.kind, "SIGSEGV" in str(error)) == ("crash", True)


def test_closed_output_is_a_crash(started):
    assert broken(started({"a": "os.close(1); time.sleep(30)"}), "a").kind == "crash"


def test_a_timeout_kills_the_children_too(started, tmp_path):
    child = tmp_path / "child"
    client = started({"a": f"""
import subprocess
child = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)'])
open({str(child)!r}, 'w').write(str(child.pid))
time.sleep(60)
"""})
    begin = time.monotonic()
    error = broken(client, "a", 1.0)
    assert error.kind == "timeout"
    assert time.monotonic() - begin < 5
    pid = int(child.read_text())
    for _ in range(100):
        try:
            if "zombie" in Path(f"/proc/{pid}/status").read_text():
                break
        except OSError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the child still runs")


def test_a_timeout_while_nothing_is_read(started):
    client = started({"stop": "say(); time.sleep(60)"})
    client.request(ask("stop"), 5)
    assert broken(client, "x" * 10_000_000, 0.5).kind == "timeout"


@pytest.mark.parametrize(("answer", "said"), [
    ("print('hello there', flush=True)", "no JSON"),
    ("print('[1]', flush=True)", "malformed"),
    ("print('{\"id\":1,\"id\":1,\"result\":\"ok\"}', flush=True)", "twice"),
    ("print('{\"id\":1,\"result\":NaN}', flush=True)", "NaN"),
    ("print('[' * 100000, flush=True)", "no JSON"),
    ("sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush()", "no JSON"),
    ({**SOUND, "id": 99}, "id: 99"),
    ("print(json.dumps(SOUND), flush=True)", "'id' is a required"),
    ({"result": "fine"}, "result"),
    ({"result": "ok"}, "sound"),
    ({"result": "ok", "sound": True, "findings": [{"code": "x.y", "subject": ""}]}, "findings"),
    ({"result": "ok", "sound": False, "findings": []}, "findings"),
    ({"result": "ok", "sound": 1, "findings": []}, "boolean"),
    ({"result": "rejected", "code": "root.digest", "message": "", "subject": ""}, "phase"),
    ({"result": "rejected", "code": "Root", "phase": "open", "message": "", "subject": ""}, "Root"),
    ({"result": "rejected", "code": "a.b", "phase": "opening", "message": "", "subject": ""}, "opening"),
    ({"result": "unsupported", "what": "everything"}, "everything"),
    ({"result": "error"}, "message"),
])  # fmt: skip
def test_malformed_responses(started, answer, said):
    error = broken(started({"a": answer}), "a")
    assert error.kind == "malformed"
    assert said in str(error)


def test_a_response_too_many(started):
    client = started({"a": "say(); say()"})
    client.request(ask("a"), 5)
    time.sleep(0.1)
    error = broken(client, "a")
    assert (error.kind, "without being asked" in str(error)) == ("malformed", True)


def test_much_standard_error_does_not_block(started):
    client = started({"a": "sys.stderr.write('x' * 1000000 + 'end'); sys.stderr.flush(); say()"})
    assert client.request(ask("a"), 5)["sound"]
    said = client.stderr_end()
    assert said.endswith("end")
    assert len(said) <= 4096
    client.forget()
    assert client.stderr_end() == ""


def test_good_and_bad_ends(started):
    assert started({}).end_of_input() == ""
    assert started({}).bye() == ""
    assert "status 4 after the end" in started({"exit": 4}).end_of_input()
    assert "status 4 after bye" in started({"exit": 4}).bye()


def test_what_can_not_be_started():
    with pytest.raises(CannotStart, match="no-such-program"):
        Client(["no-such-program-of-this-name"])


def test_sessions_start_anew(tmp_path):
    session = Session(fake(tmp_path, {"a": SOUND, "dead": "os._exit(1)"}))
    try:
        assert session.hello().profiles == {"inspect", "read"}
        first = session.client().pid
        session.request(ask("a"), 5)
        assert (session.client().pid, session.served) == (first, 1)
        with pytest.raises(Broken):
            session.request(ask("dead"), 5)
        session.prepare()
        assert session.request(ask("a"), 5)["sound"]
        assert (session.client().pid != first, session.served) == (True, 1)
        assert session.farewell(bye=True) == ""
    finally:
        session.close()


@pytest.mark.parametrize(("hello", "said"), [
    ({"protocol": "2.0"}, "version 2.0 of the protocol"),
    ({"profiles": ["reading"]}, "reading"),
    ({"options": ["write-codec"]}, "write-codec"),
    ({"dtypes": "F32"}, "F32"),
])  # fmt: skip
def test_wrong_hellos(tmp_path, hello, said):
    session = Session(fake(tmp_path, {}, hello))
    try:
        with pytest.raises(Broken, match="hello|malformed") as caught:
            session.hello()
        assert said in str(caught.value)
    finally:
        session.close()


def test_what_hello_offers(tmp_path):
    session = Session(fake(tmp_path, {}, {"options": ["s3"], "dtypes": ["F32", "BF16"]}))
    try:
        hello = session.hello()
        assert [hello.offers(option) for option in ("s3", "carry", "dtype:BF16", "dtype:F4")] == [True, False, True, False]
    finally:
        session.close()


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the system does not tell the peak memory")
def test_peak_memory(started):
    client = started({"small": SOUND, "large": "x = bytearray(40_000_000); del x; say()"})
    client.request(ask("small"), 5)
    peak = client.peak_memory()
    client.request(ask("small"), 5)
    assert peak.growth() < 5_000_000
    client.request(ask("large"), 5)
    assert peak.growth() > 35_000_000
    peak = client.peak_memory()
    client.request(ask("small"), 5)
    assert peak.growth() < 5_000_000
