"""How tests are spread over workers: ``pytest -n 2 --dist loadfile --no-loadscope-reorder``."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.storage.servers import (  # noqa: F401 - fixtures
    azure_environment,
    azurite,
    s3_endpoint,
    s3_options,
    seaweed,
    weed_environment,
    weed_place,
)

ROOT = Path(__file__).resolve().parents[1]

# A machine that others use too is no reason for a red test, and a run that has to decide something is repeatable.
settings.register_profile("anywhere", deadline=None)
settings.register_profile("decisive", deadline=None, derandomize=True)
settings.load_profile("decisive" if os.environ.get("CI") else "anywhere")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start several processes come first: they take longest, and one worker does them all."""
    items.sort(key=lambda item: item.get_closest_marker("ranks") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keeps a file's tests together, and all files with tests that start several processes on one worker.

    Two such tests at the same time would fight for the cores and trip over each other's time limits. (pytest-xdist has
    ``loadgroup`` for this, which has no effect with pytest 9.2: it sets a name of the test that pytest no longer reads.)
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "ranks" if _starts_processes(file) else file

    return Scheduling(config, log)


@functools.cache
def _starts_processes(file: str) -> bool:
    return "pytest.mark.ranks" in (ROOT / file).read_text(encoding="utf-8")
