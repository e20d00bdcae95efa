"""The tests of checkpoints by several processes."""

# ruff: noqa: D102  the name of a test says what it checks
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import Any, ClassVar

import pytest

import pyckpt
from pyckpt.storage.url import checkpoint_url

__all__ = ["RanksSuite", "torchrun"]

_LIMIT_SECONDS = 300.0


def torchrun(size: int, function: str, *arguments: object) -> list[Any]:
    """Call a function of ``rank_programs`` on new processes; gives what each gives. AssertionError if one fails."""
    with tempfile.TemporaryDirectory(prefix="pyckpt-ranks-") as directory:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        command += ["--nproc-per-node", str(size), "-m", "pyckpt.testing.rank_main", function, directory]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        if sys.platform == "linux":
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        done = subprocess.run(
            [*command, json.dumps(arguments)],
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        values = []
        for rank in range(size):
            with open(os.path.join(directory, f"{rank}.json"), encoding="utf-8") as file:
                values.append(json.load(file))
        return values


class RanksSuite:
    """Four ranks under FSDP2 save, others in other layouts load, and a manager lets fewer go on; takes torch.

    A subclass gives the fixture ``store_url``, the URL of an empty store that is new for each test. The ranks get the
    environment of this process.
    """

    weak: ClassVar[bool] = False
    """The store does not honour create-if-absent, and says so (``conditional_put`` is ``emulated``)."""

    @pytest.fixture(autouse=True)
    def _needs_torch(self) -> None:
        if find_spec("torch") is None:
            pytest.skip("torch is not installed")

    def run_on_ranks(self, size: int, function: str, *arguments: object) -> list[Any]:
        """Call a function of ``rank_programs`` on so many ranks; a subclass may have ranks at hand."""
        return torchrun(size, function, *arguments)

    def test_four_ranks_save_and_others_load(self, store_url: str) -> None:
        url = checkpoint_url(store_url, "step")
        digests = self.run_on_ranks(4, "save_under_fsdp", url, self.weak)
        assert len(set(digests)) == 1
        assert self.run_on_ranks(4, "save_again", url, self.weak) == ["checkpoint.exists"] * 4
        assert pyckpt.open(url).digest == digests[0]
        assert pyckpt.verify(url).ok
        assert self.run_on_ranks(4, "differences_in_a_mesh", url) == [[]] * 4
        assert self.run_on_ranks(2, "differences_under_fsdp", url) == [[]] * 2
        import torch

        from pyckpt.testing.rank_programs import weight

        loaded = pyckpt.load(url)["model"]
        assert len(loaded) == 3
        assert [name for name, tensor in loaded.items() if not torch.equal(tensor, weight(name))] == []

    def test_manager_goes_on_with_fewer_ranks(self, store_url: str) -> None:
        first = self.run_on_ranks(4, "managed", store_url, self.weak, 7)
        assert first == [{"begun": 0, "kept": ["step-00000006", "step-00000004"], "sum": first[0]["sum"]}] * 4
        second = self.run_on_ranks(2, "managed", store_url, self.weak, 9)
        assert second == [{"begun": 6, "kept": ["step-00000008", "step-00000006"], "sum": second[0]["sum"]}] * 2
        assert pyckpt.verify(checkpoint_url(store_url, "step-00000008")).ok
