"""What an export refuses, leaves as it was, or passes through; other libraries missing; other models."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

import pyckpt
from pyckpt.errors import Corrupt, StateMismatch, Unsupported, UsageError
from pyckpt.interop import hf
from tests.interop.export_models import SIZES, llama, loaded, logits, save, tensors_in


def left(tmp_path):
    """What an export that failed has left beside its directory."""
    return sorted(os.listdir(tmp_path))


def test_a_directory_that_is_not_empty_is_refused(plain, tmp_path, out):
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="empty"):
        hf.export(plain[0], out)
    assert left(tmp_path) == ["out"]
    assert os.listdir(out) == ["notes.txt"]
    (out / "notes.txt").unlink()
    hf.export(plain[0], out)
    assert len(os.listdir(out)) == 2
    with pytest.raises(UsageError):
        hf.export(plain[0], out / "config.json")
    with pytest.raises(UsageError, match="URL"):
        hf.export(plain[0], "s3://bucket/out")


def test_a_directory_that_fills_meanwhile_is_left_alone(plain, tmp_path, out):
    def fill(done, total):
        out.mkdir(exist_ok=True)
        (out / "other").write_text("theirs")

    with pytest.raises(UsageError, match="empty"):
        hf.export(plain[0], out, progress=fill)
    assert left(tmp_path) == ["out"]
    assert os.listdir(out) == ["other"]


@pytest.mark.parametrize("link", [True, False])
def test_damage_leaves_nothing_behind(tmp_path, link):
    model = llama()
    save(tmp_path / "run" / "s", model)
    (data,) = (tmp_path / "run" / "s" / "model").glob("*.safetensors")
    with open(data, "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"\x55" * 8)
    with pytest.raises(Corrupt) as caught:
        hf.export(tmp_path / "run" / "s", tmp_path / "new" / "deep" / "out", link=link)
    assert caught.value.code == "block.digest"
    assert left(tmp_path) == ["run"]
    hf.export(tmp_path / "run" / "s", tmp_path / "out", link=link, verify=False)


def test_a_damaged_header_is_never_linked(tmp_path, out):
    save(tmp_path / "run" / "s", llama())
    (data,) = (tmp_path / "run" / "s" / "model").glob("*.safetensors")
    text = data.read_bytes()
    data.write_bytes(text.replace(b"model.norm.weight", b"model.Norm.weight"))
    with pytest.raises(Corrupt) as caught:
        hf.export(tmp_path / "run" / "s", out, verify=False)
    assert caught.value.code == "object.header_digest"
    assert left(tmp_path) == ["run"]


def test_a_damaged_asset_leaves_nothing_behind(tmp_path, out):
    save(tmp_path / "run" / "s", llama(), assets={"tokenizer.json": b"{}"})
    (tmp_path / "run" / "s" / "model" / "tokenizer.json").write_bytes(b"[]")
    with pytest.raises(Corrupt) as caught:
        hf.export(tmp_path / "run" / "s", out)
    assert caught.value.code == "asset.digest"
    assert left(tmp_path) == ["run"]


def test_dtypes_that_only_safetensors_can_say(tmp_path, out):
    """NumPy and torch have none for them: what is stored is passed through, and safetensors finds the same bytes."""
    from safetensors import deserialize

    from pyckpt.engine.coordinator import Single
    from pyckpt.engine.leaves import ItemState, Piece, TensorLeaf
    from pyckpt.engine.memory import MemorySource
    from pyckpt.engine.options import SaveOptions
    from pyckpt.engine.save import Request
    from pyckpt.engine.save import save as save_leaves
    from pyckpt.format.geometry import Region
    from pyckpt.storage.url import open_store


    rng = np.random.default_rng(0)
    wanted = {"F4": (6, 8), "F6_E2M3": (16, 4), "F8_E8M0": (5,), "F8_E4M3": (7, 3), "BF16": (9, 2), "C64": (3,)}
    bits = {"F4": 4, "F6_E2M3": 6, "F8_E8M0": 8, "F8_E4M3": 8, "BF16": 16, "C64": 64}
    data = {name: rng.bytes(int(np.prod(shape)) * bits[name] // 8) for name, shape in wanted.items()}

    def leaf(dtype, shape, stored):
        return TensorLeaf(dtype, shape, (Piece(Region.whole(shape), MemorySource(stored)),), None)

    def collect():
        return [ItemState("model", "model", {name: leaf(name, shape, data[name]) for name, shape in wanted.items()})]

    store = open_store(tmp_path / "run")
    save_leaves(store, "s", Request(collect, {}, {}, "test"), options=SaveOptions(), coordinator=Single())
    hf.export(tmp_path / "run" / "s", out, config={"model_type": "homemade"}, dtype="float32")
    found = dict(deserialize((out / "model.safetensors").read_bytes()))
    for name in ("F4", "F6_E2M3", "F8_E8M0", "C64"):
        assert bytes(found[name]["data"]) == data[name]
        assert (found[name]["dtype"], tuple(found[name]["shape"])) == (name, wanted[name])
    assert found["BF16"]["dtype"] == found["F8_E4M3"]["dtype"] == "F32"
    bf16 = torch.frombuffer(bytearray(data["BF16"]), dtype=torch.bfloat16).float()
    assert bytes(found["BF16"]["data"]) == bf16.numpy().tobytes()


def test_a_dtype_that_safetensors_lacks(tmp_path, out):
    pyckpt.save(tmp_path / "run" / "s", {"model": {"z": torch.zeros(2, dtype=torch.complex128)}})
    with pytest.raises(Unsupported) as caught:
        hf.export(tmp_path / "run" / "s", out, item="model", config={"model_type": "homemade"})
    assert caught.value.key == "model/z"


def test_quantised_weights_are_not_cast(tmp_path, out):
    config = {**llama().config.to_dict(), "quantization_config": {"quant_method": "fp8"}}
    pyckpt.save(tmp_path / "run" / "s", {"model": llama()})
    with pytest.raises(UsageError, match="quantised"):
        hf.export(tmp_path / "run" / "s", out, config=config, dtype="bfloat16")
    assert "quantised" in hf.export(tmp_path / "run" / "s", out, config=config).unchecked


@pytest.mark.parametrize(
    "wrong",
    [{"dtype": "int8"}, {"dtype": "complex64"}, {"max_shard_size": "big"}, {"max_shard_size": 0}, {"threads": 0}],
)
def test_arguments_that_make_no_sense(plain, tmp_path, out, wrong):
    with pytest.raises(UsageError):
        hf.export(plain[0], out, **wrong)
    assert left(tmp_path) == []


def test_an_expected_digest(plain, tmp_path, out):
    with pytest.raises(Corrupt):
        hf.export(plain[0], out, expect="0" * 64)
    assert left(tmp_path) == []


def test_without_transformers_nothing_is_checked(plain, out, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        "pyckpt.interop.hf.expected.find_spec", lambda name: None if name == "transformers" else real(name)
    )
    report = hf.export(plain[0], out, map_key=lambda name: f"x.{name}")
    assert report.unchecked == "transformers is not installed"
    assert "x.lm_head.weight" in tensors_in(out)


def test_without_torch(plain, tmp_path):
    """Nothing of torch is needed where nothing is cast."""
    import subprocess

    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else real(name, *a)\n"
        "from pyckpt.interop import hf; print(hf.export(sys.argv[1], sys.argv[2]).unchecked)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, plain[0], tmp_path / "out"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "transformers is not installed\n", done.stderr
    assert torch.equal(logits(loaded(tmp_path / "out")), logits(plain[1]))


@pytest.mark.parametrize(
    ("make", "aliases", "remarks"),
    [
        (lambda: transformers.MixtralForCausalLM(transformers.MixtralConfig(**SIZES, num_local_experts=4)), 0, 1),
        (lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=128, n_embd=32, n_layer=1, n_head=2)), 1, 0),
        (lambda: transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**SIZES)), 0, 0),
        (lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)), 2, 0),
    ],
    ids=["experts", "gpt2", "classifier", "bert"],
)
@pytest.mark.filterwarnings("ignore")
def test_other_architectures(tmp_path, out, make, aliases, remarks):
    model = make().eval()
    model.config.architectures = [type(model).__name__]
    save(tmp_path / "run" / "s", model)
    report = hf.export(tmp_path / "run" / "s", out)
    assert report.architecture == type(model).__name__
    assert (len(report.aliases), len(report.remarks)) == (aliases, remarks)
    again = type(model).from_pretrained(out).state_dict()
    assert again.keys() == model.state_dict().keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_names_as_transformers_publishes_them(tmp_path, out):
    """Experts in files have a tensor each; in memory they are one."""
    model = transformers.MixtralForCausalLM(transformers.MixtralConfig(**SIZES, num_local_experts=4))
    model.save_pretrained(tmp_path / "published")
    state = tensors_in(tmp_path / "published")
    pyckpt.save(tmp_path / "run" / "s", {"model": state})
    report = hf.export(tmp_path / "run" / "s", out, item="model", config=tmp_path / "published")
    assert any("experts.3.w1" in name for name in state)
    assert not report.remarks
    state.pop(next(name for name in state if "experts.3.w1" in name))
    pyckpt.save(tmp_path / "run" / "t", {"model": state})
    with pytest.raises(StateMismatch) as caught:
        hf.export(tmp_path / "run" / "t", tmp_path / "t", item="model", config=tmp_path / "published")
    assert len(caught.value.findings) == 1
