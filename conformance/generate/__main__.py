"""``python -m conformance.generate [--check]``."""

from __future__ import annotations

import sys

from .write import CASES, check, write


def main(arguments: list[str]) -> int:
    """Writes the cases, or says what differs."""
    if arguments == ["--check"]:
        findings = check()
        print("\n".join(findings[:50]))
        print(f"{len(findings)} differences" if findings else f"{CASES}: as generated")
        return 1 if findings else 0
    print(f"{write()} cases written to {CASES}")
    return 0


sys.exit(main(sys.argv[1:]))
