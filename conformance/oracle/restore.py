"""The operation `restore` of the protocol: filling a target state by chapter 16, or saying why not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from . import messages
from .dtypes import DTYPES
from .errors import Rejected
from .indexed import RULES, Loading, Mismatch
from .messages import Message, usage
from .opening import OpenItem, open_item, open_root
from .reading import read_region
from .regions import whole
from .restore_optimizer import Group, load_optimizer
from .restore_rng import restore_rng
from .store import Store
from .tree import Flattened, Indexed, ListNode, MapNode, Node, Path, TupleNode

UNTOUCHED = b"\xa5"


def restore(request: Message, store: Store) -> Message:
    """Fill the target of a request; a refusal of what differs lists every difference."""
    loading = _loading(request)
    target = request.get("target")
    if not isinstance(target, dict):
        raise usage("target is no object")
    kind = target.get("kind")
    if kind == "model":
        return _model(request, store, target)
    opened = _opened(request, store)
    try:
        if kind == "optimizer":
            return _optimizer(opened, target, loading)
        if kind == "value":
            return {"value": messages.node(_value(opened, messages.read_path(target.get("path")), loading))}
        if kind == "rng":
            return {"seeds": {name: str(seed) for name, seed in restore_rng(opened, loading).items()}}
    except Mismatch as refusal:
        return _refused(refusal)
    raise usage(f"target is of the kind {kind!r}")


def _loading(request: Message) -> Loading:
    rule, index, size = (request.get(name) for name in ("rule", "index", "size"))
    if rule not in RULES or not isinstance(index, int) or not isinstance(size, int) or not 0 <= index < size:
        raise usage(f"rule {rule!r}, index {index!r}, size {size!r}")
    return Loading(str(rule), index, size)


def _opened(request: Message, store: Store) -> OpenItem:
    return open_item(store, open_root(store, str(request.get("checkpoint"))), str(request.get("item")))


def _refused(refusal: Rejected, **more: Any) -> Message:
    """A refusal as a response, with the members that only this operation has."""
    if isinstance(refusal, Mismatch):
        more["mismatches"] = refusal.mismatches
    return {
        "result": "rejected",
        "code": refusal.code,
        "phase": refusal.phase,
        "subject": refusal.subject,
        "message": refusal.message,
        **more,
    }


class _Model:
    """A state of tensors, all of whose bytes are 0xA5 before the load."""

    def __init__(self, target: Message) -> None:
        self.out = str(target.get("out"))
        self.rows: list[tuple[Path, str, tuple[int, ...]]] = []
        for row in target.get("tensors") or ():
            shape = tuple(messages.integer(size) for size in row["shape"])
            self.rows.append((messages.read_path(row["path"]), str(row["dtype"]), shape))
        unknown = [dtype for _, dtype, _ in self.rows if dtype not in DTYPES]
        if unknown:
            raise usage(f"the dtype {unknown[0]} is unknown")
        self.data = [UNTOUCHED * (whole(shape).elements * DTYPES[dtype].bits // 8) for _, dtype, shape in self.rows]

    def load(self, opened: OpenItem) -> None:
        """Fill all tensors, or change nothing."""
        self.check(opened)
        self.data = [read_region(opened, opened.number(path), whole(shape)) for path, _, shape in self.rows]

    def check(self, opened: OpenItem) -> None:
        """Report all that differs at once (SCF-READ-010, SCF-READ-011)."""
        wanted = {path for path, _, _ in self.rows}
        wrong = [f"unexpected: {_shown(path)} is not in the target" for path in opened.numbers if path not in wanted]
        for path, dtype, shape in self.rows:
            if path not in opened.numbers:
                wrong.append(f"missing: {_shown(path)} is not in the checkpoint")
                continue
            row = opened.manifest.tensors[opened.numbers[path]]
            if row.shape != shape:
                wrong.append(f"shape of {_shown(path)}: {list(row.shape)} stored, {list(shape)} in the target")
            if row.dtype.name != dtype:
                wrong.append(f"dtype of {_shown(path)}: {row.dtype.name} stored, {dtype} in the target")
        if wrong:
            raise Mismatch(wrong)

    def files(self) -> list[Message]:
        """Write the bytes of all tensors, as they are now."""
        listed = []
        for place, ((path, _, _), data) in enumerate(zip(self.rows, self.data, strict=True)):
            with open(os.path.join(self.out, str(place)), "xb") as file:
                file.write(data)
            listed.append({"path": messages.path(path), "file": str(place)})
        return listed


def _shown(path: Path) -> str:
    return "/".join(str(component) for component in path)


def _model(request: Message, store: Store, target: Message) -> Message:
    model = _Model(target)
    try:
        model.load(_opened(request, store))
    except Rejected as refusal:
        return _refused(refusal, tensors=model.files())
    return {"tensors": model.files()}


def _optimizer(opened: OpenItem, target: Message, loading: Loading) -> Message:
    """State that the target has from before is not looked at: what the checkpoint lacks is removed."""
    given: Sequence[Any] = target.get("groups") or ()
    groups = [Group(str(group["id"]), tuple(group["params"]), {}) for group in given]
    loaded = load_optimizer(opened, groups, loading)
    return {
        "stateful": sorted(loaded.state),
        "groups": [
            {
                "params": list(group.params),
                "options": {name: messages.node(node) for name, node in group.options.items()},
            }
            for group in loaded.groups
        ],
    }


def _value(opened: OpenItem, path: Path, loading: Loading) -> Node:
    """The node at a path of the stored tree, with indexed values resolved."""
    if opened.item.kind == "dataloader":
        _check_dataloader(opened.manifest.tree)
    node: Node = opened.manifest.tree
    rest = path
    while rest:
        node, rest = _child(node, rest, path)
    return loading.resolve(node, _shown(path) or "the tree")


def _check_dataloader(tree: MapNode) -> None:
    """The form of section 16.6 (SCF-STATE-001)."""
    if not isinstance(dict(tree.entries).get("value"), Indexed):
        raise Mismatch(["the item has no indexed value under value"])


def _child(node: Node, rest: Path, path: Path) -> tuple[Node, Path]:
    """The child that the next component or components lead to, and the components after them."""
    key = rest[0]
    if isinstance(node, Flattened):
        if key == "attributes":
            return node.attributes, rest[1:]
        if key == "inner" and len(rest) > 1 and rest[1] in dict(node.inner):
            return dict(node.inner)[str(rest[1])], rest[2:]
    elif isinstance(node, MapNode):
        found = dict(node.entries)
        if key in found:
            return found[key], rest[1:]
    else:
        children: Sequence[Node] = ()
        if isinstance(node, (ListNode, TupleNode)):
            children = node.items
        elif isinstance(node, Indexed):
            children = node.values
        if isinstance(key, int) and 0 <= key < len(children):
            return children[key], rest[1:]
    raise Rejected("tensor.missing", f"there is no node at {list(path)!r}", subject=_shown(path))
