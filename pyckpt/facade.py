"""The calls that most users need: save, save_async, load, open, verify, list, latest, copy, delete, diff."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from pyckpt.engine.background import SaveHandle, flights
from pyckpt.engine.checkpoint import Checkpoint
from pyckpt.engine.collect import GRACE_SECONDS, Collected, collect_garbage
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.delete import delete as delete_checkpoint
from pyckpt.engine.diff import DiffReport
from pyckpt.engine.diff import diff as diff_checkpoints
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.listing import list_checkpoints, newest
from pyckpt.engine.load import Loaded
from pyckpt.engine.load import load as load_checkpoint
from pyckpt.engine.open import open_root
from pyckpt.engine.options import LoadOptions, Progress, SaveOptions
from pyckpt.engine.pause import no_cycle_collection
from pyckpt.engine.report import CopyReport, SaveReport, VerifyReport
from pyckpt.engine.save import Request
from pyckpt.engine.save import save as save_checkpoint
from pyckpt.engine.save_snapshot import save_snapshot
from pyckpt.engine.snapshot import Snapshot, take_snapshot
from pyckpt.engine.staging_memory import staging_memory
from pyckpt.engine.threads import default_threads
from pyckpt.engine.verify import verify as verify_checkpoint
from pyckpt.errors import UsageError
from pyckpt.frameworks import framework_for
from pyckpt.storage.base import Store
from pyckpt.storage.url import Place, checkpoint_url, open_store, split_url
from pyckpt.version import PROGRAM

__all__ = [
    "copy",
    "delete",
    "diff",
    "gc",
    "latest",
    "list_",
    "load",
    "load_report",
    "open_",
    "save",
    "save_async",
    "verify",
]

Url = str | os.PathLike[str]


def save(
    url: Url | Place,
    state: Mapping[str, object],
    *,
    metadata: Mapping[str, object] | None = None,
    assets: Mapping[str, Mapping[str, Url | bytes]] | None = None,
    carry: Mapping[str, Url | tuple[Url, str]] | None = None,
    options: SaveOptions | None = None,
) -> SaveReport:
    """Saves ``state`` (item name -> module, optimizer, scheduler, RNG(), nested values) as one checkpoint.

    All ranks of the default process group call it together. The checkpoint exists once the call returns, and not at
    all if it raises. ``metadata`` is any JSON-like mapping (step, metrics, …); ``assets`` are files kept with an item,
    ``{item: {name: path or bytes}}``. ``carry`` takes items over from earlier checkpoints of the same store without
    writing them, ``{item: checkpoint}`` or ``{item: (checkpoint, its name there)}``. Waits for saves that
    ``save_async`` began. Raises PyckptError with a code; see ``pyckpt.errors``.
    """
    options = options or SaveOptions()
    store, name = _locate(url, io=options.io)
    framework = framework_for("auto")
    missed = flights.make_room(1)
    coordinator = framework.coordinator(
        f"save {store.url} {name}", collective=options.collective, timeout=options.timeout, silence=options.silence
    )
    try:
        described: dict[str, object] = {}
        files: dict[str, dict[str, bytes]] = {}
        relay = framework.relay(state, coordinator, options)

        def collect() -> Sequence[ItemState]:
            # Whatever fails in here, all ranks hear of it.
            _raise(missed)
            described.update({**framework.parallel(state), **(metadata or {})})
            if coordinator.rank == 0:
                files.update(_read_assets(assets))
            return framework.collect(state, coordinator, options) if relay is None else relay.items

        request = Request(collect, described, files, PROGRAM, relay, carry=_sources(carry))
        with no_cycle_collection():
            return save_checkpoint(store, name, request, options=options, coordinator=coordinator)
    finally:
        coordinator.close()


def save_async(
    url: Url | Place,
    state: Mapping[str, object],
    *,
    metadata: Mapping[str, object] | None = None,
    assets: Mapping[str, Mapping[str, Url | bytes]] | None = None,
    carry: Mapping[str, Url | tuple[Url, str]] | None = None,
    options: SaveOptions | None = None,
) -> SaveHandle:
    """Like ``save``, and returns before anything is written; what was there at the call is what is saved.

    All ranks call it together, and none waits in it for another. Writing and commit go on in the background;
    ``handle.wait()`` gives the report. A save that failed raises its error there, or in the next call of ``save`` or
    ``save_async``. Weights and optimizer state that only ``optimizer.step()`` changes may be copied late, and the next
    ``step()`` waits for that: nothing else may change them before ``handle.staged`` is done, unless
    ``SaveOptions(staging="block")``. A state larger than ``SaveOptions(staging_bytes=…)`` blocks until the rest has
    been written.
    """
    options = options or SaveOptions()
    if options.wants_whole:
        raise UsageError(
            "usage.invalid",
            "save_async can't bring tensors together: that takes collectives, which would run beside those of training",
            key="layout",
            hint="use save for layout='whole' or whole=, or export the checkpoint afterwards",
        )
    store, name = _locate(url, io=options.io)
    handle = SaveHandle(checkpoint_url(store.url, name))
    framework = framework_for("auto")
    skips = options.when_full == "skip"
    missed = flights.make_room(None if skips else options.max_in_flight)
    # Here and not in the background: conversations are told apart by the order of calls.
    coordinator = framework.coordinator(
        f"save {store.url} {name}", collective=options.collective, timeout=options.timeout, silence=options.silence
    )
    save = partial(
        save_snapshot,
        store,
        name,
        coordinator=coordinator,
        options=options,
        program=PROGRAM,
        handle=handle,
        after=flights.latest(),
    )
    snapshot: Snapshot | None = None
    try:
        _raise(missed)
        carried = _sources(carry)
        if skips and flights.going_on() >= options.max_in_flight:
            handle.skip()
            handle.release()
            flights.begin(handle, partial(save, None))
            return handle
        described = {**framework.parallel(state), **deepcopy(dict(metadata or {}))}
        files = _read_assets(assets) if coordinator.rank == 0 else {}
        with no_cycle_collection():
            items = framework.collect(state, coordinator, options)
            late = framework.late(state, items) if options.staging == "overlap" else None
            snapshot = take_snapshot(
                items,
                staging_memory,
                budget=options.staging_bytes,
                allocate=framework.host_memory(items),
                settle=framework.settle,
                threads=options.threads or default_threads(),
                late=late,
                proven=options.debug_staging,
            )
    except BaseException as error:
        if snapshot is not None:
            snapshot.close()
        # The other ranks are told, in the background; this one knows.
        handle.seen()
        flights.begin(handle, partial(save, error))
        raise
    if snapshot.late is not None:
        handle.call_ends()
    elif not snapshot.live:
        handle.release()
    flights.begin(handle, partial(save, snapshot, described, files, carried))
    if snapshot.live:
        handle.stay()
    return handle


def load(
    url: Url,
    *,
    into: Mapping[str, object] | None = None,
    items: Sequence[str] | None = None,
    device: object = None,
    options: LoadOptions | None = None,
    layout: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Loads a checkpoint: in place into the objects of ``into``, or ``items`` (default: all) as fresh values.

    Every rank passes its own objects, in whatever layout they have now. Nothing is changed unless everything fits; the
    error lists all mismatches. Gives item name -> the filled object or the fresh value.
    """
    loaded = load_report(url, into=into, items=items, device=device, options=options, layout=layout)
    return dict(loaded.values)


