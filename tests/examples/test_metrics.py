"""What the manager tells arrives in the real TensorBoard, Prometheus and Weights & Biases."""

from __future__ import annotations

import pytest

from tests.examples.test_examples import EXAMPLES, run

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """A store with three saves of a run, and what Prometheus would have got of it."""
    pytest.importorskip("prometheus_client")
    store = tmp_path_factory.mktemp("metrics") / "run"
    return store, run(EXAMPLES / "metrics_prometheus.py", store)


def test_prometheus(scraped):
    values = dict(line.rsplit(" ", 1) for line in scraped[1].splitlines() if line)
    assert float(values['checkpoint_saves_total{outcome="done"}']) == 3
    assert float(values["checkpoint_last_step"]) == 30
    assert float(values["checkpoint_written_bytes_total"]) > 3 * 64 * 64 * 4
    assert float(values["checkpoint_deleted_total"]) == 1
    assert float(values["checkpoint_save_seconds_count"]) == 3


def test_tensorboard(scraped, tmp_path):
    loaders = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    run(EXAMPLES / "metrics_tensorboard.py", scraped[0], tmp_path)
    (path,) = tmp_path.iterdir()
    curves = {}
    for event in loaders.EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            curves.setdefault(value.tag, {})[event.step] = value.tensor.float_val[:1]
    assert list(curves["checkpoint/seconds"]) == [40, 50, 60]
    assert all(curves["checkpoint phases/write"][step][0] > 0 for step in (40, 50, 60))
    assert curves["checkpoint/deleted"][60] == [1.0]
    assert list(curves["checkpoint/restore seconds"]) == [30]
    assert len(curves["loss"]) == 30


def test_wandb(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is 60 MB with what it needs, too much for every run of the tests")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    out = run(EXAMPLES / "metrics_wandb.py", tmp_path / "run")
    assert f"last checkpoint: {tmp_path}/run/step-00000030" in out
    (log,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert log.read_bytes().count(b"checkpoint/bytes_written") >= 3
