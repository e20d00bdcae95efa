"""What garbage collection makes of each key, as a table for people and as JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from pyckpt.cli.screen import Cell, Screen
from pyckpt.cli.text import count, size_text
from pyckpt.engine.collect_judge import Judged

__all__ = ["judged_as_json", "print_groups", "print_keys"]

_TEXTS = {
    "orphan": "left behind by {by}, last written {since}; no checkpoint knows it",
    "deleted": "of {by}, which was deleted {since}",
    "spent": "the deletion of {by} of {since}, with nothing left to remove",
    "reached": "in use by {by}",
    "protected": "of {by}, which was deleted {since}; stays until {until}",
    "young": "written by {by}, which may still be at work; stays until {until}",
    "standing": "the deletion of {by} of {since}, which stands all the same: delete it again",
    "waiting": "the deletion of {by} of {since}, of which something is left",
    "foreign": "no file that is known to be of a checkpoint: never removed",
}


def judged_as_json(judged: Judged) -> dict[str, Any]:
    """One key, for ``--json``; times in UTC."""
    return {
        "key": judged.key,
        "bytes": judged.bytes,
        "kind": judged.kind,
        "goes": judged.goes,
        "reason": judged.reason,
        "by": judged.by or None,
        "since": _moment(judged.since),
        "until": _moment(judged.until),
    }


def print_groups(screen: Screen, judged: Sequence[Judged]) -> None:
    """A row for each place and reason."""
    rows: list[list[Cell]] = [
        [(place, "bold"), f"{len(members):,}", size_text(sum(each.bytes for each in members)), _why(members)]
        for place, members in _groups(judged)
    ]
    screen.table(["below", "objects", "size", "why"], rows, right=("objects", "size"))


def print_keys(screen: Screen, judged: Sequence[Judged], most: int | None) -> None:
    """A line for each place and reason, below it at most so many of its keys; None: all."""
    for place, members in _groups(judged):
        total = f"{count(len(members), 'object')}, {size_text(sum(each.bytes for each in members))}"
        screen.line((place, "bold"), f": {total}, {_why(members)}")
        for each in members[:most]:
            screen.line(f"  {size_text(each.bytes):>10}  {each.key}")
        if most is not None and len(members) > most:
            screen.line(f"  … {len(members) - most:,} more (--all)")


def _groups(judged: Sequence[Judged]) -> list[tuple[str, list[Judged]]]:
    """First segments of keys, with what is to be said of them together."""
    groups: dict[tuple[str, str, str, bool], list[Judged]] = {}
    for each in judged:
        group = (each.key.split("/", 1)[0], each.reason, each.by, each.kind == "asset")
        groups.setdefault(group, []).append(each)
    return [(group[0], members) for group, members in sorted(groups.items(), key=lambda pair: pair[0])]


def _why(members: Sequence[Judged]) -> str:
    first = members[0]
    by = first.by
    asset = "plain asset " if first.kind == "asset" and by else ""
    if first.kind == "tombstone" and first.reason == "young":
        return f"the deletion of {by} of {_shown(first.since)}; stays until {_shown(first.until)}"
    if first.reason in ("orphan", "young"):
        by = f"attempt {by}" if by else "an attempt"
    since = _shown(max(each.since for each in members))
    until = _shown(max((each.until for each in members if each.until is not None), default=None))
    return asset + _TEXTS[first.reason].format(by=by, since=since, until=until)


def _shown(seconds: float | None) -> str:
    text = _moment(seconds)
    return "?" if text is None else f"{text[:10]} {text[11:16]} UTC"


def _moment(seconds: float | None) -> str | None:
    """``2026-01-31T09:30:00Z``; None also for what no calendar has."""
    try:
        moment = None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
