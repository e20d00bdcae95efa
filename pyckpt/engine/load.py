"""One load: the checkpoint's records once for all ranks, mismatches before anything is touched, then the bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.fill import fill
from pyckpt.engine.leaves import Binder
from pyckpt.engine.load_shared import Exchanger
from pyckpt.engine.open import OpenItem, checked_root, decode_item, manifest_bytes, root_bytes
from pyckpt.engine.options import LoadOptions
from pyckpt.engine.read import check_objects
from pyckpt.engine.report import LoadReport
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import NotFound
from pyckpt.format.root import Root
from pyckpt.storage.base import Store
from pyckpt.storage.url import checkpoint_url

__all__ = ["Loaded", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load gives: the report, the root, and per item what its binder's ``finish`` returned."""

    report: LoadReport
    root: Root
    values: Mapping[str, Any]


def load(
    store: Store,
    name: str,
    binders: Callable[[], Mapping[str, Binder]] | None,
    fresh: Binder,
    *,
    items: Sequence[str] | None,
    options: LoadOptions,
    coordinator: Coordinator,
    exchanger: Exchanger | None = None,
) -> Loaded:
    """Fills what the binders want from the checkpoint ``name``; without binders, loads ``items`` (or all) by ``fresh``.

    Nothing is changed before every rank has found that its targets fit. A failure on one rank, at any time, is raised
    on all. With an ``exchanger``, ranks that want the same may read it once (``LoadOptions.replicas``). Raises
    NotFound, Corrupt, Unsupported, StateMismatch (``findings`` has them all), RankError, StoreError.
    """
    begin = time.perf_counter()
    chosen: dict[str, Binder] = {}

    def choose() -> bytes:
        if binders is not None:
            chosen.update(binders())
        packed: bytes = msgpack.packb(list(chosen))
        return packed

    def named(choices: Sequence[bytes]) -> list[str] | None:
        if binders is None:
            return None if items is None else list(items)
        # Ranks may have objects for different items: the stages of a pipeline, say.
        return list(dict.fromkeys(item for each in choices for item in msgpack.unpackb(each)))

    root, opened = _open(store, name, choose, named, options.expect, coordinator)
    wanted = chosen if binders is not None else dict.fromkeys(opened, fresh)

    def check() -> None:
        # Fresh tensors are allocated while they are bound: the bytes that the manifest claims have to exist first.
        if options.strict:
            for item in opened.values():
                check_objects(store, item)

    done = fill(
        store,
        opened,
        wanted,
        name=name,
        options=options,
        coordinator=coordinator,
        check=check,
        exchanger=exchanger,
    )
    url = checkpoint_url(store.url, name)
    seconds = time.perf_counter() - begin
    report = LoadReport(
        url, root.digest, done.tensors, done.bytes, done.read, seconds, done.skipped, done.exchanged, done.staging
    )
    return Loaded(report, root, done.values)


def _open(
    store: Store,
    name: str,
    choose: Callable[[], bytes],
    items: Callable[[Sequence[bytes]], list[str] | None],
    expect: str | None,
    coordinator: Coordinator,
) -> tuple[Root, dict[str, OpenItem]]:
    """Rank 0 reads root and manifests and passes them on as stored; every rank checks and decodes them itself."""

    def read(choices: Sequence[bytes]) -> bytes:
        data = root_bytes(store, name)
        root = checked_root(data, name, expect)
        names = _wanted(root, name, items(choices))
        records = {item: manifest_bytes(store, name, item, root.items[item]) for item in names}
        packed: bytes = msgpack.packb([data, records])
        return packed

    data, records = msgpack.unpackb(round_trip(coordinator, "open", choose, read))
    root = checked_root(data, name, expect)
    return root, {item: decode_item(name, item, root, stored) for item, stored in records.items()}


def _wanted(root: Root, name: str, items: list[str] | None) -> list[str]:
    wanted = list(root.items) if items is None else items
    missing = [item for item in wanted if item not in root.items]
    if missing:
        raise NotFound(
            "item.missing",
            f"the checkpoint {name!r} has no item {', '.join(map(repr, missing))}",
            key=missing[0],
            hint=f"items are: {', '.join(sorted(root.items)) or 'none'}",
        )
    return wanted
