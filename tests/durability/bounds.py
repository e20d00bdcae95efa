"""Runs everything that reads a checkpoint, and holds it to our errors, little memory and little time."""

from __future__ import annotations

import json
import resource
import time
import tracemalloc
from collections.abc import Callable

from pyckpt.engine.collect import collect_garbage
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.open import open_root
from pyckpt.engine.verify import verify
from pyckpt.errors import PyckptError
from pyckpt.format.projection import manifest_to_json
from pyckpt.storage.base import Store
from tests.durability.cases import NAME, load_bytes

MEMORY = 64 << 20
SECONDS = 5.0


def _inspect(store: Store) -> None:
    opened = open_root(store, NAME)
    for item in opened.root.items:
        json.dumps(manifest_to_json(opened.item(item).manifest))


def bounded(act: Callable[[], object]) -> set[str]:
    """Codes that ``act`` raised or, for a report, found. Fails for foreign errors, memory or time."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    tracemalloc.start()
    begin = time.process_time()
    codes = set()
    try:
        result = act()
        codes |= {finding.code for finding in getattr(result, "findings", ())}
    except PyckptError as error:
        codes.add(error.code)
    finally:
        peak, own = tracemalloc.get_traced_memory()[1], tracemalloc.get_tracemalloc_memory()
        tracemalloc.stop()
    assert time.process_time() - begin < SECONDS
    assert peak < MEMORY, f"{peak >> 20} MiB"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - resident < MEMORY + own
    return codes


def every_look(store: Store) -> dict[str, set[str]]:
    """What each way to look at the checkpoint found wrong."""
    return {
        "list": bounded(lambda: _listed(store)),
        "inspect": bounded(lambda: _inspect(store)),
        "load": bounded(lambda: load_bytes(store)),
        "verify": bounded(lambda: verify(store, NAME)),
        "shallow": bounded(lambda: verify(store, NAME, deep=False)),
        "collect": bounded(lambda: collect_garbage(store, grace=0, dry_run=True)),
    }


def _listed(store: Store) -> None:
    for each in list_checkpoints(store):
        if each.error is not None and each.name == NAME:
            raise each.error
