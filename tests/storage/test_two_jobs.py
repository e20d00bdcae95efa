"""Two processes commit the same step at the same moment, again and again: one wins, the other is told so."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="obstore is not installed")

import pyckpt
from tests.storage.azurite import CONTAINER, missing

pytestmark = pytest.mark.ranks

ROUNDS = 10


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


class Job:
    """One process, and its last words."""

    def __init__(self, number, environment):
        root = str(Path(__file__).resolve().parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.job", str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "PYTHONPATH": root},
        )

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def s3(weed_place, weed_environment):
    return f"s3://{weed_place}/run"


@pytest.fixture
def azure(azure_environment):
    return f"az://{CONTAINER}/jobs"


@pytest.fixture(params=["s3", "azure"])
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def jobs(request, seaweed):
    """Both know the way to both servers."""
    azure = {} if missing() else request.getfixturevalue("azurite").environment()
    both = [Job(number, {**seaweed.environment(), **azure}) for number in range(2)]
    try:
        assert [job.hear() for job in both] == [{"at": "start"}] * 2
        yield both
    finally:
        for job in both:
            with contextlib.suppress(OSError):
                job.process.stdin.close()
            job.process.kill()
            job.process.wait(10)
            job.process.stdout.close()


def test_one_wins(jobs, store):
    for step in range(ROUNDS):
        url = f"{store}/step_{step}"
        for job in jobs:
            job.tell(url)
        # Both have written everything but the root, and neither has seen one.
        assert [job.hear() for job in jobs] == [{"at": f"step_{step}/checkpoint.json"}] * 2
        for job in jobs:
            job.tell("go")
        said = [job.hear() for job in jobs]
        won = [number for number, each in enumerate(said) if "digest" in each]
        assert len(won) == 1, said
        assert said[1 - won[0]] == {"code": "checkpoint.exists", "key": url}
        opened = pyckpt.open(url, framework="numpy")
        assert opened.digest == said[won[0]]["digest"]
        assert opened.metadata["job"] == won[0]
        assert (opened["model"]["w"][:] == won[0]).all()
        assert pyckpt.verify(url).ok
    assert len(pyckpt.list(store)) == ROUNDS
