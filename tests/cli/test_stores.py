import json
import os
import time

import numpy as np
import pytest

import pyckpt
from pyckpt.engine.collect import GRACE_SECONDS
from pyckpt.engine.listing import Listed
from pyckpt.format.root import External, decode_root, encode_root

from .conftest import flip

LISTED = {
    "name",
    "url",
    "digest",
    "sequence",
    "created",
    "step",
    "pinned",
    "items",
    "tensors",
    "bytes",
    "needs",
    "gone",
    "stands_alone",
    "error",
}


def age(folder, seconds=2 * GRACE_SECONDS):
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def test_list(run, saved):
    ran = run("list", saved)
    assert (ran.status, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines()]
    assert rows[0] == ["checkpoint", "step", "seq", "created", "(UTC)", "age", "items", "size"]
    assert [row[:3] for row in rows[1:3]] == [["step_200", "200", "2"], ["step_100", "100", "1"]]
    assert rows[2][-3:] == ["3", "2.0", "KiB"]
    assert max(map(len, ran.out.splitlines())) <= 80


def test_list_as_json(run, saved):
    value = run("list", saved, "--json").json
    assert list(value) == ["store", "checkpoints"]
    first, second = value["checkpoints"]
    assert set(first) == set(second) == LISTED
    assert (first["name"], first["step"], first["sequence"], first["error"]) == ("step_200", 200, 2, None)
    assert first["url"] == str(saved / "step_200")
    assert first["items"] == {"model": "other", "optimizer": "other", "rng": "other"}
    assert (first["needs"], first["gone"], first["stands_alone"]) == ([], [], True)


def test_list_of_nothing(run, tmp_path):
    ran = run("list", tmp_path)
    assert (ran.status, ran.out) == (0, f"no checkpoints in {tmp_path}\n")
    assert run("list", tmp_path, "--json").json == {"store": str(tmp_path), "checkpoints": []}
    ran = run("list", tmp_path / "typo")
    assert ran.status == 1
    assert "no such directory" in ran.err


def test_list_of_a_checkpoint(run, saved):
    ran = run("list", saved / "step_100")
    assert ran.status == 2
    assert f"the store is {saved}" in ran.err


def test_damaged_ones_come_last(run, store):
    flip(store / "step_200" / "checkpoint.json")
    ran = run("list", store)
    assert ran.status == 1
    rows = [line.split() for line in ran.out.splitlines() if line]
    assert [row[0] for row in rows[1:3]] == ["step_100", "step_200"]
    assert rows[2] == ["step_200", "root.digest"]
    ran = run("list", store, "--json")
    assert ran.status == 1
    damaged = ran.json["checkpoints"][1]
    assert (damaged["name"], damaged["error"]["code"]) == ("step_200", "root.digest")


def test_needed_checkpoints_are_named(run, saved, monkeypatch):
    data = (saved / "step_100" / "checkpoint.json").read_bytes()
    import dataclasses

    needs = (External("step_200", "0" * 64), External("step_3", "1" * 64))
    root = decode_root(encode_root(dataclasses.replace(decode_root(data), external=needs)))
    listed = [Listed("step_300", root, None), Listed("step_200", decode_root(data), None)]
    monkeypatch.setattr("pyckpt.cli.list.list_checkpoints", lambda _: listed)
    ran = run("list", saved)
    assert ran.status == 0
    assert any("step_200, step_3" in line for line in ran.out.splitlines())
    assert "(gone)" in ran.out
    assert "alone" not in ran.out
    first = run("list", saved, "--json").json["checkpoints"][0]
    assert (first["needs"], first["gone"], first["stands_alone"]) == (["step_200", "step_3"], ["step_3"], False)


def test_diff(run, saved):
    ran = run("diff", saved / "step_100", saved / "step_200")
    assert ran.status == 1
    lines = ran.out.splitlines()
    assert lines[0] == "model"
    assert "  bytes      layers.{0..2}.attn.q.weight  ×3" in lines
    assert "  only in B  layers.3.attn.q.weight  F32 [4, 4]" in lines
    assert "  value      state/head.weight/step  26 -> 31" in lines
    assert "34 tensors compared, 34 by digest alone" in lines[-1]
    assert max(map(len, lines)) <= 80


def test_diff_as_json(run, saved):
    value = run("diff", saved / "step_100", saved / "step_200", "--json").json
    assert set(value) == {"a", "b", "equal", "tensors", "by_digest", "differences"}
    assert value["equal"] is False
    assert {"item": "model", "path": "layers.3.norm.weight", "change": "only in B", "a": "-", "b": "F32 [4]"} in value[
        "differences"
    ]


