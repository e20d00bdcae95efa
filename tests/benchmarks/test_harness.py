"""The harness measures what it says: arms in processes of their own, checked loads, cold files, counted bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness import cold
from benchmarks.harness.bars import judge
from benchmarks.harness.results import read
from benchmarks.harness.segment import Segment, expected, place
from benchmarks.harness.workloads import Layout, TensorSpec, Workload

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "benchmarks" / "exec_arm_example.py"

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc, mincore and shared memory as Linux has them")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A run with our arm, a limit, a peer, a program, one that forgets a tensor, and a class that isn't there."""
    place = tmp_path_factory.mktemp("harness")
    forgetful = place / "forgetful.py"
    text = EXAMPLE.read_text().replace("def load(", "def honest_load(")
    cut = "def load(path, target):\n    honest_load(path, target)\n    target[:64] = bytes(64)\n\n\n"
    forgetful.write_text(text.replace("def answer(", cut + "def answer("))
    command = [sys.executable, "-m", "benchmarks", "run", "--suite", "quick", "--cases", "disk,fewer"]
    command += ["--repetitions", "2", "--ranks", "2", "--bytes", "2e6", "--dir", str(place / "files"), "--json", str(place / "out.json")]
    command += ["--arms", "raw buffered,pyckpt,safetensors", "--arm", "no_such_module:Arm"]
    for program in (EXAMPLE, forgetful):
        command += ["--exec-arm", f"{sys.executable} {program}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    return place, done.stdout, read(str(place / "out.json"))


@linux
@pytest.mark.ranks
def test_every_arm_takes_its_turns(result):
    _, _, run = result
    case, _ = run.cases
    program = f"{sys.executable} {EXAMPLE}"
    assert [arm.name for arm in case.arms] == ["raw buffered", "pyckpt", "safetensors", program]
    for arm in case.arms:
        assert all(arm.checked.values())
        assert arm.checked
        for samples in (*arm.steps["save"].values(), *arm.steps["load"].values()):
            assert [sample.round for sample in samples] == [1, 2]
            assert all(sample.seconds > 0 for sample in samples)
    assert case.arms[1].settings["digest"] == "blake3"
    assert case.arms[3].settings == {"about": "one file, written and synced by one thread"}


@linux
@pytest.mark.ranks
def test_bytes_are_counted_and_loads_are_cold(result):
    _, _, run = result
    case, _ = run.cases
    for arm in case.arms:
        (saved,), (loaded,) = (list(arm.series(step))[0][1][:1] for step in ("save", "load"))
        assert case.nbytes <= saved.calls_written < 1.2 * case.nbytes
        assert case.nbytes <= saved.stored < 1.2 * case.nbytes
        assert case.nbytes <= max(loaded.calls_read, loaded.device_read) < 1.2 * case.nbytes
        if case.file_system != "tmpfs":
            assert loaded.resident < 0.01
    in_memory = next(arm for arm in case.arms if arm.name == "safetensors")
    assert in_memory.steps["load"][""][0].peak >= case.nbytes


@linux
@pytest.mark.ranks
def test_arms_that_fail_are_listed_with_the_reason(result):
    _, printed, run = result
    absent = {each.arm: each.reason for each in run.cases[0].absent}
    (forgetful,) = (reason for arm, reason in absent.items() if "forgetful" in arm)
    assert forgetful == "failed in round 0: model.embed_tokens.weight was not loaded as it was saved"
    assert absent["no_such_module:Arm"] == "No module named 'no_such_module'"
    assert "- absent: no_such_module:Arm: No module named 'no_such_module'" in printed


@linux
@pytest.mark.ranks
def test_ranks_save_and_fewer_load(result):
    _, _, run = result
    _, case = run.cases
    assert (case.ranks, case.load_ranks) == (2, 1)
    ours = next(arm for arm in case.arms if arm.name == "pyckpt")
    assert ours.checked == {"load": True, "load digests not checked": True}
    assert case.nbytes <= ours.steps["load"][""][0].calls_read < 1.2 * case.nbytes
    reasons = {each.arm: each.reason for each in case.absent}
    assert reasons[f"{sys.executable} {EXAMPLE}"] == "knows protocol 1, one rank and the CPU"


@linux
@pytest.mark.ranks
def test_nothing_is_left(result):
    place, _, _ = result
    assert not [path for path in (place / "files").rglob("*") if path.is_file()]


@linux
@pytest.mark.ranks
def test_bars_are_judged_from_pairs(result):
    _, _, run = result
    found = {bar.measure: bar for bar in judge([run])}
    bar = found["load from disk, cold, verified: against safetensors"]
    assert bar.asked == "1.3x"
    assert bar.met is not None
    assert found["save in memory: against torch.save"].met is None


@linux
@pytest.mark.ranks
def test_reports_come_from_the_stored_result(result, tmp_path, capsys):
    from benchmarks.harness.report_command import report

    place, printed, _ = result
    assert report([str(place / "out.json")]) == 0
    assert capsys.readouterr().out.strip() == printed.strip()
    assert report([str(place / "out.json"), "--bars"]) == 0
    assert "| load from disk, cold, verified: against safetensors | 1.3x |" in capsys.readouterr().out
    (tmp_path / "other.json").write_text('{"version": 1}')
    assert report([str(tmp_path / "other.json")]) == 1
    assert "is not a result" in capsys.readouterr().err


@linux
@pytest.mark.ranks
def test_plots_are_drawn(result, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="comes with the extra bench")
    from benchmarks.harness.report_command import report

    place, _, _ = result
    assert report([str(place / "out.json"), "--plots", str(tmp_path / "plots")]) == 0
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {"bars-disk.png", "bars-fewer.svg"}


def test_device_that_is_not_there_is_refused():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a device here")
    from benchmarks.harness.command import run

    with pytest.raises(SystemExit, match="finds no CUDA device"):
        run(["--device", "cuda"])


@linux
@pytest.mark.parametrize("dim", [0, 1])
def test_parts_of_all_ranks_make_up_the_tensor(tmp_path, dim):
    workload = Workload("", (TensorSpec("a", "float32", (7, 5, 3)), TensorSpec("b", "bfloat16", (5,))))
    whole = {part.name: expected(part) for part in place(workload, Layout(), 0)}
    for spec, dtype in zip(workload.tensors, (np.uint32, np.uint16), strict=True):
        tensor = np.zeros(spec.shape, dtype)
        for rank in range(3):
            part = next(each for each in place(workload, Layout(3, dim), rank) if each.name == spec.name)
            at = tuple(slice(first, first + size) for first, size in zip(part.offsets, part.shape, strict=True))
            tensor[at] += expected(part).view(dtype).reshape(part.shape)
        assert np.array_equal(tensor, whole[spec.name].view(dtype).reshape(spec.shape))
    segment = Segment(str(tmp_path / "segment"), place(workload, Layout(3, dim), 0))
    segment.fill()
    assert segment.wrong() is None
    segment.zero()
    assert segment.wrong() == "a"
    segment.close()


@linux
def test_cold_is_proved(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    assert cold.resident_part(str(path)) == 1.0
    if not cold.in_memory(str(path)):
        assert cold.drop(str(tmp_path)) < 0.01
    else:
        assert cold.drop(str(tmp_path)) == 1.0


def test_a_commit_is_simulated_with_the_tables_that_writers_send():
    from benchmarks.harness.arms.metadata import PyckptCommit

    arm = PyckptCommit(writers=3, shards=4)
    arm.open(None, None)
    arm.ways("work")[""]("")
