"""Whole runs: outcomes, expected failures, reports, exit statuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from runner_suite import REFUSED, SOUND, as_text, fake, verify_step, write_case, write_index

from conformance.cli import main
from conformance.runner.schemas import findings

UNSUPPORTED = {"result": "unsupported", "what": "s3"}


@pytest.fixture
def suite(tmp_path):
    write_index(tmp_path / "v1")
    return tmp_path / "v1"


class Call:
    """The command line on a suite and an implementation of these answers."""

    def __init__(self, tmp_path, suite):
        self.tmp_path, self.suite, self.out = tmp_path, suite, tmp_path / "out"

    def run(self, script, *options, hello=None):
        command = as_text(fake(self.tmp_path, script, hello))
        return CliRunner().invoke(main, ["run", "--impl", command, "--cases", str(self.suite), "--jobs", "2",
                                         "--out", str(self.out), *options])  # fmt: skip

    def outcomes(self, script, *options, hello=None):
        """Exit status, and outcome by case."""
        done = self.run(script, *options, hello=hello)
        record = json.loads((self.out / "results.json").read_text())
        assert findings("results", record) == []
        assert record["ok"] == (done.exit_code == 0)
        return done.exit_code, {each["id"]: each["outcome"] for each in record["cases"]}

    def case(self, name):
        record = json.loads((self.out / "results.json").read_text())
        return next(each for each in record["cases"] if each["id"] == name)


@pytest.fixture
def call(tmp_path, suite):
    return Call(tmp_path, suite)


def test_all_is_well(call):
    write_case(call.suite, "good")
    write_case(call.suite, "bad", kind="invalid", steps=[verify_step("bad", {"result": "rejected", "codes": ["root.digest"]})])
    write_case(call.suite, "other", area="b", profile="write")
    status, outcomes = call.outcomes({"good": SOUND, "bad": REFUSED})
    assert (status, outcomes) == (0, {"good": "pass", "bad": "pass", "other": "skip"})
    assert call.case("other")["reason"] == "the profile write is not claimed"


def test_every_outcome_and_the_run_goes_on(call):
    for name in ("fails", "dies", "hangs", "babbles", "last"):
        write_case(call.suite, name, timeout=0.5)
    write_case(call.suite, "should", requirements=["SCF-AA-002", "SCF-AA-001"])
    write_case(call.suite, "may", requirements=["SCF-AA-003"])
    write_case(call.suite, "errs", requirements=["SCF-AA-001"])
    script = {"fails": REFUSED, "dies": "print('oh no', file=sys.stderr, flush=True); os._exit(1)",
              "hangs": "time.sleep(60)", "babbles": "print('?', flush=True)", "last": SOUND, "should": REFUSED,
              "may": REFUSED}  # fmt: skip
    status, outcomes = call.outcomes(script)
    assert status == 1
    assert outcomes == {"fails": "fail", "dies": "crash", "hangs": "timeout", "babbles": "fail", "last": "pass",
                        "should": "warn", "may": "remark", "errs": "fail"}  # fmt: skip
    assert "oh no" in call.case("dies")["stderr"]
    assert call.case("fails")["step"] == 1
    for warned in ("should", "may"):
        assert call.outcomes(script, "-k", warned)[0] == 0


def test_a_crash_of_a_should_is_a_crash(call):
    write_case(call.suite, "should", requirements=["SCF-AA-002"])
    assert call.outcomes({"should": "os._exit(1)"}) == (1, {"should": "crash"})


def test_steps_after_a_failed_one_are_not_run(call):
    write_case(call.suite, "steps", steps=[verify_step("one"), verify_step("two")])
    assert call.outcomes({"one": REFUSED, "two": "os._exit(1)"}) == (1, {"steps": "fail"})
    assert call.outcomes({"one": SOUND, "two": SOUND}) == (0, {"steps": "pass"})


def test_unsupported(call):
    write_case(call.suite, "named", options=["s3"])
    write_case(call.suite, "unnamed")
    script = {"named": UNSUPPORTED, "unnamed": UNSUPPORTED}
    assert call.outcomes(script) == (1, {"named": "skip", "unnamed": "fail"})
    status, outcomes = call.outcomes(script, "-k", "na*", hello={"options": ["s3"]})
    assert (status, outcomes) == (1, {"named": "fail"})
    assert "which hello offers" in call.case("named")["reason"]


def test_expected_failures_are_strict(call, tmp_path):
    for name in ("fails", "passes", "skipped"):
        write_case(call.suite, name, options=["s3"])
    expected = tmp_path / "expected.json"
    script = {"fails": REFUSED, "passes": SOUND, "skipped": UNSUPPORTED}

    def outcomes(listed):
        expected.write_text(json.dumps(listed))
        return call.outcomes(script, "--expected-failures", str(expected))

    assert outcomes({"fails": "it is so"}) == (0, {"fails": "xfail", "passes": "pass", "skipped": "skip"})
    assert "it is so" in call.case("fails")["reason"]
    assert outcomes({"fails": "x", "passes": "x", "skipped": "x"})[0] == 1
    assert call.case("passes")["outcome"] == "xpass"
    assert call.case("skipped")["outcome"] == "skip"
    for wrong in ({"absent": "x"}, {"fails": ""}, ["fails"]):
        expected.write_text(json.dumps(wrong))
        assert call.run(script, "--expected-failures", str(expected)).exit_code == 2


def test_memory_is_measured_in_a_process_that_is_warm(call):
    write_case(call.suite, "good", profile="inspect", steps=[verify_step("warm")])
    write_case(call.suite, "lean", memory=10_000_000, sibling="good")
    write_case(call.suite, "greedy", memory=10_000_000, sibling="good")
    # Whatever is asked first takes 40 MB once: the sibling does.
    first = "x = bytearray(0 if count else 40_000_000); count += 1; say()"
    script = {"warm": first, "lean": first, "greedy": "x = bytearray(60_000_000); say()"}
    status, outcomes = call.outcomes(script, "-k", "lean", "-k", "greedy", "--jobs", "1")
    assert (status, outcomes) == (1, {"lean": "pass", "greedy": "fail"})
    assert call.case("lean")["memory"] < 10_000_000 < call.case("greedy")["memory"]


def test_what_is_left_behind_is_judged(call):
    stores = {"main": {"from": "s"}}
    write_case(call.suite, "quiet", files={"s/k": b"1"}, stores=stores, after={"main": {"unchanged": True}})
    write_case(call.suite, "writes", files={"s/k": b"1"}, stores=stores, after={"main": {"unchanged": True}})
    write_case(call.suite, "strays", files={"outside/x": b"1"})
    write = "open(request['store']['path'] + %r, 'w').close(); say()"
    script = {"quiet": SOUND, "writes": write % "/new", "strays": write % "/../../outside/x"}
    assert call.outcomes(script) == (1, {"quiet": "pass", "writes": "fail", "strays": "fail"})
    assert call.case("writes")["reason"] == "afterwards: store main: new is new"
    assert call.case("strays")["reason"] == "afterwards: outside the stores: outside/x changed"


def test_problems_beyond_cases(call):
    write_case(call.suite, "good")
    script = {"good": SOUND}
    done = call.run(script, hello={"profiles": ["read"]})
    assert (done.exit_code, "not inspect" in done.output) == (1, True)
    done = call.run({**script, "exit": 7})
    assert (done.exit_code, "problem" in done.output) == (1, True)


@pytest.mark.parametrize(("options", "status"), [
    ((), 0),
    (("-k", "nothing-like-it"), 2),
    (("--profile", "write"), 2),
    (("--profile", "nonsense"), 2),
    (("--profile", "read", "-k", "SCF-AA-001"), 0),
    (("--jobs", "0"), 2),
])  # fmt: skip
def test_statuses_of_calls(call, options, status):
    write_case(call.suite, "good")
    write_case(call.suite, "writing", profile="write")
    assert call.run({"good": SOUND}, *options).exit_code == status


def test_what_can_not_be_started_is_a_mistake_of_the_call(suite):
    write_case(suite, "good")
    for command in ("no-such-program", "true", "'", "", "cat"):
        done = CliRunner().invoke(main, ["run", "--impl", command, "--cases", str(suite)])
        assert done.exit_code == 2, command
    done = CliRunner().invoke(main, ["run", "--impl", "true", "--cases", str(suite / "none")])
    assert done.exit_code == 2


def test_a_broken_suite_is_no_failure_of_the_implementation(call):
    write_case(call.suite, "good", requirements=["SCF-BB-001"])
    done = call.run({"good": SOUND})
    assert (done.exit_code, "SCF-BB-001" in done.output) == (2, True)


class Page(HTMLParser):
    """What a page has: elements by id, targets of buttons, addresses, and whether all elements end."""

    VOID = frozenset({"meta", "input", "br", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.targets, self.addresses, self.text = [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.targets |= {found["popovertarget"]} if "popovertarget" in found else set()
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_reports(call):
    write_case(call.suite, "good", title='Less < more & "quotes"')
    write_case(call.suite, "fails")
    write_case(call.suite, "dies", area="b")
    write_case(call.suite, "should", area="b", requirements=["SCF-AA-002"])
    evil = {**REFUSED, "message": "<script>alert(1)</script>\x01\x1b[31m"}
    call.outcomes({"good": SOUND, "fails": evil, "dies": "os.write(2, b'\\x00\\x1b[31m'); os._exit(1)", "should": REFUSED})

    page = Page((call.out / "matrix.html").read_text())
    assert page.open == []
    assert {"good", "fails", "dies", "should", "r-SCF-AA-001", "r-SCF-AA-002"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.targets == {"r-SCF-AA-001", "r-SCF-AA-002"}
    assert page.addresses == []
    assert any("<script>alert(1)</script>" in text for text in page.text)

    top = ET.fromstring((call.out / "junit.xml").read_bytes())
    assert [(each.get("name"), each.get("tests"), each.get("failures"), each.get("errors"), each.get("skipped"))
            for each in top.iter("testsuite")] == [("a", "2", "1", "0", "0"), ("b", "2", "0", "1", "1")]  # fmt: skip
    assert {each.get("name") for each in top.iter("testcase") if each.find("failure") is not None} == {"fails"}

    badge = ET.fromstring((call.out / "badge.svg").read_bytes())
    assert badge.get("aria-label") == "SCF 1.0: read 1/4"


def test_lines_of_failures_and_the_table(call):
    write_case(call.suite, "good")
    write_case(call.suite, "fails")
    done = call.run({"good": SOUND, "fails": REFUSED})
    assert "fail    fails  verify: expected ok, found rejected by root.digest" in done.output
    assert "does not conform" in done.output
    assert [line.split() for line in done.output.splitlines() if line.startswith("read ")] == [["read", "2", "1", "1"]]


def test_generate(monkeypatch, tmp_path):
    monkeypatch.setattr("conformance.generate.write.check", lambda: ["differs: root/x/case.json"])
    monkeypatch.setattr("conformance.cli.load_cases", lambda: {"root-x": "the case"})
    monkeypatch.setattr("conformance.cli.suite_findings", lambda cases, index: [f"odd: {cases['root-x']}"])
    done = CliRunner().invoke(main, ["generate", "--check"])
    assert (done.exit_code, "differs: root/x/case.json" in done.output, "odd: the case" in done.output) == (1, True, True)
    monkeypatch.setattr("conformance.generate.write.write", lambda: 7)
    done = CliRunner().invoke(main, ["generate"])
    assert (done.exit_code, "7 cases written" in done.output) == (0, True)

    def nothing():
        raise FileNotFoundError("spec/VERSION")

    monkeypatch.setattr("conformance.generate.write.write", nothing)
    assert CliRunner().invoke(main, ["generate"]).exit_code == 2


def test_list(suite):
    write_case(suite, "good")
    write_case(suite, "other", profile="write")
    done = CliRunner().invoke(main, ["list", "--cases", str(suite), "--profile", "write"])
    assert (done.exit_code, "other" in done.output, "good" in done.output) == (0, True, False)
