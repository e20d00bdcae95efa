"""The operations that change a store: write, delete, gc, copy."""

from __future__ import annotations

import pyckpt
from content import bytes_of, elements, region_of
from nodes import from_message
from pyckpt.engine.collect import GRACE_SECONDS, collect_garbage
from pyckpt.engine.coordinator import Single
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.delete import delete
from pyckpt.engine.leaves import ItemState, Piece, TensorLeaf
from pyckpt.engine.memory import MemorySource
from pyckpt.engine.open import root_bytes
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.save import Request, save
from pyckpt.testing.writers import thread_coordinators, together
from pyckpt.errors import PyckptError
from pyckpt.format.dtypes import dtype_of
from pyckpt.format.geometry import region_problem
from pyckpt.format.keys import check_checkpoint_name
from stores import open_store


class Unsupported(Exception):
    """An option of the protocol that pyckpt doesn't offer."""


class _Fails(Exception):
    """What a writer with the fault ``fails`` meets."""


def write(request, stage):
    """One save, of one writer or of several."""
    stage.phase = "save"
    check_checkpoint_name(request["checkpoint"])
    writers = request["writers"]
    specs = request["items"]
    options = _options(request)
    held = _holders(writers)
    metadata = from_message(request["metadata"], None)
    assets = {
        name: {asset: bytes.fromhex(text) for asset, text in spec.get("assets", {}).items()}
        for name, spec in specs.items()
        if spec.get("assets")
    }
    carry = {item: (each["checkpoint"], each["item"]) for item, each in request.get("carry", {}).items()}
    coordinators = [Single()] if len(writers) == 1 else thread_coordinators(len(writers), request.get("deadline") or 10)
    alive = [each for each in coordinators if writers[each.rank].get("fault") != "dies"]

    def work(coordinator):
        writer = writers[coordinator.rank]
        store = open_store(writer.get("store") or request["store"])

        def collect():
            if writer.get("fault") == "fails":
                raise _Fails("this writer was told to fail")
            return [
                ItemState(name, specs[name]["kind"], _tree(tree, held[name], coordinator.rank))
                for name, tree in writer["trees"].items()
            ]

        program = ("pyckpt-adapter", pyckpt.__version__)
        return save(
            store, request["checkpoint"], Request(collect, metadata, assets, program, carry=carry),
            options=options, coordinator=coordinator,
        )  # fmt: skip

    outcomes = together(alive, work)
    failures = [each for each in outcomes if isinstance(each, BaseException)]
    if failures:
        chosen = min(failures, key=_weight)
        code = getattr(chosen, "code", "")
        stage.phase = "commit" if code in COMMIT_CODES else "open" if code == "checkpoint.missing" else "save"
        raise chosen
    report = outcomes[0]
    warnings = ["unchanged"] if any("stale" in text for text in report.warnings) else []
    return {"digest": report.digest, "attempt": report.attempt, "weak": report.weak, "warnings": warnings}


COMMIT_CODES = (
    "state.diverged", "tiling.inexact", "external.missing", "external.digest", "store.condition", "feature.unsupported",
)  # fmt: skip


def _weight(error):
    """The failure that says most: that of the one who met it, not of those who were told."""
    if isinstance(error, PyckptError):
        return {"save.aborted": 2, "rank.failed": 1, "rank.timeout": 1}.get(error.code, 0)
    return 3 if isinstance(error, _Fails) else -1


def _options(request):
    specs = request["items"]
    digests = {spec.get("digest") for spec in specs.values()} - {None}
    blocks = {spec.get("block") for spec in specs.values()} - {None}
    if len(digests) > 1:
        raise Unsupported("write-digest:" + max(digests))
    if len(blocks) > 1:
        raise Unsupported("write-block")
    chosen = {}
    if digests:
        chosen["digest"] = digests.pop()
    if blocks:
        chosen["block_bytes"] = blocks.pop()
    codecs = {name: spec.get("codec") or "none" for name, spec in specs.items()}
    return SaveOptions(
        codec=codecs, replicas="full", threads=1, parent=request.get("parent"),
        timeout=request.get("deadline") or 10, accept_weak_store=request.get("accept_weak", False), **chosen,
    )  # fmt: skip


def _leaves(node, path=()):
    """Path and description of every tensor of a tree in the protocol's form."""
    kind, *rest = node
    if kind == "tensor":
        yield path, rest[0]
    elif kind == "map":
        for key, value in rest[0]:
            yield from _leaves(value, (*path, str(key)))
    elif kind in ("list", "tuple"):
        for position, value in enumerate(rest[0]):
            yield from _leaves(value, (*path, position))
    elif kind == "indexed":
        pairs = rest[2].items() if isinstance(rest[2], dict) else enumerate(rest[2])
        for index, value in pairs:
            yield from _leaves(value, (*path, int(index)))
    elif kind == "flattened":
        for name, value in rest[0]:
            yield from _leaves(value, (*path, "inner", name))
        yield from _leaves(rest[1], (*path, "attributes"))


def _holders(writers):
    """Item -> (path, regions) -> the writers that hold exactly these regions of the tensor there."""
    held = {}
    for rank, writer in enumerate(writers):
        for name, tree in writer["trees"].items():
            item = held.setdefault(name, {})
            for path, leaf in _leaves(tree):
                item.setdefault((path, str(leaf["regions"])), []).append(rank)
    return held


def _tree(message, held, rank):
    """A tree with TensorLeaf at its tensors; one ``id`` is one leaf."""
    made = {}
    paths = {id(leaf): path for path, leaf in _leaves(message)}

    def tensor(leaf):
        if leaf["id"] not in made:
            made[leaf["id"]] = _leaf(leaf, held[paths[id(leaf)], str(leaf["regions"])], rank)
        return made[leaf["id"]]

    return from_message(message, tensor)


def _leaf(leaf, holders, rank):
    dtype, shape = leaf["dtype"], tuple(map(int, leaf["shape"]))
    dtype_of(dtype)
    values = None
    pieces = []
    for message in leaf["regions"]:
        region = region_of(message)
        if region_problem(region, shape):
            data = bytes(max(0, region.elements) * dtype_of(dtype).bits // 8)
        else:
            values = elements(leaf["fill"], dtype, shape) if values is None else values
            data = bytes_of(values, dtype, region)
        pieces.append(Piece(region, MemorySource(data)))
    replicas = tuple(holders) if len(holders) > 1 else ()
    return TensorLeaf(dtype, shape, tuple(pieces), replicas, claimed=bool(replicas))


def delete_(request, stage):
    """Deletes one checkpoint."""
    stage.phase = "delete"
    check_checkpoint_name(request["checkpoint"])
    delete(open_store(request["store"]), request["checkpoint"])
    return {}


def gc(request, stage):
    """Garbage collection."""
    stage.phase = "delete"
    grace = GRACE_SECONDS if request["grace"] is None else request["grace"]
    collected = collect_garbage(open_store(request["store"]), grace=grace, dry_run=request.get("dry_run", False))
    return {"removed": list(collected.keys)}


def copy(request, stage):
    """A verbatim copy in another store."""
    source, target = open_store(request["store"]), open_store(request["to"])
    root_bytes(source, request["checkpoint"])
    stage.phase = "commit"
    report = copy_checkpoint(source, request["checkpoint"], target, target_name=request["as"])
    return {"digest": report.digest}
