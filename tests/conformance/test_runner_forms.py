"""Forms: schemas, the lint of cases, the index, the choice of cases, the order of requests."""

from __future__ import annotations

import json

import pytest
from runner_suite import INDEX, SOUND, verify_step, write_case, write_index
from runner_writers import write_request

from conformance.generate.index import index
from conformance.runner.lint import suite_findings
from conformance.runner.order import order_mistakes
from conformance.runner.schemas import PROTOCOL, findings, response_findings
from conformance.runner.suite import Index, SuiteError, chosen, load_cases
from conformance.transactions.s3_requests import Outcome, Request

STORE = {"kind": "directory", "path": "/x"}


@pytest.fixture
def lint(tmp_path):
    suite = tmp_path / "v1"
    write_index(suite)
    write_case(suite, "good")

    def check(name="c", **members):
        write_case(suite, name, **members)
        return [text for text in suite_findings(load_cases(suite), Index.load(suite)) if text.startswith(f"{name}: ")]

    return check


def test_good_cases_have_no_findings(lint):
    assert lint("a", steps=[{"request": write_request(), "expect": {"result": "ok", "audit": "main"}}]) == []
    assert lint("b", kind="invalid", steps=[verify_step("x", {"result": "rejected", "codes": ["root.digest"]})]) == []
    over = {"over": "s3", "faults": ["outage"], "judge": "old-or-new"}
    assert lint("d", stores={"main": {"kind": "s3", "page": 2, "faults": [{"kind": "cut", "at": 2}]}}, transaction=over,
                steps=[{"request": write_request(), "expect": {"result": "ok"}}]) == []  # fmt: skip


@pytest.mark.parametrize(("members", "said"), [
    ({"kind": "invalid", "sibling": "absent", "steps": [verify_step("x", {"result": "rejected", "codes": ["root.digest"]})]}, "sibling absent"),
    ({"requirements": ["SCF-AA-009"]}, "no requirement SCF-AA-009"),
    ({"requirements": []}, "requirements"),
    ({"profile": "reading"}, "profile"),
    ({"more": 1}, "more"),
    ({"stores": {"main": {"from": "absent"}}}, "no directory absent"),
    ({"stores": {"main": {"page": 3}}}, "stores.main"),
    ({"stores": {"out": {}}}, "stores"),
    ({"after": {"other": {"unchanged": True}}}, "no store other"),
    ({"after": {"main": {"unchanged": False}}}, "unchanged"),
    ({"steps": [verify_step("x", {"result": "rejected"})]}, "steps.0.expect"),
    ({"steps": [verify_step("x", {"result": "error"})]}, "steps.0.expect"),
    ({"steps": [verify_step("x", {"result": "rejected", "codes": ["no.code"]})]}, "no code no.code"),
    ({"steps": [verify_step("x", {"result": "rejected", "codes": ["root.digest"], "phases": ["read"]})]}, "phase read"),
    ({"steps": [verify_step("x", {"result": "ok", "values": {"a": {"$file": {"size": 1}}}})]}, "expect"),
    ({"steps": [verify_step("x", {"result": "ok", "values": {"a": {"$unknown": 1}}})]}, "expect"),
    ({"steps": [verify_step("x", {"result": "ok", "audit": "main"})]}, "not after write"),
    ({"steps": [{"request": {"op": "list", "store": "$other"}, "expect": {"result": "ok"}}]}, "'$other' is no store"),
    ({"steps": [{"request": {"op": "list"}, "expect": {"result": "ok"}}]}, "'store' is a required"),
    ({"steps": [{"request": {"op": "lists", "store": "$main"}, "expect": {"result": "ok"}}]}, "lists"),
    ({"steps": [{"request": write_request(speed=1), "expect": {"result": "ok"}}]}, "speed"),
    ({"transaction": {"over": "directory", "faults": ["kill-before"], "judge": "old-or-new"}}, "verify is not judged"),
    ({"transaction": {"over": "directory", "faults": ["outage"], "judge": "old-or-new"}}, "transaction"),
    ({"transaction": {"over": "s3", "faults": ["outage"], "judge": "kept-or-gone"}, "steps": [
        {"request": {"op": "delete", "store": "$main", "checkpoint": "c"}, "expect": {"result": "ok"}}]}, "of kind directory"),
])  # fmt: skip
def test_mistakes_in_cases(lint, members, said):
    found = lint(**members)
    assert found
    assert any(said in text for text in found), found


