"""``pyckpt export``, in this process and under a launcher."""

import filecmp
import json
import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

import pyckpt
from tests.interop.export_models import config_bytes, llama, loaded, logits, save


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(checkpoint, model), not to be changed."""
    model = llama(tied=True)
    url = tmp_path_factory.mktemp("made") / "run" / "step_1"
    save(url, model, assets={"notes.bin": b"\0"})
    return url, model


def test_for_people(run, made, tmp_path):
    url, model = made
    ran = run("export", "--to", "hf", url, tmp_path / "out")
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == f"{tmp_path / 'out'}  {pyckpt.open(url).digest}"
    assert lines[1] == "tied  lm_head.weight = model.embed_tokens.weight"
    assert lines[2].startswith("left out  notes.bin: ")
    assert lines[3] == "architecture  LlamaForCausalLM"
    assert lines[4].startswith("exported: 20 tensors, 273.2 KiB in 1 file, 277.2 KiB of it linked; ")
    assert torch.equal(logits(loaded(tmp_path / "out")), logits(model))


def test_for_programs(run, made, tmp_path):
    url, _ = made
    value = run(
        "export", "--to", "hf", url, tmp_path / "out", "--json", "--max-shard-size", "50KB", "--dtype", "bfloat16"
    ).json
    assert set(value) == {
        "path", "checkpoint", "digest", "item", "files", "tensors", "parameters", "bytes", "linked", "dtype",
        "architecture", "unchecked", "aliases", "findings", "left_out", "remarks", "seconds",
    }  # fmt: skip
    assert value["files"] == sorted(name for name in os.listdir(tmp_path / "out") if name.endswith(".safetensors"))
    assert value["dtype"] == "bfloat16"
    assert value["linked"] == 0
    assert loaded(tmp_path / "out").dtype == torch.bfloat16


def test_options(run, tmp_path):
    model = llama()
    pyckpt.save(tmp_path / "run" / "s", {"a": model, "b": llama(seed=1)})
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_bytes(config_bytes(model))
    (folder / "tokenizer.json").write_bytes(b"{}")
    given = ("--item", "a", "--config", folder / "config.json", "--tokenizer", folder, "--no-link", "--no-verify")
    ran = run("export", "--to", "hf", tmp_path / "run" / "s", tmp_path / "out", *given)
    assert ran.status == 0, ran.err
    assert "linked" not in ran.out
    assert sorted(os.listdir(tmp_path / "out")) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert torch.equal(logits(loaded(tmp_path / "out")), logits(model))


def test_what_differs(run, tmp_path):
    model = llama()
    state = dict(model.state_dict())
    state["model.norm.weigth"] = state.pop("model.norm.weight")
    save(tmp_path / "run" / "s", model, state=state)
    call = ("export", "--to", "hf", tmp_path / "run" / "s", tmp_path / "out", "--item", "model")
    ran = run(*call)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("pyckpt: state.mismatch: model\n")
    assert "nearest: model.norm.weigth" in ran.err
    assert not (tmp_path / "out").exists()
    assert len(run(*call, "--json").json["error"]["findings"]) == 2
    ran = run(*call, "--no-strict")
    assert ran.status == 0
    assert ran.out.count("state.mismatch") == 2
    ran = run(*call)
    assert ran.status == 1
    assert "usage.invalid" in ran.err


def test_a_near_name(run, made, tmp_path):
    ran = run("export", "--to", "hf", made[0].with_name("step_2"), tmp_path / "out")
    assert ran.status == 1
    assert "did you mean step_1?" in ran.err


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--to", "gguf", "x/y", "z"),
        ("x/y", "z"),
        ("--to", "hf", "x/y", "z", "--dtype", "int4"),
        ("--to", "hf", "x/y", "z", "--max-shard-size", "many"),
        ("--to", "hf", "x/y", "z", "--tokenizer", "nowhere"),
        ("--to", "hf", "a/..", "z"),
    ],
)
def test_what_makes_no_sense(run, args):
    ran = run("export", *args)
    assert (ran.status, ran.out) == (2, "")
    assert "Traceback" not in ran.err


@pytest.mark.ranks
def test_under_a_launcher(made, tmp_path):
    url, _ = made
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1")
    command = ("-m", "pyckpt.cli.main", "export", "--to", "hf", url, tmp_path / "many", "--max-shard-size", "50KB", "--json")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", *command], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert len(value["files"]) > 2
    from pyckpt.interop import hf

    hf.export(url, tmp_path / "one", max_shard_size="50KB")
    names = sorted(os.listdir(tmp_path / "one"))
    assert filecmp.cmpfiles(tmp_path / "one", tmp_path / "many", names, shallow=False) == (names, [], [])
    shutil.rmtree(tmp_path / "many")
