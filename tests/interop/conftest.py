"""Checkpoints of tiny models, and a place for what becomes of them."""

from __future__ import annotations

import pytest

from tests.interop.export_models import llama, save


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(checkpoint, model), not to be changed."""
    model = llama()
    url = tmp_path_factory.mktemp("plain") / "run" / "step_1"
    save(url, model)
    return url, model


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    model = llama(tied=True)
    url = tmp_path_factory.mktemp("tied") / "run" / "step_1"
    save(url, model)
    return url, model


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