def test_two_cases_of_one_id(tmp_path):
    write_case(tmp_path, "c", area="a")
    write_case(tmp_path, "c", area="b")
    with pytest.raises(SuiteError, match="also the id"):
        load_cases(tmp_path)
    with pytest.raises(SuiteError, match="no cases"):
        load_cases(tmp_path / "none")


def test_the_schemas_are_schemas():
    for path in PROTOCOL.glob("*.schema.json"):
        record = json.loads(path.read_text())
        assert record["$schema"].endswith("2020-12/schema")
        assert record["$id"].endswith(f"/1.0/{path.name}")
    assert len(list(PROTOCOL.glob("*.schema.json"))) == 5


NODES = [
    ["nil"], ["bool", True], ["int", "-5"], ["float", "3ff0000000000000"], ["text", "$main"], ["bytes", "00ff"],
    ["list", [["nil"]]], ["tuple", []], ["map", [["k", ["nil"]], [{"int": "7"}, ["nil"]]]], ["tensor", 0],
    ["complex", "3ff0000000000000", "c000000000000000"], ["timestamp", "1767323045", 0, None],
    ["indexed", "rank", 2, [["nil"], ["nil"]]], ["set", ["a", {"int": "1"}]], ["flattened", [["q", ["nil"]]], ["nil"]],
    ["dtype", "BF16"],
]  # fmt: skip
WRONG_NODES = [
    [], ["nil", 1], ["bool", 1], ["int", 5], ["int", "05"], ["float", "3FF0000000000000"], ["float", "3ff"], ["text"],
    ["bytes", "0"], ["list", ["nil"]], ["tuple", [["nil"], ["number"]]], ["map", [["k"]]], ["map", [[7, ["nil"]]]],
    ["map", [["k", ["int", 1]]]], ["tensor", -1], ["tensor", "0"], ["complex", "3ff0000000000000"],
    ["timestamp", 1, 0, None], ["timestamp", "1", 1000000000, 0], ["indexed", "rank", 2, [1]], ["indexed", "rank", [["nil"]]],
    ["set", [1]], ["flattened", [["q", ["nil"]]]], ["flattened", [["q", ["int", 1]]], ["nil"]],
    ["flattened", [], ["int", 1]], ["dtype"], "nil", None, {"nil": 1},
]  # fmt: skip


def node_findings(node):
    response = {"id": 1, "result": "ok", "value": node}
    return response_findings({"op": "restore", "target": {"kind": "value"}}, response)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node[0])
def test_nodes(node):
    assert node_findings(["map", [["a", node]]]) == []
    assert node_findings(["list", [["flattened", [["q", ["tuple", [node]]]], node]]]) == []


@pytest.mark.parametrize("node", WRONG_NODES, ids=repr)
def test_wrong_nodes(node):
    assert node_findings(["map", [["a", node]]]) != []
    assert node_findings(["list", [["nil"], ["indexed", "a", 1, [["tuple", [node]]]]]]) != []


def test_deep_trees_do_not_exhaust_the_stack():
    node, wrong = ["nil"], ["int", 5]
    for _ in range(500):
        node, wrong = ["map", [["k", node]]], ["list", [wrong]]
    assert node_findings(node) == []
    assert node_findings(wrong) != []


def test_every_operation_has_its_response():
    for request, response in [
        ({"op": "list"}, {"checkpoints": [{"name": "c", "digest": None, "sequence": None, "code": "root.digest"}], "newest": None}),
        ({"op": "read"}, {"tensors": [{"path": ["w"], "dtype": "F4", "shape": ["9007199254740993"], "file": "a/0"}], "assets": []}),
        ({"op": "read_region"}, {"dtype": "F4", "files": ["0", "0"]}),
        ({"op": "verify"}, SOUND),
        ({"op": "write"}, {"digest": "0" * 64, "attempt": "0" * 16, "weak": False, "warnings": ["unchanged"]}),
        ({"op": "delete"}, {}), ({"op": "bye"}, {}),
        ({"op": "gc"}, {"removed": ["a"]}),
        ({"op": "copy"}, {"digest": "0" * 64}),
        ({"op": "restore", "target": {"kind": "model"}}, {"tensors": [{"path": ["w"], "file": "0"}]}),
        ({"op": "restore", "target": {"kind": "rng"}}, {"seeds": {"python": "1"}}),
        ({"op": "restore", "target": {"kind": "value"}}, {"value": ["nil"]}),
        ({"op": "restore", "target": {"kind": "optimizer"}}, {"stateful": [], "groups": []}),
    ]:  # fmt: skip
        assert response_findings(request, {"id": 0, "result": "ok", **response}) == []
        members = [name for name in response if name not in ("result", "assets")]
        for name in members:
            without = {other: value for other, value in response.items() if other != name}
            assert response_findings(request, {"id": 0, "result": "ok", **without}) != [], (request, name)