def test_diff_of_the_same(run, saved):
    ran = run("diff", saved / "step_100", saved / "step_100")
    assert ran.status == 0
    assert ran.out.startswith("equal, to the root: ")
    assert run("diff", saved / "step_100", saved / "step_100", "--json").json["equal"] is True


def test_diff_of_other_shards(run, sharded, tmp_path):
    from .writers import regions

    whole = {
        name: np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
        for name, (shape, _) in regions(0).items()
    }
    pyckpt.save(tmp_path / "run" / "s", {"model": whole})
    ran = run("diff", sharded, tmp_path / "run" / "s", "--all")
    assert ran.status == 1
    assert "  unknown    cube" in ran.out.splitlines()
    assert "7 unknown (--values reads them)" in ran.out
    ran = run("diff", sharded, tmp_path / "run" / "s", "--values")
    assert "unknown" not in ran.out
    assert ran.status == 1
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[:2] == ["model", "kind       (the item)  model -> other"]
    assert lines[-1] == "1 difference; 9 tensors compared, 2 by digest alone"


def test_delete_needs_a_terminal_or_yes(run, store, monkeypatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        ran = run("delete", store / "step_100")
    assert ran.status == 2
    assert "say --yes" in ran.err
    assert (store / "step_100" / "checkpoint.json").exists()


def test_delete(run, store):
    ran = run("delete", store / "step_100", "--yes")
    assert ran.status == 0
    assert ran.out.splitlines() == [
        f"deleted {store}/step_100",
        f"its bytes stay for the grace period of 1 day, then go with: pyckpt gc {store}",
    ]
    assert not (store / "step_100" / "checkpoint.json").exists()
    assert list((store / "step_100").rglob("*.safetensors"))
    assert run("delete", store / "step_100", "--yes").status == 1


def test_delete_now_as_json(run, store):
    digest = json.loads((store / "step_100" / "checkpoint.json").read_bytes())["digest"]
    ran = run("delete", store / "step_100", "--yes", "--now", "--json")
    assert ran.status == 0
    value = ran.json
    assert set(value) == {"url", "digest", "used_by", "collected"}
    assert (value["digest"], value["used_by"]) == (digest, [])
    assert set(value["collected"]) == {"keys", "bytes", "kept_for_grace"}
    assert len([key for key in value["collected"]["keys"] if key.endswith(".safetensors")]) == 2
    assert not (store / "step_100").exists()


def test_delete_now_that_cannot_collect(run, store):
    flip(store / "step_200" / "checkpoint.json")
    ran = run("delete", store / "step_100", "--yes", "--now")
    assert ran.status == 1
    assert "the checkpoint is deleted, its bytes are not" in ran.err
    assert not (store / "step_100" / "checkpoint.json").exists()


def test_delete_of_a_damaged_root(run, store):
    flip(store / "step_100" / "checkpoint.json")
    ran = run("delete", store / "step_100", "--yes")
    assert ran.status == 1
    assert ran.err.startswith("pyckpt: root.digest")


def test_gc(run, store):
    assert run("gc", store).out == "nothing to remove\n"
    run("delete", store / "step_100", "--yes")
    ran = run("gc", store, "--dry-run")
    assert ran.status == 0
    assert ran.out.startswith("nothing to remove\n")
    assert "kept for the grace period of 1 day" in ran.out
    age(store)
    ran = run("gc", store, "--dry-run")
    assert "would remove" in ran.out
    lines = [line.partition(", ")[0] for line in ran.out.splitlines()]
    assert {"step_100: 5 objects", "step_100: 3 objects"} < set(lines)
    assert (store / "step_100").exists()
    value = run("gc", store, "--json").json
    assert set(value) == {"store", "dry_run", "grace_seconds", "keys", "bytes", "kept_for_grace", "judged"}
    assert [each["key"] for each in value["judged"]] == value["keys"]
    assert (value["dry_run"], value["grace_seconds"]) == (False, GRACE_SECONDS)
    assert not (store / "step_100").exists()
    assert run("verify", store / "step_200").status == 0


def test_gc_with_a_grace(run, store):
    run("delete", store / "step_100", "--yes")
    age(store, 3 * 3600)
    assert "would remove" not in run("gc", store, "--grace", "4h", "--dry-run").out
    assert "would remove" in run("gc", store, "--grace", "2.5h", "--dry-run").out
    assert "removed" in run("gc", store, "--grace", "0").out


@pytest.fixture
def everything_to_judge(store):
    """Next to step_200, which stands: an attempt that died long ago, two deletions, and what is not ours."""
    state = {"model": {"w": np.arange(4.0)}}
    pyckpt.save(store / "dead", state)
    (store / "dead" / "checkpoint.json").unlink()
    (store / "step_200" / "notes.txt").write_text("mine")
    (store / "step_200" / "model" / "notes.txt").write_text("mine, too")
    pyckpt.delete(store / "step_100")
    age(store)
    age(store / ".tombstones", 2 * GRACE_SECONDS - 3600)
    pyckpt.save(store / "fresh", state, assets={"model": {"config.json": b"{}"}})
    pyckpt.delete(store / "fresh")
    pyckpt.save(store / "running", state)
    (store / "running" / "checkpoint.json").unlink()
    return store


def test_gc_says_of_every_key_what_and_why(run, everything_to_judge):
    store = everything_to_judge
    before = sorted(store.rglob("*"))
    judged = run("gc", store, "--dry-run", "--json").json["judged"]
    assert sorted(store.rglob("*")) == before
    keys = {str(path.relative_to(store)) for path in before if path.is_file() and path.name != "checkpoint.json"}
    assert {each["key"] for each in judged} == keys
    assert sum(each["goes"] for each in judged) == len(run("gc", store, "--dry-run", "--json").json["keys"])
    attempt = {place: next((store / place / "model").glob("*-00000.*")).name[:16] for place in ("dead", "running")}
    found = {}
    for each in judged:
        place = each["key"].split("/")[0]
        found.setdefault((place, each["goes"], each["reason"], each["by"], each["until"] is not None), []).append(each["kind"])
    assert {group: sorted(kinds) for group, kinds in found.items()} == {
        (".tombstones", True, "spent", "step_100", False): ["tombstone"],
        (".tombstones", False, "young", "fresh", True): ["tombstone"],
        ("dead", True, "orphan", attempt["dead"], False): ["manifest", "object"],
        ("running", False, "young", attempt["running"], True): ["manifest", "object"],
        ("step_100", True, "deleted", "step_100", False): ["asset"] * 3 + ["manifest"] * 3 + ["object"] * 2,
        ("fresh", False, "protected", "fresh", True): ["asset", "manifest", "object"],
        ("step_200", False, "reached", "step_200", False): ["manifest"] * 3 + ["object"] * 2,
        ("step_200", False, "foreign", None, False): ["asset", "foreign"],
    }
    spans = {each["reason"]: (each["since"], each["until"]) for each in judged}
    assert spans["orphan"][0] < spans["deleted"][0] == spans["spent"][0]
    assert spans["protected"][1][:10] > spans["protected"][0][:10] > spans["deleted"][0][:10]


def test_gc_explains_itself(run, everything_to_judge):
    out = " ".join(run("gc", everything_to_judge, "--dry-run").out.split())
    for text in (
        "of step_100, which was deleted 20",
        "left behind by attempt",
        "in use by step_200",
        "stays until",
        "which may still be at work",
        "never removed",
        "would remove 11 objects",
        "would keep 13 objects",
        "5 objects kept for the grace period of 1 day",
    ):
        assert text in out, text
    assert "00000.safetensors" in out
    everything = run("gc", everything_to_judge, "--dry-run", "--all").out
    assert "notes.txt" not in out
    assert "notes.txt" in everything
    ran = run("gc", everything_to_judge)
    assert "removed 11 objects" in ran.out
    assert "would" not in ran.out


def test_gc_leaves_the_tombstone_of_a_checkpoint_that_stands(run, store):
    root = (store / "step_100" / "checkpoint.json").read_bytes()
    run("delete", store / "step_100", "--yes")
    (store / "step_100" / "checkpoint.json").write_bytes(root)
    age(store)
    judged = run("gc", store, "--dry-run", "--json").json["judged"]
    assert {each["reason"] for each in judged} == {"reached", "standing"}


def test_pinned_checkpoints_are_marked(run, store):
    pyckpt.save(store / "kept", {"model": {"w": np.zeros(2)}}, metadata={"step": 300, "pinned": True})
    assert [each["pinned"] for each in run("list", store, "--json").json["checkpoints"]] == [True, False, False]
    rows = [line.split() for line in run("list", store).out.splitlines()]
    assert rows[0][-1] == "kept"
    assert rows[1][-1] == "pinned"
    assert "pinned" not in rows[2]


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_gc_next_to_a_damaged_root(run, store, args):
    flip(store / "step_200" / "checkpoint.json")
    ran = run("gc", store, *args)
    assert ran.status == 1
    assert "nothing was removed" in (ran.out + ran.err)
