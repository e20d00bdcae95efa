"""The public suite of several processes, on the ranks that this session keeps alive, and once on those of a launcher."""

from __future__ import annotations

import itertools
import os
from unittest import mock

import pytest

pytest.importorskip("torch")

import pyckpt
from pyckpt.testing import RanksSuite
from pyckpt.testing.ranks import torchrun
from tests.storage.azurite import CONTAINER

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]

_names = itertools.count()
_PASSED_ON = ("AWS_", "AZURE_")


def call(rank, function, arguments, environment):
    from pyckpt.testing import rank_programs

    with mock.patch.dict(os.environ, environment):
        return getattr(rank_programs, function)(*arguments)


class OnKeptRanks(RanksSuite):
    @pytest.fixture(autouse=True)
    def _ranks(self, ranks):
        self.ranks = ranks

    def run_on_ranks(self, size, function, *arguments):
        environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        return self.ranks(size).run(call, function, arguments, environment)


class TestLocal(OnKeptRanks):
    @pytest.fixture
    def store_url(self, tmp_path):
        return str(tmp_path / "run")


class TestSeaweed(OnKeptRanks):
    @pytest.fixture
    def store_url(self, weed_place, weed_environment):
        return f"s3://{weed_place}/run"


class TestAzurite(OnKeptRanks):
    @pytest.fixture
    def store_url(self, azure_environment):
        return f"az://{CONTAINER}/ranks-{next(_names)}/run"


def test_ranks_of_a_launcher(tmp_path):
    url = str(tmp_path / "run" / "step")
    digests = torchrun(2, "save_under_fsdp", url, False)
    assert digests == [pyckpt.open(url).digest] * 2
