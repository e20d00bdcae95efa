"""Lets the shared checks say what they found; checkpoints that tests of copies begin with."""

from __future__ import annotations

import shutil

import pytest

from pyckpt.storage.local import LocalStore

pytest.register_assert_rewrite("tests.durability.kill_points", "tests.durability.cases", "tests.durability.bounds")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with checkpoints that use each other's objects."""
    from tests.durability.carried import save_carriers

    root = tmp_path_factory.mktemp("saved") / "run"
    save_carriers(LocalStore(root))
    return root


@pytest.fixture
def source(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "source")
    return LocalStore(tmp_path / "source")


@pytest.fixture
def target(tmp_path):
    return LocalStore(tmp_path / "target")