@pytest.mark.parametrize("file", ["/0", "../0", "a/../0", "..", "", 0, "a/.."])
def test_files_stay_in_their_directory(file):
    assert response_findings({"op": "read_region"}, {"id": 0, "result": "ok", "dtype": "U8", "files": [file]}) != []


def test_mismatches_are_named():
    refused = {"id": 1, "result": "rejected", "code": "state.mismatch", "phase": "load", "subject": "", "message": ""}
    request = {"op": "restore", "target": {"kind": "value"}}
    assert response_findings(request, refused) != []
    assert response_findings(request, {**refused, "mismatches": ["w"]}) == []


def test_requests():
    assert findings("request", {"id": 0, "op": "gc", "store": STORE, "grace": None, "dry_run": True}) == []
    assert findings("request", {"id": 0, "op": "gc", "store": STORE, "grace": -1, "dry_run": True}) != []
    held = ["indexed", "rank", 4, {"2": ["unsupported"]}]
    good = {**write_request(), "id": 0, "store": STORE, "writers": [{"trees": {"model": held}}]}
    assert findings("request", good) == []
    assert findings("request", {**good, "writers": [{"trees": {"model": ["tensor", {"id": "w"}]}}]}) != []


def test_the_index_is_that_of_the_specification():
    record = json.loads(index())
    assert record["codes"]["usage.invalid"] == ["any"]
    assert record["codes"]["state.layout"] == ["save", "plan"]
    errors = {each["error"] for each in record["requirements"]} - {None}
    assert errors <= record["codes"].keys()
    assert set(record["requirements"][0]) == set(INDEX["requirements"][0])


def test_the_index_answers(tmp_path):
    write_index(tmp_path)
    found = Index.load(tmp_path)
    assert found.allows("root.digest", "open")
    assert not found.allows("root.digest", "read")
    assert found.allows("usage.invalid", "delete")
    assert not found.allows("no.code", "open")
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(SuiteError):
        Index.load(tmp_path)


def test_the_choice_of_cases(tmp_path):
    write_case(tmp_path, "root-minimal", area="root", title="The smallest")
    write_case(tmp_path, "root-digest", area="root", profile="inspect", requirements=["SCF-BB-002"])
    write_case(tmp_path, "tree-root", area="tree", profile="write")
    cases = load_cases(tmp_path).values()

    def ids(*patterns, profiles=()):
        return [case.id for case in chosen(cases, patterns, profiles)]

    assert ids() == ["root-digest", "root-minimal", "tree-root"]
    assert ids("root") == ids()
    assert ids("root-*") == ["root-digest", "root-minimal"]
    assert ids("*-root", "SMALLEST") == ["root-minimal", "tree-root"]
    assert ids("scf-bb-002") == ["root-digest"]
    assert ids("root-*", profiles=["inspect", "write"]) == ["root-digest"]
    assert ids("nothing") == []


def request(number, operation, key="", end=None, **query):
    return Request(number=number, begin=2 * number, end=2 * number + 1 if end is None else end, method="GET", operation=operation,
                   bucket="b", key=key, query=query, conditional=False, range=None, fault=None, outcome=Outcome())  # fmt: skip


def test_the_order_of_requests():
    log = [
        request(1, "GetObject", "a/checkpoint.json"), request(2, "GetObject", "b/checkpoint.json"),
        request(3, "ListObjectsV2", prefix=".tombstones/"), request(4, "ListObjectsV2", prefix="", delimiter="/"),
    ]  # fmt: skip
    roots = {"operation": "GetObject", "key": "*/checkpoint.json"}
    shown = {"shows": ".tombstones/a.0.json"}
    assert order_mistakes([{"first": roots, "then": shown}], log) == []
    assert order_mistakes([{"first": shown, "then": roots}], log) != []
    assert order_mistakes([{"first": roots, "then": shown}], [*log[:3], request(5, "GetObject", "c/checkpoint.json")]) != []
    assert order_mistakes([{"first": roots, "then": shown}], [log[2], *log[:2], log[3]]) == []
    assert order_mistakes([{"first": roots, "then": {"shows": "a/x"}}], log) != []
    assert order_mistakes([{"first": roots, "then": {"shows": "x"}}], log) == []
    late = [request(1, "GetObject", "a/checkpoint.json", end=9), request(3, "ListObjectsV2", prefix=".tombstones/")]
    assert order_mistakes([{"first": roots, "then": shown}], late) != []
