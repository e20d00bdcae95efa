"""``pyckpt gc``: removes what no checkpoint of a store reaches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from pyckpt.cli.arguments import DURATION, json_option, locate_store
from pyckpt.cli.screen import Screen, print_json, working
from pyckpt.cli.text import count, size_text
from pyckpt.engine.collect import GRACE_SECONDS, Collected, collect_garbage

__all__ = ["collected_as_json", "command", "duration_text"]

EPILOG = """\b
Examples:
  pyckpt gc runs/a --dry-run
  pyckpt gc s3://bucket/run --grace 2d

Only files of the format's own names are ever removed, and only those that no checkpoint and no young deletion
reaches. What is younger than the grace period stays, for it may belong to a save in progress. With --json:
store, dry_run, grace_seconds, keys, bytes and kept_for_grace."""

_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))


@click.command("gc", epilog=EPILOG, short_help="Remove what no checkpoint of a store reaches.")
@click.argument("store_url", metavar="STORE")
@click.option(
    "--grace",
    type=DURATION,
    default=GRACE_SECONDS,
    metavar="TIME",
    help="Keep what is younger: seconds, or 30m, 1h, 2d. Default 1d.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing, say what would be removed.")
@json_option
def command(store_url: str, grace: float, *, dry_run: bool, as_json: bool) -> int:
    """Remove what deleted checkpoints and broken-off saves have left behind in STORE."""
    store = locate_store(store_url)
    with working(f"collecting {store.url}"):
        collected = collect_garbage(store, grace=grace, dry_run=dry_run)
    if as_json:
        print_json({"store": store.url, "dry_run": dry_run, "grace_seconds": grace, **collected_as_json(collected)})
    else:
        _print(collected, grace, dry_run=dry_run)
    return 0


def collected_as_json(collected: Collected) -> dict[str, Any]:
    """What was removed, for ``--json``."""
    return {"keys": list(collected.keys), "bytes": collected.bytes, "kept_for_grace": collected.kept_for_grace}


def duration_text(seconds: float) -> str:
    """``1 day``, ``90 minutes``: in the largest unit of which it is a whole number."""
    for unit, name in _UNITS:
        if seconds and seconds % unit == 0:
            return count(int(seconds // unit), name)
    return f"{seconds:g} seconds"


def _print(collected: Collected, grace: float, *, dry_run: bool) -> None:
    screen = Screen()
    places = Counter(key.split("/", 1)[0] for key in collected.keys)
    if places:
        screen.table(
            ["below", "objects"], [[place, f"{number:,}"] for place, number in places.items()], right=("objects",)
        )
    total = f"{count(len(collected.keys), 'object')}, {size_text(collected.bytes)}"
    if collected.keys:
        screen.line(f"{'would remove' if dry_run else 'removed'} {total}")
    else:
        screen.line("nothing to remove")
    if collected.kept_for_grace:
        screen.line(f"{count(collected.kept_for_grace, 'object')} kept for the grace period of {duration_text(grace)}")
