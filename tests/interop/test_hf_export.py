"""A checkpoint becomes a directory that transformers loads to the same bits."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

import pyckpt
from pyckpt.errors import Corrupt, NotFound, StateMismatch, Unsupported, UsageError
from pyckpt.interop import hf
from tests.interop.export_models import SIZES, config_bytes, index_of, llama, loaded, logits, save, tensors_in


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(checkpoint, model), not to be changed."""
    model = llama()
    url = tmp_path_factory.mktemp("plain") / "run" / "step_1"
    save(url, model)
    return url, model


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    model = llama(tied=True)
    url = tmp_path_factory.mktemp("tied") / "run" / "step_1"
    save(url, model)
    return url, model


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


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
