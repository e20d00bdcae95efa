"""Holds the requirements against the conformance cases, in both directions."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = ["case_problems"]

SUITE = Path(__file__).resolve().parent.parent.parent / "conformance"


def case_problems(requirements: Sequence[Any], suite: Path = SUITE) -> list[str]:
    """Requirements marked ``verify=case`` without a case, refusals that no case expects, ids in cases that are none."""
    sys.path.insert(0, str(suite.parent))
    from conformance.generate.coverage import gaps

    cases = [
        SimpleNamespace(**json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(suite.glob("cases/v*/*/*/case.json"))
    ]
    return gaps(cases, [asdict(requirement) for requirement in requirements])
