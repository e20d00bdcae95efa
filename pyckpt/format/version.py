"""The version of the specification that this library implements."""

from __future__ import annotations

from typing import Final

__all__ = ["MAJOR", "SPEC_VERSION"]

MAJOR: Final = 1
"""The major version: the only number that refuses a reader."""
SPEC_VERSION: Final = "1.0-draft"
"""What a root says under ``spec``; for people, never a reason to refuse."""
