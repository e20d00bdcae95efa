"""A checkpoint becomes a directory that transformers loads to the same bits."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

import pyckpt
from pyckpt.errors import StateMismatch
from pyckpt.interop import hf
from tests.interop.export_models import index_of, llama, loaded, logits, save, tensors_in


def left(tmp_path):
    """What an export that failed has left beside its directory."""
    return sorted(os.listdir(tmp_path))


@pytest.mark.parametrize("link", [True, False])
def test_logits_are_equal_to_the_bit(plain, out, link):
    url, model = plain
    report = hf.export(url, out, link=link)
    assert sorted(os.listdir(out)) == ["config.json", "model.safetensors"]
    assert torch.equal(logits(loaded(out)), logits(model))
    assert report.files == ("model.safetensors",)
    assert report.tensors == 21
    assert report.parameters == sum(each.numel() for each in model.parameters())
    assert report.bytes == 4 * report.parameters
    assert report.architecture == "LlamaForCausalLM"
    assert report.dtype == "float32"
    assert not (report.unchecked or report.findings or report.left_out or report.remarks or report.aliases)
    assert bool(report.linked) is link


def test_tied_weights_are_written_once(tied, out):
    url, model = tied
    report = hf.export(url, out)
    names = tensors_in(out).keys()
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
    assert report.aliases == {"lm_head.weight": "model.embed_tokens.weight"}
    again = loaded(out)
    assert torch.equal(logits(again), logits(model))
    assert again.lm_head.weight is again.model.embed_tokens.weight


def test_files_have_the_size_that_was_asked_for(plain, out):
    url, model = plain
    report = hf.export(url, out, max_shard_size="30KB")
    index = index_of(out)
    assert index["metadata"] == {"total_parameters": report.parameters, "total_size": report.bytes}
    assert set(index["weight_map"]) == set(model.state_dict())
    assert sorted(set(index["weight_map"].values())) == list(report.files)
    count = len(report.files)
    assert report.files[0] == f"model-00001-of-{count:05d}.safetensors"
    sizes = {name: 0 for name in report.files}
    for name, tensor in model.state_dict().items():
        sizes[index["weight_map"][name]] += tensor.nbytes
    for name, size in sizes.items():
        inside = [key for key, file in index["weight_map"].items() if file == name]
        assert size <= 30_000 or len(inside) == 1
    assert torch.equal(logits(loaded(out)), logits(model))


def test_the_split_is_that_of_the_hub(plain, out):
    hub = pytest.importorskip("huggingface_hub")
    url, model = plain
    hf.export(url, out, max_shard_size=30_000, link=False)
    split = hub.split_torch_state_dict_into_shards(model.state_dict(), max_shard_size=30_000)
    assert index_of(out)["weight_map"] == split.tensor_to_filename


@pytest.mark.parametrize("dtype", ["bfloat16", "F16", torch.float64, "float8_e4m3fn"])
def test_a_cast_is_what_torch_does(plain, out, dtype):
    url, model = plain
    report = hf.export(url, out, dtype=dtype)
    wanted = {"F16": torch.float16}.get(dtype) or (dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype))
    written = tensors_in(out)
    for name, tensor in model.state_dict().items():
        assert written[name].dtype == wanted
        assert torch.equal(written[name].view(torch.uint8), tensor.to(wanted).view(torch.uint8))
    assert report.linked == 0
    config = json.loads((out / "config.json").read_bytes())
    if wanted != torch.float8_e4m3fn:
        assert config["dtype"] == config["torch_dtype"] == str(wanted).removeprefix("torch.")


def test_a_cast_leaves_integers_alone(tmp_path, out):
    state = {"w": torch.randn(7, 5), "ids": torch.arange(9), "flag": torch.tensor(True), "none": torch.zeros(0, 3)}
    pyckpt.save(tmp_path / "run" / "s", {"model": state})
    report = hf.export(tmp_path / "run" / "s", out, item="model", config={"model_type": "homemade"}, dtype="bfloat16")
    written = tensors_in(out)
    assert torch.equal(written["w"], state["w"].bfloat16())
    assert torch.equal(written["ids"], state["ids"])
    assert torch.equal(written["flag"], state["flag"])
    assert written["none"].dtype == torch.bfloat16
    assert "homemade" in report.unchecked
    assert not report.architecture


@pytest.mark.parametrize("codec", ["zstd", "planes"])
def test_encoded_checkpoints(tmp_path, out, codec):
    model = llama(seed=3)
    save(tmp_path / "run" / "s", model, codec=codec, block_bytes=4096)
    assert hf.export(tmp_path / "run" / "s", out).linked == 0
    assert torch.equal(logits(loaded(out)), logits(model))


def test_from_memory(out):
    model = llama(seed=4)
    save("memory://export-test/s", model)
    assert hf.export("memory://export-test/s", out).linked == 0
    assert torch.equal(logits(loaded(out)), logits(model))


def test_pieces_of_large_tensors(tmp_path, out, monkeypatch):
    """A tensor in many pieces, cast and not, with elements that a piece's end could cut."""
    monkeypatch.setattr("pyckpt.interop.hf.pieces.PIECE_BYTES", 5000)
    monkeypatch.setattr("pyckpt.interop.hf.write.MEMORY", 20_000)
    state = {"a": torch.randn(123, 457), "b": torch.randint(0, 255, (99_999,), dtype=torch.uint8), "c": torch.randn(3)}
    pyckpt.save(tmp_path / "run" / "s", {"model": state}, options=pyckpt.SaveOptions(block_bytes=4096))
    seen = []
    hf.export(
        tmp_path / "run" / "s",
        out,
        item="model",
        config={"tie_word_embeddings": False},
        dtype="float16",
        threads=3,
        progress=lambda done, total: seen.append((done, total)),
    )
    written = tensors_in(out)
    assert torch.equal(written["a"], state["a"].half())
    assert torch.equal(written["b"], state["b"])
    assert torch.equal(written["c"], state["c"].half())
    stored = sum(each.nbytes for each in state.values())
    assert seen[-1] == (stored, stored)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_link_is_the_same_file(plain, out):
    url, _ = plain
    (data,) = (url / "model").glob("*.safetensors")
    report = hf.export(url, out)
    assert os.path.samefile(data, out / "model.safetensors")
    assert report.linked == data.stat().st_size


