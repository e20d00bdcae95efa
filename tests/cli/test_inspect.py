import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import pyckpt
from pyckpt.format.keys import ROOT_NAME

from .conftest import find, flip

SCHEMAS = Path(__file__).parents[2] / "spec" / "schema"


def check(name, value):
    Draft202012Validator(json.loads((SCHEMAS / name).read_text())).validate(value)


def test_the_whole_in_80_columns(run, saved):
    ran = run("inspect", saved / "step_100")
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    root = json.loads((saved / "step_100" / ROOT_NAME).read_bytes())
    assert lines[0] == f"step_100  {saved}"
    assert f"  digest   {root['digest']}" in lines
    assert any(line.startswith("  created  20") and line.endswith("UTC, sequence 1") for line in lines)
    assert any(root["attempt"] in line for line in lines)
    assert max(map(len, lines[1:])) <= 80
    assert "├─ step         int   100" in lines
    assert "├─ loss         float nan" in lines
    assert ["model", "other", "16", "16", "1", "944", "B"] in [line.split() for line in lines]
    assert ["all", "33", "33", "2", "2.0", "KiB"] in [line.split() for line in lines]
    assert "├─ layers.{0..2}.    ×3 of 272 B            816 B" in lines
    assert "│  │  ├─ q.weight    F32 [4, 4]              64 B" in lines
    assert "└─ head.weight       =   embed.weight" in lines
    assert "asset config.json  2 B" in lines
    assert any("625 values: 0, 1, 2" in line for line in lines)


def test_nothing_of_a_stranger_reaches_the_terminal(run, saved):
    for extra in ([], ["--all"], ["rng"]):
        out = run("inspect", saved / "step_100", *extra).out
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "text%1B[31m" in out
        assert '"\\x1b[1mloud\\u202e"' in out


def test_one_item(run, saved):
    out = run("inspect", saved / "step_100", "optimizer").out
    lines = out.splitlines()
    assert lines[0] == "optimizer  other · 17 tensors · 1.0 KiB"
    assert "digest" not in out
    assert "│     ├─ attn.{q,k,v}.weight/  ×3 of 64 B              192 B" in lines
    assert "│     │  └─ step               int   11 … 23" in lines
    assert any(line.endswith("lr                 float 0.001") for line in lines)


def test_depth(run, saved):
    out = run("inspect", saved / "step_100", "model", "--depth", "1").out
    assert out.splitlines()[1].startswith("├─ embed.weight ")
    assert "├─ layers.{0..2}.  5 tensors, ×3 of 272 B  816 B" in [re.sub("   +", "  ", line) for line in out.splitlines()]
    assert "norm" not in out
    assert run("inspect", saved / "step_100", "--depth", "0").status == 2


def test_all(run, saved):
    out = run("inspect", saved / "step_100", "model", "--all").out
    assert "×" not in out
    assert out.count("norm.weight") == 3


def test_a_thousand_layers_stay_readable(run, tmp_path):
    import numpy as np

    names = ("attn.wq", "attn.wk", "mlp.w1.weight", "mlp.w1.bias", "n1")
    model = {f"blocks.{n}.{name}": np.zeros((2, 2), np.float32) for n in range(200) for name in names}
    odd = {f"part_{n}": np.zeros(n + 1, np.float32) for n in range(100)}
    pyckpt.save(tmp_path / "run" / "s", {"model": model, "odd": odd})
    out = run("inspect", tmp_path / "run" / "s").out
    assert len(out.splitlines()) < 75
    assert "blocks.{0..199}.  ×200 of 80 B" in out
    assert "└─ … 60 more (--all shows them)" in out
    assert len(run("inspect", tmp_path / "run" / "s", "--all").out.splitlines()) > 1100


def test_json(run, saved):
    for name in ("step_100", "step_200"):
        value = run("inspect", saved / name, "--json").json
        assert list(value) == ["root", "items"]
        assert value["root"] == json.loads((saved / name / ROOT_NAME).read_bytes())
        check("checkpoint.schema.json", value["root"])
        assert list(value["items"]) == ["model", "optimizer", "rng"]
        for projection in value["items"].values():
            check("manifest.schema.json", projection)
    value = run("inspect", saved / "step_100", "optimizer", "--json").json
    assert list(value["items"]) == ["optimizer"]


