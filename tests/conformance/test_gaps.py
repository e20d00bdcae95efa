"""The lint that finds requirements without cases."""

from conformance.generate.case import Case, ok, rejected, step
from conformance.generate.coverage import gaps
from conformance.generate.expect import finding


def requirement(name, error=None, verify="case"):
    return {"id": name, "error": error, "verify": verify}


def case(*requirements, expect, kind="invalid"):
    return Case("x", "", list(requirements), "inspect", [step("inspect", expect)], kind=kind)


def test_a_requirement_without_a_case():
    assert gaps([], [requirement("A"), requirement("B", verify="inspect"), requirement("C", verify="none")]) == [
        "A: no case"
    ]
    assert gaps([case("A", expect=ok(), kind="valid")], [requirement("A")]) == []


def test_an_error_needs_an_invalid_case_that_expects_it():
    wanted = [requirement("A", "root.syntax")]
    missing = ["A: no invalid case that expects root.syntax"]
    assert gaps([case("A", expect=ok(), kind="valid")], wanted) == missing
    assert gaps([case("A", expect=rejected("root.schema"))], wanted) == missing
    assert gaps([case("A", expect=rejected("root.syntax"), kind="acceptable")], wanted) == missing
    assert gaps([case("B", "A", expect=rejected("root.schema", "root.syntax"))], [*wanted, requirement("B")]) == []


def test_findings_of_a_verification_and_alternatives_count():
    assert gaps([case("A", expect=finding("block.digest"))], [requirement("A", "block.digest")]) == []
    either = [rejected("root.schema"), rejected("root.syntax")]
    assert gaps([case("A", expect=either)], [requirement("A", "root.syntax")]) == []


def test_what_no_case_can_show():
    found = gaps([case("A", "B", "C", expect=ok())], [requirement("A"), requirement("B", verify="inspect")])
    assert found == ["x: B is not shown by cases (verify=inspect)", "x: C is no requirement"]
