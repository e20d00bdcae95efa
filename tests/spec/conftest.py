"""Makes the tools of the specification importable; they are scripts beside the text, no part of the library."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SPEC = Path(__file__).resolve().parents[2] / "spec"
sys.path.insert(0, str(SPEC / "tools"))


@pytest.fixture(scope="session")
def spec() -> Path:
    return SPEC