def test_shards_of_every_layout(run, sharded):
    out = run("inspect", sharded).out
    assert ["model", "model", "9", "22", "2", "1.4", "KiB"] in [line.split() for line in out.splitlines()]
    for name in ("rows", "columns", "line", "flat", "optimizer", "interleaved", "cube", "empty", "scalar"):
        ran = run("inspect", sharded, "--shards", name)
        assert ran.status == 0
        assert max(map(len, ran.out.splitlines())) <= 80
        assert "-00000.safetensors" in ran.out
    lines = run("inspect", sharded, "model", "--shards", "rows").out.splitlines()
    assert [line.strip() for line in lines[4:12]] == [
        f"{label}│{'A' * 64 if at < 4 else 'B' * 64}│" for at, label in enumerate(["0", *[""] * 6, "16"])
    ]
    assert ["A", "[0:8,0:8]", "4,096", "4,352", "256", "B"] in [line.split() for line in lines]
    flat = run("inspect", sharded, "--shards", "flat").out
    assert "│" + "A" * 17 + "B" * 18 + "│" in flat
    assert "[0:5,0:7](17:35)" in flat
    cube = run("inspect", sharded, "--shards", "cube").out
    assert "│" + "A" * 32 + "B" * 32 + "│" in cube
    assert "│" + "B" * 32 + "A" * 32 + "│" in cube
    check("manifest.schema.json", run("inspect", sharded, "--json").json["items"]["model"])


def test_shards_as_json(run, sharded):
    value = run("inspect", sharded, "--shards", "flat", "--json").json
    assert list(value) == ["item", "number", "tensor", "objects"]
    assert [shard["run"] for shard in value["tensor"]["shards"]] == [[0, 17], [17, 35]]
    assert {shard["object"] for shard in value["tensor"]["shards"]} == {0, 1}


def test_shards_by_path_and_codec(run, saved, tmp_path):
    import numpy as np

    out = run("inspect", saved / "step_200", "--shards", "state/layers.0.norm.weight/exp_avg").out
    assert "tensor 5 of optimizer" in out
    assert "codec" not in out
    options = pyckpt.SaveOptions(codec="planes")
    pyckpt.save(tmp_path / "run" / "s", {"a": {"w": np.zeros((256, 256))}}, options=options)
    out = run("inspect", tmp_path / "run" / "s", "--shards", "w").out
    assert out.splitlines()[-1].split()[-1] == "planes"
    ran = run("inspect", saved / "step_200", "--shards", "layers.0.norm.weigth")
    assert ran.status == 1
    assert "pyckpt: tensor.missing" in ran.err
    assert "layers.0.norm.weight" in ran.err


def test_a_name_that_two_items_have(run, tmp_path):
    import numpy as np

    pyckpt.save(tmp_path / "run" / "s", {"a": {"w": np.zeros(2)}, "b": {"w": np.zeros(2)}})
    ran = run("inspect", tmp_path / "run" / "s", "--shards", "w")
    assert ran.status == 1
    assert "name the item: a, b" in ran.err
    assert run("inspect", tmp_path / "run" / "s", "b", "--shards", "w").status == 0


def test_a_damaged_manifest_spoils_one_item_only(run, store):
    flip(find(store / "step_100", "model/manifest*"), 40)
    ran = run("inspect", store / "step_100")
    assert ran.status == 1
    assert "model  can't be read: manifest.digest" in ran.out
    assert "optimizer  other" in ran.out
    assert "pyckpt: manifest.digest: step_100/model/manifest-" in ran.err
    ran = run("inspect", store / "step_100", "--json")
    assert (ran.status, ran.json["error"]["code"]) == (1, "manifest.digest")


@pytest.mark.parametrize(
    ("name", "code", "hint"),
    [
        ("run/step_10", "checkpoint.missing", "did you mean step_100"),
        ("run", "checkpoint.missing", "it is a store: add a name such as run/step_200"),
        ("run/nothing", "checkpoint.missing", "see what is there with: pyckpt list"),
        ("run/step_100", "item.missing", "items are: model, optimizer, rng"),
    ],
)
def test_missing(run, saved, name, code, hint):
    ran = run("inspect", saved.parent / name, *(["optimiser"] if code == "item.missing" else []))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"pyckpt: {code}: ")
    assert hint in ran.err
