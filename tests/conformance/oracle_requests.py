"""Requests to write, and what sends them to the oracle."""

from __future__ import annotations

from contextlib import contextmanager

from conformance.oracle import changing, operations
from conformance.oracle.dir_writer import WritableDirectory

changing.register()


def node_map(**members):
    return ["map", [[name, value] for name, value in members.items()]]


def tensor(name, dtype, shape, *regions, fill=None):
    """A tensor leaf; without regions: all of it."""
    given = regions or ([[0] * len(shape), shape, None],)
    return [
        "tensor",
        {
            "id": name,
            "dtype": dtype,
            "shape": shape,
            "regions": [{"offset": offset, "size": size, "run": run} for offset, size, run in given],
            "fill": fill or {"kind": "mix", "seed": 7},
        },
    ]


def item(kind="model", codec="none", digest=None, block=4096, **assets):
    return {"kind": kind, "codec": codec, "digest": digest, "block": block, "assets": assets}


def request(store, *trees, checkpoint="c", items=None, **more):
    """A request of one item `model` with a tree from each writer, unless items say otherwise."""
    return {
        "op": "write",
        "store": store,
        "checkpoint": checkpoint,
        "metadata": ["map", []],
        "parent": None,
        "deadline": 5,
        "items": {"model": item()} if items is None else items,
        "writers": [{"trees": {"model": tree}} for tree in trees],
        "carry": {},
        "accept_weak": False,
        **more,
    }


def answer(message):
    """The response, which is not an error."""
    response = operations.perform(message)
    assert response["result"] != "error", response
    return response


def ok(message):
    response = answer(message)
    assert response["result"] == "ok", response
    return response


def refused(message):
    """Code and phase of a refusal."""
    response = answer(message)
    assert response["result"] == "rejected", response
    return response["code"], response["phase"]


def directory(path):
    return {"kind": "directory", "path": str(path)}


def s3(simulator, prefix=""):
    return {"kind": "s3", "endpoint": simulator.endpoint, "bucket": simulator.bucket, "prefix": prefix}


@contextmanager
def before_creation(monkeypatch, suffix, act):
    """Do something directly before the first object whose key ends so is created in a directory."""
    create = WritableDirectory.create_if_absent
    actions = [act]

    def interrupted(self, key, data):
        if key.endswith(suffix) and actions:
            actions.pop()()
        return create(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(WritableDirectory, "create_if_absent", interrupted)
        yield