def load_report(
    url: Url | Place,
    *,
    into: Mapping[str, object] | None = None,
    items: Sequence[str] | None = None,
    device: object = None,
    options: LoadOptions | None = None,
    layout: Mapping[str, Any] | None = None,
) -> Loaded:
    """Like ``load``, and gives the report and the root as well."""
    options = options or LoadOptions()
    if into is not None and items is not None:
        strangers = sorted(set(items) - set(into))
        if strangers:
            raise UsageError("usage.invalid", f"items that into has no target for: {', '.join(strangers)}")
        into = {item: into[item] for item in items}
    store, name = _locate(url)
    if into is not None:
        # What is filled may be what a save in the background still reads.
        flights.until_staged()
    framework = framework_for(options.framework, device=device)
    coordinator = framework.coordinator(
        f"load {store.url} {name}", collective=options.collective, timeout=options.timeout, silence=options.silence
    )
    try:
        binders = None if into is None else partial(framework.binders, into, coordinator, options, layout or {})
        with no_cycle_collection():
            return load_checkpoint(
                store,
                name,
                binders,
                framework.fresh(device),
                items=items,
                options=options,
                coordinator=coordinator,
                exchanger=framework.exchanger(),
            )
    finally:
        coordinator.close()


def open_(url: Url, *, framework: str = "auto", expect: str | None = None, verify: bool = True) -> Checkpoint:
    """Opens a checkpoint lazily: ``open(url)["policy_model"]["layers.0.weight"][0:128]`` reads just those rows.

    ``expect`` is the digest that the root must have, if the caller knows it. ``verify=False`` leaves the digests of
    tensor data unchecked. Files kept with an item: ``open(url).asset("policy_model", "config.json")``.
    """
    store, name = _locate(url)
    return Checkpoint.open(store, name, framework_for(framework).wrap, expect=expect, verify=verify)


