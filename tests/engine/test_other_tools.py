"""A whole item opens in any safetensors tool as it lies, under the tensors' own names."""

from __future__ import annotations

import subprocess
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file

import pyckpt


def test_whole_model_is_plain_safetensors(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(33, 7), torch.nn.BatchNorm1d(7), torch.nn.Embedding(11, 5)).bfloat16()
    model.register_buffer("flag", torch.tensor([True, False]))
    model.register_buffer("code", torch.arange(3, dtype=torch.uint8))
    model.register_buffer("none", torch.empty(0, 3))
    pyckpt.save(tmp_path / "step", {"policy_model": model}, options=pyckpt.SaveOptions(max_object_bytes=600))
    paths = sorted((tmp_path / "step" / "policy_model").glob("*.safetensors"))
    assert len(paths) > 1
    found = {}
    for path in paths:
        found |= load_file(path)
        with safe_open(path, "pt") as file:
            assert file.metadata()["format"] == "pt"
    state = model.state_dict()
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert found[name].data_ptr() % max(1, tensor.element_size()) == 0


def test_works_where_torch_is_not_installed(tmp_path):
    program = """
import sys
sys.modules["torch"] = None
import numpy as np, pyckpt
pyckpt.save(sys.argv[1] + "/step", {"model": {"w": np.arange(12.0).reshape(3, 4)}}, metadata={"step": 1})
assert pyckpt.load(sys.argv[1] + "/step")["model"]["w"][2, 3] == 11
assert pyckpt.open(sys.argv[1] + "/step")["model"]["w"][1:2, 1].tolist() == [5]
assert pyckpt.verify(sys.argv[1] + "/step").ok
from pyckpt.cli.main import main
sys.argv = ["pyckpt", "inspect", sys.argv[1] + "/step"]
main()
"""
    # find_spec refuses a module that is None, which is what an environment without torch looks like
    program = program.replace('sys.modules["torch"] = None', "import importlib.util as u; f = u.find_spec\n"
                              "u.find_spec = lambda n, *a: None if n == 'torch' else f(n, *a)\n"
                              'sys.modules["torch"] = None')
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "w" in done.stdout
