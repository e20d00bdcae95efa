"""A module of one process filled from a Hugging Face directory: the same bits as ``from_pretrained`` gives."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, LlamaModel

import pyckpt
from pyckpt.errors import StateMismatch, UsageError
from pyckpt.interop import hf

CONFIG = {
    "vocab_size": 131,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def llama(seed, dtype=torch.float32, **changes):
    """Made in ``dtype``, as from_pretrained makes it: ``.to(dtype)`` would round the rotary frequencies too."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(LlamaConfig(**{**CONFIG, **changes}), dtype=dtype)


def same(a, b):
    a, b = dict(a.state_dict()), dict(b.state_dict())
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """bfloat16 in several files, as models are published."""
    folder = tmp_path_factory.mktemp("published")
    llama(1, torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def test_same_bits_as_from_pretrained(published):
    reference = LlamaForCausalLM.from_pretrained(published, dtype=torch.bfloat16)
    target = llama(2, torch.bfloat16)
    report = hf.load_into(target, published)
    assert same(target, reference)
    assert report.tensors == len(target.state_dict())
    assert report.bytes == report.read == sum(t.nbytes for t in target.state_dict().values())
    tokens = torch.arange(20)[None]
    assert torch.equal(target(tokens).logits, reference(tokens).logits)


def test_widened_into_float32(published):
    reference = LlamaForCausalLM.from_pretrained(published, dtype=torch.float32)
    target = llama(2)
    hf.load_into(target, published)
    assert same(target, reference)


def test_one_file(tmp_path):
    source = llama(3)
    source.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    target = llama(4)
    hf.load_into(target, tmp_path, dtype="error")
    assert same(target, source)


def test_tied_weights(tmp_path):
    source = llama(3, tie_word_embeddings=True)
    source.save_pretrained(tmp_path)
    target = llama(4, tie_word_embeddings=True)
    hf.load_into(target, tmp_path)
    assert same(target, source)
    assert target.lm_head.weight is target.model.embed_tokens.weight
    with pytest.raises(StateMismatch, match=r"lm_head\.weight"):
        hf.load_into(llama(4), tmp_path)


def test_rules_for_dtypes(tmp_path, published):
    with pytest.raises(StateMismatch) as caught:
        hf.load_into(llama(2), published, dtype="error")
    assert len(caught.value.findings) == len(llama(2).state_dict())
    source = llama(3)
    source.save_pretrained(tmp_path)
    narrow = llama(4, torch.bfloat16)
    with pytest.raises(StateMismatch, match="BF16"):
        hf.load_into(narrow, tmp_path)
    hf.load_into(narrow, tmp_path, dtype="cast")
    assert same(narrow, source.to(torch.bfloat16))


def test_all_that_differs_at_once_and_nothing_changed(published):
    target = llama(2, num_hidden_layers=3, intermediate_size=40)
    target.lm_head = torch.nn.Linear(32, 9)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(StateMismatch) as caught:
        hf.load_into(target, published)
    text = "\n".join(map(str, caught.value.findings))
    assert "model/model.layers.1.mlp.up_proj.weight: shape: the checkpoint has [48, 32], the target [40, 32]" in text
    assert "lm_head.bias: missing" in text
    assert "lm_head.weight: shape" in text
    assert len(caught.value.findings) == 3 * 2 + 9 + 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_part_of_a_model_under_other_names(published):
    torch.manual_seed(2)
    target = LlamaModel(LlamaConfig(**CONFIG)).to(torch.bfloat16)
    with pytest.raises(StateMismatch, match="missing"):
        hf.load_into(target, published)
    report = hf.load_into(target, published, map_key=lambda name: f"model.{name}", strict=False)
    assert same(target, LlamaForCausalLM.from_pretrained(published, dtype=torch.bfloat16).model)
    assert [finding.key for finding in report.skipped] == ["lm_head.weight"]


def test_declared_part(published):
    whole = LlamaForCausalLM.from_pretrained(published, dtype=torch.float32)
    part = torch.nn.Module()
    part.up = torch.nn.Parameter(torch.zeros(16, 32))
    name = "model.layers.1.mlp.up_proj.weight"
    layout = {"u*": pyckpt.Shard(0, 2, 3)}
    report = hf.load_into(part, published, map_key=lambda _: name, strict=False, layout=layout)
    assert torch.equal(part.up, whole.state_dict()[name][32:])
    assert report.bytes == 16 * 32 * 2
    assert report.read <= 48 * 32 * 2


def test_module_without_memory_is_refused(published):
    with torch.device("meta"):
        target = llama(2)
    with pytest.raises(pyckpt.PyckptError, match="to_empty"):
        hf.load_into(target, published)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ({"a": torch.zeros(1)}, {}),
        (torch.nn.Linear(1, 1), {"options": pyckpt.LoadOptions(expect="0" * 64)}),
        (torch.nn.Linear(1, 1), {"layout": {"model": {"weight": pyckpt.Shard(0, 0, 1)}}}),
        (torch.nn.Linear(1, 1), {"dtype": "narrow"}),
        (torch.nn.Linear(1, 1), {"layout": [pyckpt.Shard(0, 0, 1)]}),
    ],
)
def test_calls_that_make_no_sense(published, model, more):
    with pytest.raises(UsageError, match=r"usage\.invalid"):
        hf.load_into(model, published, **more)
