"""The operations that only read."""

from __future__ import annotations

import os

import pyckpt
from nodes import component, from_component, to_message
from pyckpt.engine.checkpoint import Checkpoint, LazyMap, LazyTensor
from pyckpt.engine.coordinator import Single
from pyckpt.engine.leaves import BoundItem, Target, TensorRequest
from pyckpt.engine.listing import list_checkpoints, newest
from pyckpt.engine.load import load
from pyckpt.engine.memory import MemorySink
from pyckpt.engine.open import open_root
from pyckpt.engine.verify import verify
from pyckpt.errors import NotFound, PyckptError
from pyckpt.format.dtypes import byte_count, dtype_of
from pyckpt.format.geometry import Region
from pyckpt.format.keys import check_checkpoint_name, check_item_name
from pyckpt.format.tree import TensorRef, walk
from stores import open_store
from content import region_of


PLANNED = ("state.layout", "dtype.unsupported", "codec.unsupported", "digest.unsupported")
"""Codes that are found before bytes are read."""


def number_of(value):
    """An integer of a message."""
    return value if -(2**53) < value < 2**53 else str(value)


def inspect(request, stage):
    """Root, trees and tensor tables."""
    store = open_store(request["store"])
    check_checkpoint_name(request["checkpoint"])
    opened = open_root(store, request["checkpoint"], expect=request.get("expect"))
    stage.phase = "manifest"
    wanted = request.get("items")
    items = {}
    for name in opened.root.items if wanted is None else wanted:
        check_item_name(name)
        item = opened.item(name)
        tensors = [
            {"dtype": item.dtype(number), "shape": list(map(number_of, item.shape(number)))}
            for number in range(len(item.manifest.tensors))
        ]
        items[name] = {"tree": to_message(item.tree), "tensors": tensors}
    return {"root": _root(opened.root), "items": items}


def _root(root):
    return {
        "digest": root.digest,
        "attempt": root.attempt,
        "spec": root.spec,
        "created": root.created,
        "writer": {"name": root.writer_name, "version": root.writer_version},
        "features": {"read": list(root.features_read), "write": list(root.features_write)},
        "sequence": root.sequence,
        "parent": root.parent,
        "metadata": to_message(root.metadata),
        "items": {
            name: {
                "kind": entry.known_kind,
                "counts": {
                    "tensors": entry.tensors, "shards": entry.shards, "objects": entry.objects, "bytes": entry.bytes,
                },
                "assets": {
                    asset: {"size": each.size, "sha256": each.sha256} for asset, each in entry.assets.items()
                },
            }
            for name, entry in root.items.items()
        },
        "external": [{"checkpoint": each.checkpoint, "digest": each.digest} for each in root.external],
    }  # fmt: skip


class _Bytes:
    """Binds the tensors at some paths of an item to plain memory."""

    def __init__(self, paths) -> None:
        self.paths = paths
        self.found = []

    def bind(self, item):
        bound = BoundItem()
        leaves = {path: node.index for path, node in walk(item.tree) if isinstance(node, TensorRef)}
        paths = list(leaves) if self.paths is None else [tuple(map(from_component, path)) for path in self.paths]
        sinks = {}
        for path in paths:
            if path not in leaves:
                near = ", ".join("/".join(map(str, each)) for each in list(leaves)[:3])
                raise NotFound("tensor.missing", f"no tensor here; there are {near}", key="/".join(map(str, path)))
            number = leaves[path]
            dtype, shape = item.dtype(number), item.shape(number)
            if number not in sinks:
                region = Region.whole(shape)
                sinks[number] = MemorySink(byte_count(dtype_of(dtype), region.elements))
                bound.requests.append(TensorRequest(path, number, Target(((region, sinks[number]),))))
            self.found.append((path, dtype, shape, sinks[number]))
        return bound


def read(request, stage):
    """Whole tensors through the engine of ``pyckpt.load``, and assets."""
    store = open_store(request["store"])
    name, item = request["checkpoint"], request["item"]
    check_checkpoint_name(name)
    check_item_name(item)
    tensors = []
    if request["paths"] is None or request["paths"]:
        stage.phase = "read"
        binder = _Bytes(request["paths"])
        options = pyckpt.LoadOptions(
            expect=request.get("expect"), verify=request.get("verify", True), strict=request["paths"] is None
        )
        load(store, name, lambda: {item: binder}, binder, items=None, options=options, coordinator=Single())
        for number, (path, dtype, shape, sink) in enumerate(binder.found):
            _store(request["out"], str(number), sink.data)
            sizes = list(map(number_of, shape))
            tensors.append(
                {"path": list(map(component, path)), "dtype": dtype, "shape": sizes, "file": str(number)}
            )
    stage.phase = "read"
    assets = []
    for number, asset in enumerate(request.get("assets") or ()):
        data = _asset(store, name, item, asset, request)
        _store(request["out"], f"a{number}", data)
        assets.append({"name": asset, "file": f"a{number}"})
    return {"tensors": tensors, "assets": assets}


def _asset(store, name, item, asset, request):
    opened = Checkpoint.open(store, name, lambda data, dtype, shape: data, expect=request.get("expect"))
    return opened.asset(item, asset)


def read_region(request, stage):
    """Regions through the lazy interface of ``pyckpt.open``."""
    store = open_store(request["store"])
    check_checkpoint_name(request["checkpoint"])
    opened = Checkpoint.open(
        store, request["checkpoint"], lambda data, dtype, shape: data, expect=request.get("expect"),
        verify=request.get("verify", True),
    )  # fmt: skip
    stage.phase = "manifest"
    node = opened[request["item"]]
    stage.phase = "plan"
    for each in map(from_component, request["path"]):
        if not isinstance(node, LazyMap):
            raise NotFound("tensor.missing", "the path goes through a leaf", key=str(request["path"]))
        node = node[each]
    if not isinstance(node, LazyTensor):
        raise NotFound("tensor.missing", "no tensor at this path", key=str(request["path"]))
    stage.phase = "read"
    files = []
    for number, message in enumerate(request["regions"]):
        try:
            data = node.read(region_of(message))
        except PyckptError as error:
            stage.phase = "plan" if error.code in PLANNED else "read"
            raise
        _store(request["out"], str(number), data)
        files.append(str(number))
    return {"dtype": node.dtype, "files": files}


def _store(out, name, data):
    with open(os.path.join(out, name), "wb") as file:
        file.write(data)


def verify_(request, stage):
    """Deep or shallow verification."""
    store = open_store(request["store"])
    check_checkpoint_name(request["checkpoint"])
    try:
        report = verify(store, request["checkpoint"], deep=request["deep"])
    except NotFound as error:
        return {"sound": False, "findings": [{"code": error.code, "subject": error.key}]}
    findings = [{"code": each.code, "subject": f"{each.key} {each.message}"} for each in report.findings]
    return {"sound": report.ok, "findings": findings}


def list_(request, stage):
    """All names with a root."""
    store = open_store(request["store"])
    found = [
        {
            "name": each.name,
            "digest": None if each.root is None else each.root.digest,
            "sequence": None if each.root is None else each.root.sequence,
            "code": None if each.error is None else each.error.code,
        }
        for each in list_checkpoints(store)
    ]
    latest = newest(store)
    return {"checkpoints": found, "newest": None if latest is None else latest.name}
