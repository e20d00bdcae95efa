"""The lines that a manager writes into the log, and calls of what the user gave it to call."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pyckpt.manager.events import RetentionReport, SaveEvent

__all__ = ["ALREADY", "FULL", "call", "log_retention", "log_save"]

_log = logging.getLogger("pyckpt")

ALREADY = "this very run has saved or restored it"
FULL = "there were enough saves in flight"


def log_save(event: SaveEvent) -> None:
    """One line per save, at the level of the worst that it has to say."""
    if event.error is not None:
        _log.error("step %d could not be saved as %s: %s", event.step, event.name, event.error)
        return
    if event.report is None:
        level = logging.INFO if event.skipped == ALREADY else logging.WARNING
        _log.log(level, "step %d is not saved as %s: %s", event.step, event.name, event.skipped)
        return
    report = event.report
    parts = [f"saved step {event.step} as {report.url}: {report.bytes} bytes in {report.seconds:.2f} s"]
    parts += [event.slow] if event.slow else []
    parts += list(report.warnings)
    _log.log(logging.WARNING if len(parts) > 1 else logging.INFO, "%s", "; ".join(parts))


def log_retention(event: SaveEvent, kept: RetentionReport | None) -> None:
    """One line if anything was done, or could not be done."""
    if kept is None:
        return
    parts = [f"deleted {', '.join(kept.deleted)}"] if kept.deleted else []
    parts += [f"collected {kept.collected_bytes} bytes"] if kept.collected else []
    parts += list(kept.problems)
    if parts:
        level = logging.WARNING if kept.problems else logging.INFO
        _log.log(level, "after step %d: %s", event.step, "; ".join(parts))


def call(name: str, callback: Callable[..., object] | None, event: object) -> None:
    """What a callback raises is logged: it would end training on one rank and leave the others waiting."""
    if callback is None:
        return
    try:
        callback(event)
    except Exception:  # noqa: BLE001
        _log.exception("%s failed", name)
