"""The checkpoints of a store that belong to one manager, as a listing shows them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from pyckpt.engine.listing import Listed, list_checkpoints
from pyckpt.errors import Corrupt, StoreError
from pyckpt.format.root import Root
from pyckpt.manager.events import PassedOver
from pyckpt.manager.keep import Stored
from pyckpt.manager.names import NamePattern
from pyckpt.storage.base import Store

__all__ = ["DAMAGE", "Own", "own_checkpoints", "parse_metrics"]

DAMAGE = frozenset({*Corrupt.codes, "checkpoint.missing"})
"""Codes that say that this checkpoint is lost, while another one may be sound."""


@dataclass(frozen=True, slots=True)
class Own:
    """What there is under names of the pattern; everything else in the store is not looked at."""

    sound: tuple[Stored, ...]
    """Those with a readable root, newest first."""
    broken: tuple[PassedOver, ...]
    """Those with a damaged root: it is not known how new they are."""


def own_checkpoints(store: Store, pattern: NamePattern) -> Own:
    """Lists the store. Raises StoreError, and Unsupported for a root of a newer format: either may be the newest."""
    sound: list[Stored] = []
    broken: list[PassedOver] = []
    for listed in list_checkpoints(store):
        step = pattern.step_of(listed.name)
        if step is None:
            continue
        if listed.root is not None:
            sound.append(_parse(listed.name, step, listed.root))
        else:
            broken.append(_passed(listed))
    return Own(tuple(sound), tuple(broken))


def _passed(listed: Listed) -> PassedOver:
    error = listed.error
    if error is None:
        raise StoreError("store.io", "the listing gave neither a root nor an error", key=listed.name)
    if error.code not in DAMAGE:
        raise error
    return PassedOver(listed.name, error.code, str(error))


def _parse(name: str, step: int, root: Root) -> Stored:
    metadata = root.metadata
    return Stored(
        name,
        step,
        root.sequence,
        _parse_time(root.created),
        parse_metrics(metadata.get("metrics")),
        metadata.get("pinned") is True,
        tuple(each.checkpoint for each in root.external),
        root.digest,
    )


def _parse_time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def parse_metrics(metrics: object) -> dict[str, float]:
    """Those values of a mapping that are numbers, or become one: a scalar of NumPy or torch."""
    if not isinstance(metrics, Mapping):
        return {}
    numbers = {}
    for name, value in metrics.items():
        # A loss that still hangs on to its graph is a number, too.
        detach = getattr(value, "detach", None)
        with suppress(TypeError, ValueError, OverflowError, RuntimeError):
            if not isinstance(value, str | bool):
                numbers[str(name)] = float(detach() if callable(detach) else value)
    return numbers
