"""``python -m conformance.generate [--check | --coverage]``."""

from __future__ import annotations

import sys

from .coverage import gaps, requirements
from .write import CASES, all_cases, check, write


def _report(findings: list[str], what: str, right: str) -> int:
    """Prints what was found; the exit status."""
    print("\n".join(findings[:200]))
    print(f"{len(findings)} {what}" if findings else right)
    return 1 if findings else 0


def main(arguments: list[str]) -> int:
    """Writes the cases, or says what differs or is missing."""
    if arguments == ["--check"]:
        return _report(check(), "differences", f"{CASES}: as generated")
    if arguments == ["--coverage"]:
        return _report(
            gaps((case for _, case in all_cases()), requirements()), "gaps", "every requirement has its cases"
        )
    print(f"{write()} cases written to {CASES}")
    return 0


sys.exit(main(sys.argv[1:]))
