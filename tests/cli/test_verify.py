import hashlib
import shutil
import subprocess

import numpy as np
import pytest

import pyckpt
from pyckpt.cli.sums import SummingStore
from pyckpt.engine.verify import verify
from pyckpt.storage.local import LocalStore

from .conftest import find, flip

KEYS = {"url", "digest", "ok", "deep", "findings", "remarks", "objects", "bytes", "seconds", "sha256sums"}


def test_sound(run, saved):
    ran = run("verify", saved / "step_100")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[1].startswith("sound: every byte is what was saved; 2 data objects, ")
    assert "data was not read" in run("verify", saved / "step_100", "--shallow").out


def test_json(run, saved):
    value = run("verify", saved / "step_100", "--json").json
    assert set(value) == KEYS
    assert (value["ok"], value["deep"], value["findings"], value["objects"]) == (True, True, [], 2)
    assert value["url"] == str(saved / "step_100")
    assert run("verify", saved / "step_100", "--json", "--shallow").json["deep"] is False


def test_damage(run, store):
    data = find(store / "step_100", "model/*.safetensors")
    flip(data)
    find(store / "step_100", "config.json").unlink()
    ran = run("verify", store / "step_100")
    assert ran.status == 1
    lines = ran.out.splitlines()
    assert "asset.missing  step_100/model/config.json" in lines
    assert f"block.digest  {data.relative_to(store)}" in lines
    assert any(line.startswith("damaged: 2 findings; ") for line in lines)
    value = run("verify", store / "step_100", "--json").json
    assert {finding["code"] for finding in value["findings"]} == {"asset.missing", "block.digest"}
    assert set(value["findings"][0]) == {"code", "key", "message"}
    assert run("verify", store / "step_100", "--shallow").status == 1


def test_a_damaged_root(run, store):
    flip(store / "step_100" / "checkpoint.json")
    ran = run("verify", store / "step_100")
    assert ran.status == 1
    assert "root.digest  step_100/checkpoint.json" in ran.out.splitlines()


def test_missing(run, saved):
    ran = run("verify", saved / "step_1000")
    assert ran.status == 1
    assert "did you mean step_100" in ran.err


@pytest.mark.parametrize("which", ["saved", "sharded"])
def test_sums(run, which, request, tmp_path):
    folder = request.getfixturevalue(which)
    folder = folder / "step_100" if which == "saved" else folder
    sums = tmp_path / "SHA256SUMS"
    ran = run("verify", folder, "--sha256sums", sums)
    assert ran.status == 0
    lines = sums.read_text().splitlines()
    assert f"{len(lines)} sums written to {sums}" in ran.out
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert [line[66:] for line in lines] == files
    for line in lines:
        assert line == f"{hashlib.sha256((folder / line[66:]).read_bytes()).hexdigest()}  {line[66:]}"
    if shutil.which("sha256sum"):
        done = subprocess.run(["sha256sum", "--strict", "-c", sums], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert run("verify", folder, "--json", "--sha256sums", sums).json["sha256sums"] == str(sums)


def test_no_sums_of_damage(run, store, tmp_path):
    flip(find(store / "step_100", "*.safetensors"))
    ran = run("verify", store / "step_100", "--sha256sums", tmp_path / "s")
    assert ran.status == 1
    assert "no sums written" in ran.out
    assert not (tmp_path / "s").exists()
    assert run("verify", store / "step_100", "--sha256sums", tmp_path / "s", "--json").json["sha256sums"] is None


def test_sums_that_cannot_be_written(run, saved, tmp_path):
    ran = run("verify", saved / "step_100", "--sha256sums", tmp_path / "no" / "where")
    assert ran.status == 2
    assert "the sums can't be written" in ran.err


def test_sums_are_made_of_the_verified_bytes(saved, monkeypatch):
    """One pass: when verification is over, no object has to be read again."""
    store = SummingStore(LocalStore(saved))
    assert verify(store, "step_100").ok
    files = {path.relative_to(saved).as_posix() for path in (saved / "step_100").rglob("*") if path.is_file()}
    assert set(store.sums) == files
    monkeypatch.setattr(store, "open_reader", None)
    for key in files:
        assert store.sum_of(key) == hashlib.sha256((saved / key).read_bytes()).hexdigest()


def test_sum_of_what_was_not_read_in_order(tmp_path):
    data = np.random.default_rng(0).bytes(100)
    LocalStore(tmp_path).put("x", data)
    store = SummingStore(LocalStore(tmp_path))
    with store.open_reader("x") as reader:
        buffer = bytearray(50)
        reader.read_into(50, [memoryview(buffer)])
        reader.read_into(0, [memoryview(buffer)])
    assert store.sums == {}
    assert store.sum_of("x") == hashlib.sha256(data).hexdigest()


def test_remarks_are_shown(run, saved, monkeypatch):
    from pyckpt.engine.report import VerifyReport

    report = VerifyReport("u", "0" * 64, True, (), ("something \x1b[2Jto know",), 1, 2, 3.0)
    monkeypatch.setattr("pyckpt.cli.verify.verify", lambda *_, **__: report)
    ran = run("verify", saved / "step_100")
    assert ran.status == 0
    assert "remark  something \\x1b[2Jto know" in ran.out.splitlines()


def test_progress_counts_to_the_end(saved):
    seen = []
    pyckpt.verify(saved / "step_100", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0
