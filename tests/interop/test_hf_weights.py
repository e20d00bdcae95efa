"""Directories of weights that are not what they should be: refused before anything of the target changes."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save, save_file

import pyckpt
from pyckpt.interop import hf


def net():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Linear(4, 3))


def zeros():
    made = net()
    with torch.no_grad():
        for each in made.parameters():
            each.zero_()
    return made


def weights():
    return {name: tensor.detach().clone() for name, tensor in net().state_dict().items()}


def is_loaded(module):
    return all(torch.equal(tensor, weights()[name]) for name, tensor in module.state_dict().items())


def is_untouched(module):
    return all(not tensor.count_nonzero() for tensor in module.state_dict().values())


def write_index(folder, weight_map, **more):
    text = weight_map if isinstance(weight_map, str) else json.dumps({"weight_map": weight_map, **more})
    (folder / "model.safetensors.index.json").write_text(text)


@pytest.fixture
def sharded(tmp_path):
    """Two files and their index."""
    parts = {"a.safetensors": ("0.weight", "1.bias"), "b.safetensors": ("0.bias", "1.weight")}
    for file, names in parts.items():
        save_file({name: weights()[name] for name in names}, tmp_path / file)
    write_index(tmp_path, {name: file for file, names in parts.items() for name in names}, metadata={"total_size": 156})
    return tmp_path


def refused(folder):
    """The error of a load that must change nothing."""
    target = zeros()
    with pytest.raises(pyckpt.PyckptError) as caught:
        hf.load_into(target, folder)
    assert is_untouched(target)
    return caught.value


def test_listed_files_are_read_and_no_others(sharded):
    save_file({"0.weight": torch.ones(4, 6)}, sharded / "consolidated.safetensors")
    (sharded / "notes.txt").write_text("no weights")
    target = zeros()
    report = hf.load_into(target, sharded)
    assert is_loaded(target)
    assert (report.tensors, report.bytes, report.read, report.digest) == (4, 172, 172, "")
    assert report.url == os.path.realpath(sharded)


def test_url_of_another_kind(sharded):
    from pyckpt.storage.url import open_store

    store = open_store("memory://hf-directory")
    for path in sharded.iterdir():
        store.put_new(path.name, path.read_bytes())
    target = zeros()
    hf.load_into(target, "memory://hf-directory")
    assert is_loaded(target)


@pytest.mark.parametrize(
    "name",
    [
        "../a.safetensors",
        "..",
        "/etc/a.safetensors",
        "sub/a.safetensors",
        "a\\b.safetensors",
        "a\0.safetensors",
        ".a.safetensors",
        "",
        "a.bin",
        "x" * 300 + ".safetensors",
        7,
        None,
    ],
)
def test_index_names_files_of_the_directory_alone(sharded, name):
    # The file of the first name is there: that it can't be read from here is what counts.
    save_file(weights(), sharded.parent / "a.safetensors")
    write_index(sharded, {"0.weight": name})
    assert refused(sharded).code == "manifest.schema"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("not JSON", "manifest.syntax"),
        ('{"weight_map": {"a": "a.safetensors", "a": "b.safetensors"}}', "manifest.syntax"),
        ("[" * 5000, "manifest.syntax"),
        ("[]", "manifest.schema"),
        ("{}", "manifest.schema"),
        ('{"weight_map": []}', "manifest.schema"),
        ('{"weight_map": {}}', "manifest.schema"),
    ],
)
def test_index_that_is_none(sharded, text, code):
    write_index(sharded, text)
    assert refused(sharded).code == code


def test_listed_file_that_is_not_there(sharded):
    (sharded / "b.safetensors").unlink()
    error = refused(sharded)
    assert (error.code, error.key) == ("object.missing", "b.safetensors")


def test_listed_tensors_that_are_not_there(sharded):
    files = dict.fromkeys(weights(), "a.safetensors")
    write_index(sharded, files)
    error = refused(sharded)
    assert error.code == "object.header"
    assert [finding.key for finding in error.findings] == ["0.bias", "1.weight"]


def test_one_name_in_two_listed_files(sharded):
    save_file({name: weights()[name] for name in ("0.bias", "1.weight", "0.weight")}, sharded / "b.safetensors")
    error = refused(sharded)
    assert error.code == "object.header"
    assert "'0.weight'" in str(error)
    assert "a.safetensors" in str(error)


def test_tensor_that_the_index_forgets_is_there_all_the_same(sharded):
    save_file({name: weights()[name] for name in ("0.bias", "1.weight")} | {"x": torch.ones(1)}, sharded / "b.safetensors")
    assert "unexpected" in str(refused(sharded))


def test_both_kinds_at_once(sharded):
    save_file(weights(), sharded / "model.safetensors")
    error = refused(sharded)
    assert error.code == "usage.invalid"
    write_index(sharded, dict.fromkeys(weights(), "model.safetensors"))
    target = zeros()
    hf.load_into(target, sharded)
    assert is_loaded(target)


def test_pickles_are_not_opened(tmp_path):
    torch.save(weights(), tmp_path / "pytorch_model.bin")
    error = refused(tmp_path)
    assert error.code == "usage.invalid"
    assert "pickle" in str(error)
    assert "save_pretrained" in error.hint


def test_nothing_there(tmp_path):
    error = refused(tmp_path)
    assert isinstance(error, FileNotFoundError)
    assert error.code == "checkpoint.missing"
    assert refused(tmp_path / "nowhere").code == "checkpoint.missing"


def test_own_checkpoint(tmp_path):
    pyckpt.save(tmp_path / "step-1", {"model": net()})
    error = refused(tmp_path / "step-1")
    assert "pyckpt.load" in error.hint


@pytest.mark.parametrize("cut", [0, 7, 9, 200, -1])
def test_short_files(tmp_path, cut):
    data = save(weights())
    (tmp_path / "model.safetensors").write_bytes(data[:cut])
    assert refused(tmp_path).code == "object.header"


def test_file_that_shrinks_after_its_header_was_read(tmp_path, monkeypatch):
    from pyckpt.interop.hf import start as module

    save_file(weights(), tmp_path / "model.safetensors")
    whole = module.read_headers

    def then_cut(directory):
        headers = whole(directory)
        os.truncate(tmp_path / "model.safetensors", headers[0].size - 8)
        return headers

    monkeypatch.setattr(module, "read_headers", then_cut)
    assert refused(tmp_path).code == "object.size"


def test_hub_cache(tmp_path):
    """A snapshot is a directory of links to blobs; loads work from it as from a plain directory."""
    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / "0123abcd"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    save_file(weights(), repository / "blobs" / "9f86d081")
    (snapshot / "model.safetensors").symlink_to("../../blobs/9f86d081")
    target = zeros()
    hf.load_into(target, snapshot)
    assert is_loaded(target)
    by_link = tmp_path / "link"
    by_link.symlink_to(snapshot)
    target = zeros()
    hf.load_into(target, by_link)
    assert is_loaded(target)
    (repository / "blobs" / "9f86d081").rename(repository / "elsewhere")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../elsewhere")
    assert refused(snapshot).code == "store.io"


def test_links(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(weights(), tmp_path / "outside.safetensors")
    (folder / "model.safetensors").symlink_to("../outside.safetensors")
    error = refused(folder)
    assert error.code == "store.io"
    assert "out of the directory" in str(error)
    (folder / "model.safetensors").unlink()
    save_file(weights(), folder / "inside.safetensors")
    (folder / "model.safetensors").symlink_to("inside.safetensors")
    target = zeros()
    hf.load_into(target, folder)
    assert is_loaded(target)


def test_headers_together_are_bounded(sharded, monkeypatch):
    from pyckpt.interop.hf import weights as module

    monkeypatch.setattr(module, "MAX_HEADER_BYTES", 250)
    assert refused(sharded).code == "limit.exceeded"
