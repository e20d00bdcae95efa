"""Ranks that live as long as the test session: starting them takes longer than using them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.ranks.pool import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Callable[[int], Ranks]]:
    """``ranks(size)`` gives that many ranks; new ones only if the last ones did not survive a test."""
    pytest.importorskip("torch")
    pools: dict[int, Ranks] = {}

    def of(size: int) -> Ranks:
        if size not in pools or not pools[size].alive:
            pools[size] = Ranks(size)
        return pools[size]

    yield of
    for pool in pools.values():
        pool.close()
