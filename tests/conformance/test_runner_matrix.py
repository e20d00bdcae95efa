"""Every writer against every reader."""

from __future__ import annotations

import json
import shlex

from click.testing import CliRunner
from runner_suite import write_case
from runner_writers import OK, ORACLE, prepare, write_request, writer

from conformance.cli import main
from conformance.generate.index import index
from conformance.runner.suite import load_cases
from conformance.runner.written import expected_read, writing_steps


def suite_at(suite):
    steps = [{"request": write_request(), "expect": {**OK, "audit": "main"}}]
    members = {"requirements": ["SCF-COMMIT-002"], "profile": "write", "steps": steps}
    write_case(suite, "one", **members)
    refused = [{"request": write_request(), "expect": {"result": "rejected", "codes": ["checkpoint.exists"]}}]
    write_case(suite, "refused", **{**members, "steps": refused})
    write_case(suite, "lacking", **members, options=["carry"])
    (suite / "index.json").write_bytes(index())


def test_what_one_writes_the_others_read(tmp_path):
    suite_at(tmp_path / "v1")
    response = prepare(tmp_path / "wrong", write_request(seed=2))
    wrong = writer(tmp_path, tmp_path / "wrong", response, "right")
    command = ["matrix", "--cases", str(tmp_path / "v1"), "--out", str(tmp_path / "out"), "-k", "one"]
    done = CliRunner().invoke(main, [*command, "--impl", shlex.join(ORACLE), "--impl", shlex.join(ORACLE)])
    assert (done.exit_code, done.output.count("1/1")) == (0, 4), done.output
    assert "#2" in done.output
    done = CliRunner().invoke(main, [*command, "--impl", shlex.join(wrong), "--impl", shlex.join(ORACLE)])
    assert done.exit_code == 1
    cells = json.loads((tmp_path / "out" / "interchange.json").read_text())["cells"]
    by_oracle = next(each for each in cells if each["writer"] == "right 1" and each["reader"].startswith("scf-oracle"))
    assert "other bytes than expected" in by_oracle["failures"][0]["reason"]
    assert "1/1" in (tmp_path / "out" / "interchange.html").read_text()
    assert CliRunner().invoke(main, [*command, "--impl", "no-such-program"]).exit_code == 2


def test_which_steps_are_written(tmp_path):
    suite_at(tmp_path)
    cases = load_cases(tmp_path)
    assert {name: writing_steps(case) for name, case in cases.items()} == {"lacking": [0], "one": [0], "refused": []}


def test_what_a_reader_has_to_find():
    def tensor(name, seed):
        region = {"offset": [0], "size": [2], "run": None}
        return ["tensor", {"id": name, "dtype": "U8", "shape": [2], "fill": {"kind": "count", "start": seed},
                           "regions": [region]}]  # fmt: skip

    request = write_request()
    request["writers"] = [
        {"trees": {"model": ["map", [["l", ["list", [["nil"], tensor("a", 1)]]], [{"int": "3"}, tensor("b", 2)]]]}},
        {"trees": {"model": ["map", [
            [{"int": "3"}, tensor("b", 2)],
            ["r", ["indexed", "rank", 3, {"2": tensor("c", 3)}]],
            ["f", ["flattened", [["q", tensor("d", 4)]], ["tuple", [tensor("e", 5)]]]],
        ]]}},
        {"trees": {}},
    ]  # fmt: skip
    found = expected_read(request, "model")
    assert [each["path"] for each in found["tensors"]["$set"]] == [
        ["l", {"int": "1"}], [{"int": "3"}], ["r", {"int": "2"}], ["f", "inner", "q"], ["f", "attributes", {"int": "0"}],
    ]  # fmt: skip
    assert found["tensors"]["$set"][0]["file"]["$file"]["size"] == 2
    assert found["assets"] == [{"name": "config.json", "file": {"$file": {
        "size": 2, "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}}]  # fmt: skip
