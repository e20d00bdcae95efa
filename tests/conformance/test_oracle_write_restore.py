"""States filled by the oracle (chapter 16)."""

from __future__ import annotations

import pytest
from oracle_requests import answer, directory, item, node_map, ok, refused, request, tensor

from conformance.oracle.content import content
from conformance.oracle.indexed import Loading


@pytest.fixture
def store(tmp_path):
    return directory(tmp_path / "store")


def save(store, tree, kind="model"):
    ok(request(store, tree, items={"model": item(kind)}))


def restore(store, target, *, rule="error", index=0, size=1):
    about = {"store": store, "checkpoint": "c", "item": "model"}
    return {"op": "restore", **about, "target": target, "rule": rule, "index": index, "size": size}


def mismatches(message):
    response = answer(message)
    assert (response["result"], response["code"], response["phase"]) == ("rejected", "state.mismatch", "load")
    return response["mismatches"]


# Models


def model(tmp_path, *tensors, name="out"):
    out = tmp_path / name
    out.mkdir()
    rows = [{"path": path, "dtype": dtype, "shape": shape} for path, dtype, shape in tensors]
    return {"kind": "model", "tensors": rows, "out": str(out)}


def test_a_model_is_filled(store, tmp_path):
    save(store, node_map(w=tensor("w", "F32", [2, 3]), v=tensor("w", "F32", [2, 3]), n=["int", "1"]))
    target = model(tmp_path, (["v"], "F32", [2, 3]), (["w"], "F32", [2, 3]))
    response = ok(restore(store, target))
    wanted = content({"kind": "mix", "seed": 7}, "F32", 32, (2, 3))
    assert [one["path"] for one in response["tensors"]] == [["v"], ["w"]]
    assert [(tmp_path / "out" / one["file"]).read_bytes() for one in response["tensors"]] == [wanted, wanted]


def test_all_differences_are_told_at_once_and_nothing_is_changed(store, tmp_path):
    leaves = {"a": tensor("a", "F32", [2]), "b": tensor("b", "F32", [2]), "c": tensor("c", "F32", [2])}
    save(store, node_map(**leaves, extra=tensor("e", "U8", [1])))
    rows = [(["a"], "F32", [2]), (["b"], "F32", [3]), (["c"], "F16", [2]), (["lost"], "U8", [1])]
    message = restore(store, model(tmp_path, *rows))
    assert [text.split()[-8:] and name in text for name, text in zip(["extra", "b", "c", "lost"], mismatches(message))]
    message["target"] = model(tmp_path, *rows, name="again")
    response = answer(message)
    assert len(response["mismatches"]) == 4
    for one, (_, dtype, shape) in zip(response["tensors"], rows):
        size = shape[0] * {"F32": 4, "F16": 2, "U8": 1}[dtype]
        assert (tmp_path / "again" / one["file"]).read_bytes() == b"\xa5" * size


