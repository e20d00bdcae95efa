"""Calls that read what a checkpoint holds: load, load_report, open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pyckpt.engine.background import flights
from pyckpt.engine.checkpoint import Checkpoint
from pyckpt.engine.load import Loaded
from pyckpt.engine.load import load as load_checkpoint
from pyckpt.engine.options import LoadOptions
from pyckpt.engine.pause import no_cycle_collection
from pyckpt.errors import UsageError
from pyckpt.facade.address import Url, locate
from pyckpt.frameworks import framework_for
from pyckpt.storage.url import Place

__all__ = ["load", "load_report", "open_"]


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
    store, name = locate(url)
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
    store, name = locate(url)
    return Checkpoint.open(store, name, framework_for(framework).wrap, expect=expect, verify=verify)
