"""Exports of what several ranks have saved, and exports by several ranks."""

from __future__ import annotations

import filecmp
import os

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from pyckpt.errors import RankError, StateMismatch
from pyckpt.interop import hf
from tests.interop import export_models as models
from tests.ranks.pool import Ranks

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def pool():
    ranks = Ranks(2)
    yield ranks
    ranks.close()


def same_files(one, other):
    names = sorted(os.listdir(one))
    assert names == sorted(os.listdir(other))
    assert filecmp.cmpfiles(one, other, names, shallow=False) == (names, [], [])


@pytest.mark.parametrize("tied", [False, True])
def test_fsdp2(pool, tmp_path, tied):
    url, out = tmp_path / "run" / "s", tmp_path / "out"
    pool.run(models.save_fsdp2, pool.size, url, tied, {"codec": "planes" if tied else "none", "block_bytes": 4096})
    report = hf.export(url, out)
    assert report.linked == 0
    assert bool(report.aliases) is tied
    assert torch.equal(models.logits(models.loaded(out)), models.logits(models.llama(tied=tied)))


def test_columns(pool, tmp_path):
    url, out = tmp_path / "run" / "s", tmp_path / "out"
    pool.run(models.save_columns, pool.size, url)
    hf.export(url, out, item="model", max_shard_size="50KB")
    assert torch.equal(models.logits(models.loaded(out)), models.logits(models.llama()))


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"max_shard_size": "40KB"}, {}])
def test_ranks_together_write_what_one_process_writes(pool, tmp_path, options):
    url = tmp_path / "run" / "s"
    model = models.llama(tied=True)
    models.save(url, model, assets={"tokenizer.json": b"{}"})
    reports = pool.run(models.export_together, url, tmp_path / "many", options)
    alone = hf.export(url, tmp_path / "one", **options)
    same_files(tmp_path / "one", tmp_path / "many")
    assert all(report == reports[0] for report in reports)
    assert reports[0].files == alone.files
    assert reports[0].linked == alone.linked
    assert sorted(os.listdir(tmp_path)) == ["many", "one", "run"]


def test_an_error_on_one_rank_is_an_error_on_all(pool, tmp_path):
    """The damaged block lies in a file of one rank only."""
    url = tmp_path / "run" / "s"
    models.save(url, models.llama())
    (data,) = (url / "model").glob("*.safetensors")
    with open(data, "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"\x55" * 8)
    options = {"max_shard_size": "40KB", "link": False}
    outcomes = pool.outcomes(models.export_together, url, tmp_path / "out", options)
    codes = sorted(outcome.error.code for outcome in outcomes)
    assert codes == ["block.digest", *["rank.failed"] * (pool.size - 1)]
    assert os.listdir(tmp_path) == ["run"]


def test_a_mismatch_is_told_to_all(pool, tmp_path):
    url = tmp_path / "run" / "s"
    state = dict(models.llama().state_dict())
    state.pop("model.norm.weight")
    models.save(url, models.llama(), state=state)
    outcomes = pool.outcomes(models.export_together, url, tmp_path / "out", {"item": "model"})
    assert all(isinstance(outcome.error, StateMismatch) for outcome in outcomes)
    assert {len(outcome.error.findings) for outcome in outcomes} == {1}
    assert os.listdir(tmp_path) == ["run"]


def test_ranks_that_write_to_different_places(pool, tmp_path):
    url = tmp_path / "run" / "s"
    models.save(url, models.llama())
    outcomes = pool.outcomes(models.export_apart, url, tmp_path / "out", {"collective": None})
    assert all(isinstance(outcome.error, RankError) for outcome in outcomes)
    assert os.listdir(tmp_path) == ["run"]