def test_a_link_beside_written_files(tmp_path, out):
    """Two objects: one fits as it lies, in the other a name is changed."""
    model = llama(seed=5)
    save(tmp_path / "run" / "s", model, max_object_bytes=200_000)
    objects = sorted((tmp_path / "run" / "s" / "model").glob("*.safetensors"))
    assert len(objects) == 2
    state = model.state_dict()
    last = list(state)[-1]
    other = {**{name: tensor for name, tensor in state.items() if name != last}, f"module.{last}": state[last]}
    save(tmp_path / "run" / "t", model, state=other, max_object_bytes=200_000)
    objects = sorted((tmp_path / "run" / "t" / "model").glob("*.safetensors"))
    report = hf.export(
        tmp_path / "run" / "t", out, item="model", map_key=lambda name: name.removeprefix("module.")
    )
    same = [name for name in report.files for each in objects if os.path.samefile(each, out / name)]
    assert len(same) == 1
    assert 0 < report.linked < sum(each.stat().st_size for each in objects)
    assert torch.equal(logits(loaded(out)), logits(model))


def test_what_cannot_be_linked_is_written(plain, out, monkeypatch):
    url, model = plain

    def refuse(*_args, **_options):
        raise OSError(18, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    assert hf.export(url, out).linked == 0
    assert torch.equal(logits(loaded(out)), logits(model))


def test_an_object_with_a_dropped_alias_is_not_linked(tmp_path, out):
    """The config ties two tensors, the checkpoint has each: equal bytes, and one of them is enough."""
    model = llama(tied=True)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save(tmp_path / "run" / "s", model, state=state)
    report = hf.export(tmp_path / "run" / "s", out, item="model")
    assert report.linked == 0
    assert report.aliases == {"lm_head.weight": "model.embed_tokens.weight"}
    assert "lm_head.weight" not in tensors_in(out)
    assert torch.equal(logits(loaded(out)), logits(model))


def test_tied_tensors_that_differ(tmp_path, out):
    model = llama(tied=True)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["lm_head.weight"][-1, -1] += 1
    save(tmp_path / "run" / "s", model, state=state)
    with pytest.raises(StateMismatch) as caught:
        hf.export(tmp_path / "run" / "s", out, item="model")
    (finding,) = caught.value.findings
    assert finding.key == "model/lm_head.weight"
    assert "tie_word_embeddings" in finding.message
    assert left(tmp_path) == ["run"]
    report = hf.export(tmp_path / "run" / "s", out, item="model", strict=False)
    assert report.findings == (finding,)
    assert torch.equal(tensors_in(out)["lm_head.weight"], state["lm_head.weight"])


def test_the_only_name_of_a_tied_tensor_is_the_one_that_loaders_look_for(tied, out):
    url, model = tied
    report = hf.export(url, out, map_key=lambda name: None if name == "model.embed_tokens.weight" else name)
    assert report.aliases == {"lm_head.weight": "model.embed_tokens.weight"}
    assert torch.equal(logits(loaded(out)), logits(model))


def test_tied_by_hand_where_the_config_ties_nothing(tmp_path, out):
    """Loaders of an untied model miss the second name, so both are written."""
    model = llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    save(tmp_path / "run" / "s", model)
    report = hf.export(tmp_path / "run" / "s", out)
    assert report.aliases == {}
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= tensors_in(out).keys()
    assert torch.equal(logits(loaded(out)), logits(model))


@pytest.mark.parametrize(("says", "names"), [(None, {"a"}), (True, {"a"}), (False, {"a", "b"})])
def test_aliases_of_an_unknown_model(tmp_path, out, says, names):
    weight = torch.randn(4, 4)
    pyckpt.save(tmp_path / "run" / "s", {"model": {"a": weight, "b": weight}})
    config = {"model_type": "homemade"} | ({} if says is None else {"tie_word_embeddings": says})
    hf.export(tmp_path / "run" / "s", out, item="model", config=config)
    assert tensors_in(out).keys() == names
