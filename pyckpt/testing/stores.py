"""The tests of a store."""

from __future__ import annotations

import pytest

from pyckpt.storage.base import Store
from pyckpt.storage.url import open_store
from pyckpt.testing.store_keys import KeyTests
from pyckpt.testing.store_objects import ObjectTests

__all__ = ["StoreSuite"]


class StoreSuite(ObjectTests, KeyTests):
    """What pyckpt relies on in a store.

    A subclass gives the fixture ``store_url``, the URL of an empty store that is new for each test; or, for a store
    without a URL of its own, the fixture ``store`` itself.
    """

    @pytest.fixture
    def store(self, store_url: str) -> Store:
        """Give the store under test."""
        return open_store(store_url)