def test_a_damaged_model_leaves_the_target_as_it_was(store, tmp_path):
    save(store, node_map(a=tensor("a", "U8", [2]), b=tensor("b", "U8", [5000])))
    (path,) = (tmp_path / "store").glob("c/model/*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    response = answer(restore(store, model(tmp_path, (["a"], "U8", [2]), (["b"], "U8", [5000]))))
    assert response["code"] == "block.digest"
    assert (tmp_path / "out" / response["tensors"][0]["file"]).read_bytes() == b"\xa5\xa5"


# Optimizers


def text_set(*names):
    return ["set", list(names)]


def group(*names, **options):
    return node_map(params=text_set(*names), options=node_map(**options))


def state(*names):
    every = {name: node_map(exp_avg=tensor(name, "F32", [2]), step=["int", "3"]) for name in names}
    return node_map(**every)


ADAM = node_map(
    more=["nil"],
    state=state("w"),
    groups=node_map(**{"0": group("w", "b", lr=["float", "3fe0000000000000"]), "1": group("x", lr=["int", "1"])}),
)


def optimizer(*groups, stateful=()):
    given = [{"id": str(place), "params": list(names)} for place, names in enumerate(groups)]
    return {"kind": "optimizer", "groups": given, "stateful": list(stateful)}


def test_groups_are_matched_by_their_parameters(store):
    save(store, ADAM, "optimizer")
    response = ok(restore(store, optimizer(["x"], ["b", "w"], stateful=["b", "x"])))
    assert response["stateful"] == ["w"]
    assert response["groups"] == [
        {"params": ["x"], "options": {"lr": ["int", "1"]}},
        {"params": ["b", "w"], "options": {"lr": ["float", "3fe0000000000000"]}},
    ]


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        ([["w"], ["b"], ["x"]], ["group 0"]),
        ([["w", "b", "x"]], ["0 and 1"]),
        ([["w", "b"]], ["x"]),
        ([["w", "b"], ["x", "y"], ["z"]], ["y", "z"]),
    ],
)
def test_groups_that_do_not_match_are_refused(store, groups, names):
    save(store, ADAM, "optimizer")
    found = mismatches(restore(store, optimizer(*groups)))
    assert len(found) == len(names)
    assert all(name in text for name, text in zip(names, found))


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        (node_map(state=state()), "groups"),
        (node_map(groups=node_map()), "state"),
        (node_map(state=["list", []], groups=node_map()), "state"),
        (node_map(state=["map", [[{"int": "0"}, node_map()]]], groups=node_map()), "state"),
        (node_map(state=state("w"), groups=node_map()), "w"),
        (node_map(state=state(), groups=node_map(a=group("w"), b=group("w"))), "w"),
        (node_map(state=state(), groups=node_map(a=node_map(params=text_set("w")))), "a"),
        (node_map(state=state(), groups=node_map(a=node_map(options=node_map()))), "a"),
        (node_map(state=state(), groups=node_map(a=node_map(params=["list", []], options=node_map()))), "a"),
        (node_map(state=state(), groups=node_map(a=node_map(params=["set", [{"int": "1"}]], options=node_map()))), "a"),
    ],
)
def test_optimizers_of_another_form_are_refused(store, tree, name):
    save(store, tree, "optimizer")
    (text,) = mismatches(restore(store, optimizer(["w"])))
    assert name in text


def test_keys_that_have_no_meaning_are_passed_over(store):
    given = node_map(params=text_set("w"), options=node_map(), own=["nil"])
    tree = ["map", [["state", state("w")], ["groups", node_map(a=given)], [{"int": "7"}, ["nil"]]]]
    save(store, tree, "optimizer")
    assert ok(restore(store, optimizer(["w"])))["stateful"] == ["w"]


# Per-rank values


def test_nearest_is_as_the_table_says():
    assert [Loading("nearest", index, 2).chosen(4, "") for index in range(2)] == [0, 2]
    assert [Loading("nearest", index, 4).chosen(2, "") for index in range(4)] == [0, 0, 1, 1]


def indexed(*values):
    return ["indexed", "data_parallel", len(values), list(values)]


VALUES = node_map(value=node_map(at=indexed(["int", "10"], ["tuple", [indexed(["text", "a"], ["text", "b"])]])))


def test_values_are_resolved(store):
    save(store, VALUES, "other")
    value = {"kind": "value", "path": ["value"]}
    assert ok(restore(store, value, index=1, size=2))["value"] == node_map(at=["tuple", [["text", "b"]]])
    assert ok(restore(store, value, rule="nearest", index=1, size=3))["value"] == node_map(at=["int", "10"])
    deep = {"kind": "value", "path": ["value", "at", {"int": "1"}, {"int": "0"}]}
    assert ok(restore(store, deep, size=2))["value"] == ["text", "a"]
    for rule in ("error", "reseed"):
        (text,) = mismatches(restore(store, value, rule=rule, size=3))
        assert "value/at" in text
    assert refused(restore(store, {"kind": "value", "path": ["value", "no"]})) == ("tensor.missing", "plan")
    assert refused(restore(store, value, index=2, size=2))[0] == "usage.invalid"


def test_a_data_loader_has_its_form(store):
    save(store, node_map(value=node_map(epoch=["int", "1"])), "dataloader")
    assert mismatches(restore(store, {"kind": "value", "path": ["value"]}))


# Generators

