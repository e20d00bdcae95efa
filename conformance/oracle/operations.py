"""The reading operations of the protocol (PROTOCOL.md, section 3)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from . import messages
from .assets import read_asset
from .codecs import CODECS
from .digests import DIGESTS
from .dtypes import DTYPES
from .errors import Rejected
from .listing import list_checkpoints, newest
from .messages import Message, usage
from .opening import OpenItem, find_item, open_item, open_root
from .reading import read_region
from .regions import whole
from .root import Root
from .store import DirectoryStore, Store
from .verify import verify

PROTOCOL = "1.0"
NAME = "scf-oracle"
VERSION = "1.0-draft"

Operation = Callable[[Message], Message]


class Unsupported(Exception):
    """The request needs an option that is not offered."""

    def __init__(self, what: str) -> None:
        """Keep the option's name."""
        self.what = what
        super().__init__(what)


PROFILES = ["inspect", "read", "region-read", "integrity"]
OPTIONS = ["unverified"]
STORES: dict[str, Callable[[Message], Store]] = {
    "directory": lambda message: DirectoryStore(member(message, "path", str)),
}
"""What `hello` claims, and the kinds of store; other modules add theirs."""


def member(request: Message, name: str, kind: type, default: object = None) -> Any:
    """A member of a request, of this type; the default if it is absent or null and there is one."""
    value = request.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise usage(f"{name} is {value!r}, no {kind.__name__}")
    return value


def _optional(request: Message, name: str, kind: type) -> Any:
    return None if request.get(name) is None else member(request, name, kind)


def open_store(message: Message) -> Store:
    """The store that a message names."""
    kind = member(message, "kind", str)
    if kind not in STORES:
        raise Unsupported(kind)
    return STORES[kind](message)


def _opened(request: Message) -> tuple[Store, Root]:
    store = open_store(member(request, "store", dict))
    return store, open_root(store, member(request, "checkpoint", str), expect=_optional(request, "expect", str))


class _Out:
    """The fresh directory of a request, and the files that are written there."""

    def __init__(self, request: Message) -> None:
        self.path = member(request, "out", str)

    def write(self, name: str, data: bytes) -> str:
        """Write a file that was not there, and give its name."""
        with open(os.path.join(self.path, name), "xb") as file:
            file.write(data)
        return name


def hello(request: Message) -> Message:
    """Who this is, and what it claims."""
    if member(request, "protocol", str, PROTOCOL).partition(".")[0] != PROTOCOL.partition(".")[0]:
        raise usage(f"this program speaks version {PROTOCOL} of the protocol")
    return {
        "protocol": PROTOCOL,
        "name": NAME,
        "version": VERSION,
        "profiles": list(PROFILES),
        "options": list(OPTIONS),
        "codecs": list(CODECS),
        "digests": list(DIGESTS),
        "dtypes": list(DTYPES),
    }


def inspect(request: Message) -> Message:
    """The root, and tree and tensors of the items that are asked for."""
    store, root = _opened(request)
    wanted = _optional(request, "items", list)
    if wanted is not None and not all(isinstance(name, str) for name in wanted):
        raise usage(f"items is {wanted!r}")
    return {
        "root": messages.root(root),
        "items": {name: _item(open_item(store, root, name)) for name in (root.items if wanted is None else wanted)},
    }


def _item(opened: OpenItem) -> Message:
    return {
        "tree": messages.node(opened.manifest.tree),
        "tensors": [
            {"dtype": row.dtype.name, "shape": [messages.number(size) for size in row.shape]}
            for row in opened.manifest.tensors
        ],
    }


def list_store(request: Message) -> Message:
    """The checkpoints of a store, those with a refused root too, and the newest."""
    found = list_checkpoints(open_store(member(request, "store", dict)))
    first = newest(found)
    return {
        "checkpoints": [
            {
                "name": one.name,
                "digest": one.root.digest if one.root else None,
                "sequence": one.root.sequence if one.root else None,
                "code": one.refusal.code if one.refusal else None,
            }
            for one in found
        ],
        "newest": first.checkpoint if first else None,
    }


def read(request: Message) -> Message:
    """Whole tensors by path, aliases in one file, and assets."""
    store, root = _opened(request)
    name = member(request, "item", str)
    find_item(root, name)
    paths = _optional(request, "paths", list)
    wanted = None if paths is None else [messages.read_path(value) for value in paths]
    checked = member(request, "verify", bool, default=True)
    out = _Out(request)
    files: dict[int, str] = {}
    listed = []
    if wanted is None or wanted:
        opened = open_item(store, root, name)
        for path in opened.numbers if wanted is None else wanted:
            number = opened.number(path)
            row = opened.manifest.tensors[number]
            if number not in files:
                data = read_region(opened, number, whole(row.shape), verify=checked)
                files[number] = out.write(str(len(files)), data)
            shape = [messages.number(size) for size in row.shape]
            listed.append(
                {"path": messages.path(path), "dtype": row.dtype.name, "shape": shape, "file": files[number]},
            )
    assets = [
        {"name": asset, "file": out.write(f"a{place}", read_asset(store, root, root.items[name], asset))}
        for place, asset in enumerate(member(request, "assets", list, []))
    ]
    return {"tensors": listed, "assets": assets}


def read_regions(request: Message) -> Message:
    """Regions of one tensor, a file for each."""
    store, root = _opened(request)
    opened = open_item(store, root, member(request, "item", str))
    number = opened.number(messages.read_path(request.get("path")))
    regions = [messages.read_region(value) for value in member(request, "regions", list)]
    checked = member(request, "verify", bool, default=True)
    out = _Out(request)
    return {
        "dtype": opened.manifest.tensors[number].dtype.name,
        "files": [
            out.write(str(place), read_region(opened, number, region, verify=checked))
            for place, region in enumerate(regions)
        ],
    }


def verify_checkpoint(request: Message) -> Message:
    """Every finding of a verification; a refused root is one too."""
    store = open_store(member(request, "store", dict))
    found = verify(store, member(request, "checkpoint", str), deep=member(request, "deep", bool))
    return {"sound": not found, "findings": [{"code": one.code, "subject": one.subject} for one in found]}


OPERATIONS: dict[str, Operation] = {
    "hello": hello,
    "inspect": inspect,
    "list": list_store,
    "read": read,
    "read_region": read_regions,
    "verify": verify_checkpoint,
    "bye": lambda _: {},
}


def perform(request: Message) -> Message:
    """The response to a request, without its id; every input has one (SCF-SEC-007)."""
    try:
        return {"result": "ok", **_operation(request)(request)}
    except Rejected as refusal:
        return _rejected(refusal)
    except Unsupported as missing:
        return {"result": "unsupported", "what": missing.what}
    except MemoryError:
        return _rejected(Rejected("limit.exceeded", "there is not enough memory for this", phase="read"))
    except Exception as error:  # noqa: BLE001 - whatever else goes wrong is the response `error`, and the loop goes on
        return {"result": "error", "message": f"{type(error).__name__}: {error}"}


def _operation(request: Message) -> Operation:
    name = member(request, "op", str)
    if name not in OPERATIONS:
        raise usage(f"there is no operation {name}")
    return OPERATIONS[name]


def _rejected(refusal: Rejected) -> Message:
    return {
        "result": "rejected",
        "code": refusal.code,
        "phase": refusal.phase,
        "subject": refusal.subject,
        "message": refusal.message,
    }
