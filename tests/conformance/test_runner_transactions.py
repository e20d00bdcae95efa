"""Transactions: right writers pass, and each way of doing it wrong is caught."""

from __future__ import annotations

import json
import platform
import shutil

import pytest
from runner_suite import write_case
from runner_writers import OK, files_of, prepare, write_request, writer

from conformance.generate.index import index
from conformance.runner.execute import Plan, execute
from conformance.runner.session import Session
from conformance.runner.suite import Index, load_cases
from conformance.runner.transactions import spread

KILLS = ["kill-before", "kill-after"]
S3_FAULTS = [*KILLS, "fail", "outage", "drop-before", "drop-after"]
directory = pytest.mark.skipif(
    platform.system() != "Linux" or shutil.which("cc") is None, reason="processes can't be killed at a call here"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A suite with one transaction over each kind of store, and the checkpoint that the writers write."""
    top = tmp_path_factory.mktemp("transactions")
    suite = top / "v1"
    old = {f"s/{key}": data for key, data in files_of_prepared(top / "old", write_request(7, "step_0"))[0].items()}
    files, response = files_of_prepared(top / "both", write_request(7, "step_0"), write_request())
    for key, data in files.items():
        if key.startswith("step_1/"):
            path = top / "new" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    for over, faults in {"directory": KILLS, "s3": S3_FAULTS}.items():
        write_case(
            suite, f"write-{over}", files=old, stores={"main": {"from": "s", "kind": over}}, profile="transaction",
            requirements=["SCF-COMMIT-002"], options=["s3"], timeout=20,
            steps=[{"request": write_request(), "expect": {**OK, "audit": "main"}}],
            transaction={"over": over, "faults": faults, "judge": "old-or-new"},
        )  # fmt: skip
    (suite / "index.json").write_bytes(index())
    return suite, top, response


def files_of_prepared(folder, *requests):
    responses = [prepare(folder, request) for request in requests]
    assert responses[-1]["result"] == "ok", responses
    return files_of(folder), responses[-1]


def run(world, tmp_path, over, style):
    suite, top, response = world
    cases = load_cases(suite)
    session = Session(writer(tmp_path, top / "new", response, style))
    try:
        plan = Plan(session.command, (), cases, Index.load(suite), session.hello(), {}, quick=True)
        return execute(cases[f"write-{over}"], session, plan)
    finally:
        session.close()


@pytest.mark.parametrize("over", [pytest.param("directory", marks=directory), "s3"])
def test_a_right_writer_passes(world, tmp_path, over):
    result = run(world, tmp_path, over, "right")
    assert (result.outcome, result.reason) == ("pass", "")
    assert result.verdict.runs > 10


@pytest.mark.parametrize(("over", "style", "said"), [
    pytest.param("directory", "root-first", "step_1 is there, but not right", marks=directory),
    pytest.param("directory", "in-place", "step_1 is there, but not right", marks=directory),
    pytest.param("directory", "wrecks", "step_0/checkpoint.json has other bytes", marks=directory),
    pytest.param("directory", "mends", "): step_0/checkpoint.json has other bytes", marks=directory),
    pytest.param("directory", "nothing", "what was written is not right: checkpoint.missing", marks=directory),
    ("s3", "root-first", "the root was put before step_1/model/"),
    ("s3", "in-place", "not by a conditional put: PutObject"),
    ("s3", "swallows", "the answer was ok, but step_1 has no root"),
    ("s3", "errs", "the answer was error"),
])  # fmt: skip
def test_wrong_writers_are_caught(world, tmp_path, over, style, said):
    result = run(world, tmp_path, over, style)
    assert result.outcome == "fail"
    assert any(said in text for text in (result.reason, *result.verdict.details)), (result.reason, result.verdict.details)


@directory
def test_programs_out_of_reach_are_skipped(world, tmp_path):
    suite, top, response = world
    program = writer(tmp_path, top / "new", response)
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text("import os, sys\nos.environ.pop('LD_PRELOAD', 0)\nos.execv(sys.argv[1], sys.argv[1:])\n")
    session = Session([program[0], str(wrapper), *program])
    try:
        cases = load_cases(suite)
        plan = Plan(session.command, (), cases, Index.load(suite), session.hello(), {}, quick=True)
        result = execute(cases["write-directory"], session, plan)
    finally:
        session.close()
    assert (result.outcome, "out of reach" in result.reason) == ("skip", True)


def test_unsupported_transactions_are_skipped(world, tmp_path):
    suite, top, response = world
    result_of = {"result": "unsupported", "what": "s3"}
    session = Session(writer(tmp_path, top / "new", result_of, "nothing"))
    try:
        cases = load_cases(suite)
        hello = session.hello()
        hello.record["options"].clear()
        plan = Plan(session.command, (), cases, Index.load(suite), hello, {}, quick=True)
        result = execute(cases["write-s3"], session, plan)
    finally:
        session.close()
    assert (result.outcome, result.reason) == ("skip", "unsupported: s3")


def test_the_spread_has_both_ends():
    assert spread(5, 12) == [1, 2, 3, 4, 5]
    assert spread(0, 12) == []
    found = spread(1000, 12)
    assert (len(found), found[0], found[-1]) == (12, 1, 1000)
    assert json.dumps(found) == json.dumps(sorted(set(found)))