TORCH = ["tensor", {**tensor("t", "U8", [32])[1], "fill": {"kind": "count", "start": 0}}]
SEEDS = {"python": "4556437587115896580", "numpy": "4077466391", "torch": "4223482326521677008"}


def rank(*values):
    return ["indexed", "rank", len(values), list(values)]


def words(name, count, bits="00000270"):
    return tensor(name, "U32", [count], fill={"kind": "constant", "bits": bits})


def python(name="p", bits="00000270", **change):
    return node_map(**{"version": ["int", "3"], "state": words(name, 625, bits), "gauss": ["nil"], **change})


def numpy(**change):
    parts = {"algorithm": ["text", "MT19937"], "key": words("k", 624), "position": ["int", "624"]}
    return node_map(**{**parts, "has_gauss": ["int", "0"], "gauss": ["float", "0000000000000000"], **change})


def cuda(**change):
    return node_map(**{"type": ["text", "cuda"], "states": ["list", [tensor("c", "U8", [16])]], **change})


RNG = {"kind": "rng"}


def test_stored_states_are_restored(store):
    save(
        store, node_map(python=rank(python()), numpy=rank(numpy()), torch=rank(TORCH), accelerator=rank(cuda())), "rng"
    )
    assert ok(restore(store, RNG, rule="reseed"))["seeds"] == {}


def test_reseeding_is_as_the_example_says(store):
    save(store, node_map(python=rank(python()), numpy=rank(["nil"]), torch=rank(TORCH), other=["nil"]), "rng")
    assert ok(restore(store, RNG, rule="reseed", index=1, size=2))["seeds"] == SEEDS
    assert ok(restore(store, RNG, rule="nearest", index=1, size=2))["seeds"] == {}
    assert mismatches(restore(store, RNG, index=1, size=2))


def test_only_the_generators_of_the_item_get_seeds(store):
    save(store, node_map(torch=rank(TORCH)), "rng")
    seeds = {"torch": SEEDS["torch"]}
    assert ok(restore(store, RNG, rule="reseed", index=1, size=2))["seeds"] == seeds


@pytest.mark.parametrize("torch", [{}, {"torch": rank(["nil"])}])
def test_without_torch_there_is_nothing_to_reseed_from(store, torch):
    save(store, node_map(python=rank(python()), **torch), "rng")
    assert mismatches(restore(store, RNG, rule="reseed", size=2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("python", python(version=["int", "2"])),
        ("python", python(version=["bool", True])),
        ("python", python(state=words("p", 624))),
        ("python", python(bits="00000271")),
        ("python", python(gauss=["int", "0"])),
        ("python", node_map(version=["int", "3"], state=words("p", 625))),
        ("numpy", numpy(algorithm=["text", "PCG64"])),
        ("numpy", numpy(key=words("k", 625))),
        ("numpy", numpy(position=["int", "625"])),
        ("numpy", numpy(has_gauss=["int", "2"])),
        ("numpy", numpy(gauss=["float", "3ff0000000000000"])),
        ("numpy", numpy(gauss=["nil"])),
        ("torch", tensor("t", "U8", [4, 8])),
        ("torch", tensor("t", "I8", [32])),
        ("torch", ["bytes", "00"]),
        ("accelerator", cuda(type=["nil"])),
        ("accelerator", cuda(states=["tuple", []])),
        ("accelerator", cuda(states=["list", [["bytes", "00"]]])),
    ],
)
def test_states_of_another_form_are_refused(store, name, value):
    save(store, node_map(**{name: rank(value)}), "rng")
    assert name in mismatches(restore(store, RNG))[0]


def test_generators_are_indexed_by_rank(store):
    save(store, node_map(torch=["indexed", "data_parallel", 1, [TORCH]]), "rng")
    assert mismatches(restore(store, RNG))


def test_bounds_of_positions_are_accepted(store):
    leaves = {"gauss": ["float", "3ff0000000000000"], "has_gauss": ["int", "1"], "position": ["int", "0"]}
    python_values = python(bits="00000000", gauss=["float", "7ff8000000000000"])
    save(store, node_map(python=rank(python_values), numpy=rank(numpy(**leaves))), "rng")
    assert ok(restore(store, RNG))["seeds"] == {}
