"""The examples run as their first lines say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def demo_assets(monkeypatch):
    names = ("assets", "model")
    monkeypatch.syspath_prepend(str(EXAMPLES / "demo"))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import assets

    yield assets
    for name in names:
        sys.modules.pop(name, None)


def run(*arguments: object, limit: float = 120) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, *(str(each) for each in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def torchrun(ranks: int, *arguments: object) -> str:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    return run(*launcher, "--nproc-per-node", ranks, *arguments)


def test_single_process(tmp_path):
    out = run(EXAMPLES / "single_process.py", tmp_path)
    assert f"resumed from {tmp_path}/step-20 at step 20" in out
    assert "the next step is the same" in out


@pytest.mark.ranks
def test_managed(tmp_path):
    out = run(EXAMPLES / "managed.py", tmp_path, 35)
    assert "starting afresh" in out
    assert out.count("dashboard: ") == out.count("saved step ") == 3
    assert "deleted step-00000010" in out
    out = torchrun(2, EXAMPLES / "managed.py", tmp_path, 41)
    assert f"restored step 30 from {tmp_path}/step-00000030" in out
    assert "saved step 40" in out


def test_tiers(tmp_path):
    out = run(EXAMPLES / "tiers.py", tmp_path)
    assert "begins after step 0, from nothing" in out
    assert f"begins after step 40, from {tmp_path}/bucket" in out
    assert f"copied step-00000040 from {tmp_path}/bucket to {tmp_path}/nvme" in out
    *_, nvme, bucket, cold = out.splitlines()
    assert nvme == f"{tmp_path}/nvme: step-00000060, step-00000050"
    assert bucket.split(": ")[1] == ", ".join(f"step-{step:08d}" for step in range(60, 0, -10))
    assert cold.split(": ")[1] == ", ".join(f"step-{step:08d}" for step in (60, 40, 20))


def test_resume(tmp_path):
    out = run(EXAMPLES / "resume.py", tmp_path, 40)
    assert "starting afresh" in out
    back = run(EXAMPLES / "resume.py", tmp_path, 40, 20)
    assert f"restored step 20 from {tmp_path}/step-00000020" in back
    assert out.splitlines()[-1] == back.splitlines()[-1]
    assert out.splitlines()[-1].startswith("step 40, weights ")


def test_retention(tmp_path):
    lines = run(EXAMPLES / "retention.py", tmp_path).splitlines()
    assert [line for line in lines if line.startswith("kept ")] == [
        f"kept step-{step:08d}" for step in (70, 60, 50, 40, 25)
    ]
    assert "6 objects of deleted checkpoints wait for the end of the grace period" in lines
    assert lines[-1].endswith(" deleted step-00000020")


def test_read_slice():
    out = run(EXAMPLES / "read_slice.py")
    assert "rows 4096 to 4099: (4, 512), 8,192 bytes" in out
    assert "export-1/policy_model/vocabulary.txt" in out


@pytest.mark.ranks
def test_fsdp2_with_another_number_of_ranks(tmp_path):
    assert "step-3" in torchrun(4, EXAMPLES / "fsdp2.py", tmp_path)
    out = torchrun(2, EXAMPLES / "fsdp2.py", tmp_path)
    assert "on 2 ranks" in out
    assert "step-6" in out


def test_demo_tokenizer_gives_bytes(demo_assets, tmp_path):
    transformers = pytest.importorskip("transformers")
    for name, content in demo_assets.assets().items():
        (tmp_path / name).write_bytes(content)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = " Grüße —\n\ttab  two  spaces \x00\x7f € don't 123"
    separator = demo_assets.SEPARATOR_TEXT
    tokens = tokenizer(text + separator + text).input_ids
    assert tokens == [*text.encode(), 256, *text.encode()]
    assert tokenizer.decode(tokens) == text + separator + text
    assert tokenizer(demo_assets.SEPARATOR_TEXT).input_ids == [tokenizer.eos_token_id]


@pytest.mark.ranks
def test_push_weights():
    out = torchrun(4, EXAMPLES / "push_weights.py")
    assert "bytes on the wire in 1 waves" in out
    assert "step 3: generator at" in out


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_demo(tmp_path):
    out = run(EXAMPLES / "demo" / "run.py", "--build", tmp_path / "demo", limit=500)
    assert out.endswith("demo: OK\n")
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert report["ok"]
    assert report["second_run"]["compared"]["tensors"] > 100
    assert report["published"]["equal_bits"]
    assert (tmp_path / "demo" / "published" / "model.safetensors").exists()
