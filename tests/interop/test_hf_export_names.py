"""What an export takes for the model: names, configs, files beside the weights."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

import pyckpt
from pyckpt.errors import NotFound, StateMismatch, UsageError
from pyckpt.interop import hf
from tests.interop.export_models import config_bytes, llama, loaded, logits, save, tensors_in


def left(tmp_path):
    """What an export that failed has left beside its directory."""
    return sorted(os.listdir(tmp_path))


def test_everything_that_differs_is_listed(tmp_path, out):
    model = llama()
    state = dict(model.state_dict())
    state["model.norm.weigth"] = state.pop("model.norm.weight")
    state["model.layers.0.mlp.up_proj.weight"] = state["model.layers.0.mlp.up_proj.weight"][:, 1:].contiguous()
    state["value_head.weight"] = torch.zeros(1, 64)
    save(tmp_path / "run" / "s", model, state=state)
    with pytest.raises(StateMismatch) as caught:
        hf.export(tmp_path / "run" / "s", out, item="model")
    found = {finding.key: finding.message for finding in caught.value.findings}
    assert set(found) == {
        "model/model.norm.weight",
        "model/model.norm.weigth",
        "model/model.layers.0.mlp.up_proj.weight",
        "model/value_head.weight",
    }
    assert found["model/model.norm.weight"].endswith("nearest: model.norm.weigth")
    assert found["model/model.norm.weigth"].endswith("nearest: model.norm.weight")
    assert "[96, 63]" in found["model/model.layers.0.mlp.up_proj.weight"]
    assert left(tmp_path) == ["run"]
    report = hf.export(tmp_path / "run" / "s", out, item="model", strict=False)
    assert {finding.key for finding in report.findings} == set(found)
    assert tensors_in(out).keys() == state.keys()


def test_names_are_mapped(tmp_path, out):
    model = llama()
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    state["module.value_head"] = torch.zeros(3)
    save(tmp_path / "run" / "s", model, state=state)
    report = hf.export(
        tmp_path / "run" / "s",
        out,
        item="model",
        map_key=lambda name: None if "value" in name else name.removeprefix("module."),
    )
    assert torch.equal(logits(loaded(out)), logits(model))
    assert report.left_out == ("module.value_head: map_key gives None",)


@pytest.mark.parametrize("name", ["", "__metadata__", 3, "same"])
def test_names_that_no_file_can_have(plain, tmp_path, out, name):
    with pytest.raises(UsageError):
        hf.export(plain[0], out, map_key=lambda _: name)
    assert left(tmp_path) == []


def test_what_is_no_tensor_is_left_out(tmp_path, out):
    model = llama()
    state = {**model.state_dict(), "step": 3, "ema": {"decay": 0.9, "norm": torch.ones(2)}, "history": [1, 2]}
    save(tmp_path / "run" / "s", model, state=state)
    report = hf.export(tmp_path / "run" / "s", out, item="model")
    assert [line.partition(":")[0] for line in report.left_out] == ["step", "ema", "history"]
    assert "nested tensors" in report.left_out[1]
    assert torch.equal(logits(loaded(out)), logits(model))


def test_random_numbers_are_not_touched(plain, out):
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    hf.export(plain[0], out)
    assert torch.equal(torch.rand(3), wanted)
    assert torch.zeros(1).device.type == "cpu"


def test_which_item(tmp_path, out):
    models = {"policy": llama(), "value": llama(seed=1)}
    url = tmp_path / "run" / "s"
    pyckpt.save(url, {**models, "step": {"n": 1}}, assets={"value": {"config.json": config_bytes(models["value"])}})
    with pytest.raises(UsageError, match="policy, value"):
        hf.export(url, out)
    with pytest.raises(NotFound) as caught:
        hf.export(url, out, item="policy")
    assert caught.value.code == "asset.missing"
    with pytest.raises(NotFound):
        hf.export(url, out, item="critic")
    hf.export(url, out, item="value")
    assert torch.equal(logits(loaded(out)), logits(models["value"]))
    pyckpt.save(tmp_path / "run" / "t", {"rng": {"n": 1}})
    with pytest.raises(UsageError, match=r"no item is a model; .* rng \(other\)"):
        hf.export(tmp_path / "run" / "t", tmp_path / "t")
    assert left(tmp_path) == ["out", "run"]


@pytest.mark.parametrize("form", ["dict", "object", "file", "directory"])
def test_configs_from_elsewhere(tmp_path, out, form):
    model = llama()
    url = tmp_path / "run" / "s"
    pyckpt.save(url, {"model": model}, assets={"model": {"generation_config.json": b'{"top_k": 1}'}})
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_bytes(config_bytes(model))
    (folder / "generation_config.json").write_bytes(b'{"top_k": 2}')
    config = {
        "dict": model.config.to_dict(),
        "object": model.config,
        "file": str(folder / "config.json"),
        "directory": folder,
    }[form]
    hf.export(url, out, config=config)
    assert torch.equal(logits(loaded(out)), logits(model))
    assert json.loads((out / "generation_config.json").read_bytes()) == {"top_k": 2 if form == "directory" else 1}


@pytest.mark.parametrize("data", [b"[]", b"{", b'{"a":' + b"[" * 99_000 + b"]" * 99_000 + b"}", b"\xff"])
def test_what_is_no_config(tmp_path, out, data):
    pyckpt.save(tmp_path / "run" / "s", {"model": llama()}, assets={"model": {"config.json": data}})
    with pytest.raises(UsageError):
        hf.export(tmp_path / "run" / "s", out)
    with pytest.raises(UsageError):
        hf.export(tmp_path / "run" / "s", out, config=17)


def test_a_config_that_claims_too_much_is_not_built(tmp_path, out):
    config = {**llama().config.to_dict(), "num_hidden_layers": 10**9}
    pyckpt.save(tmp_path / "run" / "s", {"model": llama()})
    report = hf.export(tmp_path / "run" / "s", out, config=config)
    assert "num_hidden_layers = 1000000000" in report.unchecked


def test_code_of_a_checkpoint_is_never_run(tmp_path, out):
    """A config that wants code of its own is compared with the class of transformers, or not at all."""
    trap = b"import os\nos.environ['PYCKPT_TRAPPED'] = '1'\n"
    config = {**llama().config.to_dict(), "auto_map": {"AutoConfig": "trap.C", "AutoModelForCausalLM": "trap.M"}}
    for name, model_type in (("s", "llama"), ("t", "trapped")):
        url = tmp_path / "run" / name
        text = json.dumps({**config, "model_type": model_type}).encode()
        pyckpt.save(url, {"model": llama()}, assets={"model": {"config.json": text, "trap.py": trap}})
        report = hf.export(url, tmp_path / name)
        assert bool(report.unchecked) is (model_type == "trapped")
        assert (tmp_path / name / "trap.py").read_bytes() == trap
    assert "PYCKPT_TRAPPED" not in os.environ
    config["architectures"] = ["__import__('os')"]
    assert hf.export(tmp_path / "run" / "s", out, config=config).unchecked


def test_assets_that_loaders_want_and_none_that_they_could_take_for_weights(tmp_path, out):
    wanted = {
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{ }",
        "generation_config.json": b"{}\n",
        "tokenizer.model": b"\0\1",
        "merges.txt": b"",
        "chat_template.jinja": b"x",
        "additional_chat_templates/tool.jinja": b"y",
        "LICENSE": b"z",
    }
    hostile = (
        "consolidated.safetensors",
        "consolidated.00.pth",
        "consolidated.json",
        "Consolidated.txt",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "adapter_model.safetensors",
        "adapter_config.json",
        "params.json",
        "training_args.bin",
        "weights.PT",
        "x.safetensors",
        "deep/x.safetensors",
        "deep/tokenizer.json",
        "additional_chat_templates/x.bin",
        ".gitattributes",
    )
    model = llama()
    save(tmp_path / "run" / "s", model, assets={**wanted, **dict.fromkeys(hostile, b"evil")})
    report = hf.export(tmp_path / "run" / "s", out)
    files = {str(each.relative_to(out)) for each in out.rglob("*") if each.is_file()}
    assert files == {*wanted, "config.json", "model.safetensors"}
    for name, data in wanted.items():
        assert (out / name).read_bytes() == data
    assert {line.partition(":")[0] for line in report.left_out} == set(hostile)
    assert torch.equal(logits(loaded(out)), logits(model))


def test_tokenizers_from_elsewhere(tmp_path, out):
    from tokenizers import Tokenizer, models

    vocabulary = {"<unk>": 0, "a": 1, "b": 2}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, "<unk>")), unk_token="<unk>"
    )
    folder = tmp_path / "base"
    tokenizer.save_pretrained(folder)
    for name in ("model.safetensors", "config.json", "consolidated.model"):
        (folder / name).write_bytes(b"evil")
    save(tmp_path / "run" / "s", llama(), assets={"tokenizer.json": b"old", "merges.txt": b"old", "NOTICE": b"n"})
    for given, where in ((tokenizer, tmp_path / "one"), (folder, tmp_path / "two")):
        report = hf.export(tmp_path / "run" / "s", where, tokenizer=given)
        assert transformers.AutoTokenizer.from_pretrained(where).get_vocab() == vocabulary
        assert "merges.txt" not in os.listdir(where)
        assert "consolidated.model" not in os.listdir(where)
        assert (where / "NOTICE").read_bytes() == b"n"
        assert json.loads((where / "config.json").read_bytes())["model_type"] == "llama"
        assert len(report.left_out) == 2
    for wrong in (tmp_path / "run", 3):
        with pytest.raises(UsageError):
            hf.export(tmp_path / "run" / "s", out, tokenizer=wrong)
    assert "out" not in left(tmp_path)
    assert not [name for name in left(tmp_path) if name.startswith(".")]
