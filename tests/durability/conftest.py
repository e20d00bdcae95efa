"""Lets the shared checks say what they found."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.durability.kill_points", "tests.durability.cases", "tests.durability.bounds")
