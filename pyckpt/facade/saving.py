"""Calls that save: save, save_async."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial

from pyckpt.engine.background import SaveHandle, flights
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.pause import no_cycle_collection
from pyckpt.engine.report import SaveReport
from pyckpt.engine.save import Request
from pyckpt.engine.save import save as save_checkpoint
from pyckpt.engine.save_snapshot import save_snapshot
from pyckpt.engine.snapshot import Snapshot, take_snapshot
from pyckpt.engine.staging_memory import staging_memory
from pyckpt.engine.threads import default_threads
from pyckpt.errors import UsageError
from pyckpt.facade.address import Url, locate
from pyckpt.frameworks import framework_for
from pyckpt.storage.url import Place, checkpoint_url
from pyckpt.version import PROGRAM

__all__ = ["save", "save_async"]


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
    store, name = locate(url, io=options.io)
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
    store, name = locate(url, io=options.io)
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
