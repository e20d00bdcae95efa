"""How tests are spread over workers."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One group for each file, and one for all tests that start several processes, which comes first.

    Two such tests at the same time would fight for the cores and trip over each other's time limits.
    """
    items.sort(key=lambda item: item.get_closest_marker("ranks") is None)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            several = item.get_closest_marker("ranks") is not None
            item.add_marker(pytest.mark.xdist_group("ranks" if several else item.path.name))
