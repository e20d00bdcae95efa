"""``junit.xml``: a run as test reports of other tools have it."""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from .outcome import Result
from .run import Run

__all__ = ["junit"]

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(run: Run) -> bytes:
    """One suite per area; warnings, remarks and expected failures are skipped tests, with the reason."""
    top = Element("testsuites", name=f"SCF conformance of {_clean(run.plan.hello.name)}", time=f"{run.seconds:.3f}")
    for area, results in groupby(run.results, key=lambda result: result.case.area):
        _suite(top, area, list(results))
    if run.problems:
        suite = SubElement(top, "testsuite", name="implementation", tests="1", failures="1", errors="0", skipped="0")
        case = SubElement(suite, "testcase", classname="implementation", name="process and claims")
        SubElement(case, "failure", message=_clean(run.problems[0])).text = _clean("\n".join(run.problems))
    indent(top, " ")
    return bytes(tostring(top, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(top: Element, area: str, results: list[Result]) -> None:
    errors = sum(result.outcome in ("crash", "timeout") for result in results)
    failures = sum(result.failed for result in results) - errors
    skipped = sum(not result.failed and result.outcome != "pass" for result in results)
    suite = SubElement(
        top,
        "testsuite",
        name=area,
        tests=str(len(results)),
        failures=str(failures),
        errors=str(errors),
        skipped=str(skipped),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        _case(suite, result)


def _case(suite: Element, result: Result) -> None:
    case, verdict = result.case, result.verdict
    element = SubElement(suite, "testcase", classname=case.area, name=case.id, time=f"{result.seconds:.3f}")
    if result.outcome != "pass":
        failed = "error" if result.outcome in ("crash", "timeout") else "failure"
        inner = SubElement(element, failed if result.failed else "skipped")
        inner.set("message", _clean(f"{result.outcome}: {verdict.reason}"))
        inner.text = _clean("\n".join((case.title, ", ".join(case.requirements), *verdict.details)))
    if verdict.stderr:
        SubElement(element, "system-err").text = _clean(verdict.stderr)


def _clean(text: str) -> str:
    """Without the characters that XML can't hold."""
    return _NOT_XML.sub("\ufffd", text)