def verify(url: Url | Place, *, deep: bool = True, progress: Progress | None = None) -> VerifyReport:
    """Checks a checkpoint; ``deep`` reads and checks every byte. Damage is listed in the report, never raised."""
    store, name = _locate(url)
    return verify_checkpoint(store, name, deep=deep, threads=default_threads(), progress=progress)


def list_(store: Url) -> list[str]:
    """URLs of the committed checkpoints of a store, newest first. Those with a damaged root are not listed."""
    opened = open_store(os.fspath(store))
    return [checkpoint_url(opened.url, each.name) for each in list_checkpoints(opened) if each.root is not None]


def latest(store: Url) -> str | None:
    """URL of the newest committed checkpoint (highest sequence), or None."""
    opened = open_store(os.fspath(store))
    found = newest(opened)
    return None if found is None else checkpoint_url(opened.url, found.name)


def copy(
    src: Url,
    dst: Url,
    *,
    standalone: bool = False,
    verify: bool = True,
    accept_weak_store: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CopyReport:
    """Copies a checkpoint to another store or name, byte for byte: the copy has the same root digest.

    What it uses of other checkpoints comes along under the same names. Every digest is checked on the way. A copy that
    was broken off goes on where it stopped; ``verify=False`` believes what it finds there by its size. ``dst`` names
    the copy, such as ``s3://bucket/run/step_10``.
    """
    source, name = _locate(src)
    target, target_name = _locate(dst)
    return copy_checkpoint(
        source,
        name,
        target,
        target_name=target_name,
        standalone=standalone,
        verify=verify,
        accept_weak_store=accept_weak_store,
        threads=threads,
        progress=progress,
    )


def delete(url: Url, *, grace: float | None = None) -> None:
    """Deletes a checkpoint: it is gone at once; its bytes go with garbage collection after the grace period.

    With ``grace`` in seconds, its unreachable bytes that are older than this are collected right away.
    """
    store, name = _locate(url)
    delete_checkpoint(store, name)
    if grace is not None:
        collect_garbage(store, grace=grace, only=lambda each: each == name)


def gc(store: Url, *, grace: float = GRACE_SECONDS, dry_run: bool = False) -> Collected:
    """Removes what no checkpoint of the store reaches and what is older than ``grace`` seconds."""
    return collect_garbage(open_store(os.fspath(store)), grace=grace, dry_run=dry_run)


def diff(a: Url, b: Url, *, values: bool = False) -> DiffReport:
    """What differs between two checkpoints; ``values`` reads tensors that digests can't compare."""
    one, two = _locate(a), _locate(b)
    return diff_checkpoints(open_root(*one), open_root(*two), values=values)


def _locate(url: Url | Place, *, io: str = "auto") -> tuple[Store, str]:
    if isinstance(url, Place):
        return url.store, url.name
    store_url, name = split_url(os.fspath(url))
    return open_store(store_url, io=io), name


def _raise(error: BaseException | None) -> None:
    """Raises the error of an earlier save, if there is one."""
    if error is not None:
        raise error


def _sources(carry: Mapping[str, Url | tuple[Url, str]] | None) -> dict[str, tuple[Url, str]]:
    """Where items are carried over from, and what they are called there."""
    return {item: each if isinstance(each, tuple) else (each, item) for item, each in (carry or {}).items()}


def _read_assets(assets: Mapping[str, Mapping[str, Url | bytes]] | None) -> dict[str, dict[str, bytes]]:
    read: dict[str, dict[str, bytes]] = {}
    for item, files in (assets or {}).items():
        read[item] = {}
        for name, content in files.items():
            if isinstance(content, bytes):
                read[item][name] = content
                continue
            try:
                with open(content, "rb") as file:
                    read[item][name] = file.read()
            except OSError as error:
                raise UsageError(
                    "usage.invalid", f"the asset can't be read: {error}", key=f"{item}/{name}"
                ) from error
    return read
