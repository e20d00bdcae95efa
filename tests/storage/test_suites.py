"""The public suites on whole checkpoints, against the stores that come with the library; one process each."""

from __future__ import annotations

import itertools

import pytest

from pyckpt.storage.memory import MemoryStore
from pyckpt.testing import CheckpointSuite
from tests.storage.azurite import CONTAINER

_names = itertools.count()


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


class TestLocal(CheckpointSuite):
    @pytest.fixture
    def store_url(self, tmp_path):
        return str(tmp_path / "run")


class TestMemory(CheckpointSuite):
    @pytest.fixture
    def store_url(self):
        name = f"suite-{next(_names)}"
        yield f"memory://{name}/run"
        MemoryStore(name).clear()


class TestSeaweed(CheckpointSuite):
    elements = 2_000_000  # two parts of an upload

    @pytest.fixture
    def store_url(self, weed_place, weed_environment):
        return f"s3://{weed_place}/run?part_bytes={5 << 20}"


class TestAzurite(CheckpointSuite):
    elements = 2_000_000

    @pytest.fixture
    def store_url(self, azure_environment):
        return f"az://{CONTAINER}/suite-{next(_names)}?part_bytes={5 << 20}"
