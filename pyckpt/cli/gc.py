"""``pyckpt gc``: removes what no checkpoint of a store reaches."""

from __future__ import annotations

from typing import Any, Final

import click

from pyckpt.cli.arguments import DURATION, all_option, json_option, locate_store
from pyckpt.cli.gc_view import judged_as_json, print_groups, print_keys
from pyckpt.cli.screen import Screen, print_json, working
from pyckpt.cli.text import count, duration_text, size_text
from pyckpt.engine.collect import GRACE_SECONDS, Collected, collect_garbage

__all__ = ["collected_as_json", "command"]

EPILOG = """\b
Examples:
  pyckpt gc runs/a --dry-run
  pyckpt gc s3://bucket/run --grace 2d

Only files of the format's own names are ever removed, and only those that no checkpoint and no young deletion
reaches. What is younger than the grace period stays, for it may belong to a save in progress. --dry-run says of
every key what would become of it and why; --all shows each one by itself. With --json: store, dry_run,
grace_seconds, keys, bytes, kept_for_grace, and judged, each with key, bytes, kind, goes, reason, by, since and
until: what was removed, with --dry-run also what stays."""

_FIRST: Final = 20
"""Keys of one kind that a dry run shows unless it is told --all."""


@click.command("gc", epilog=EPILOG, short_help="Remove what no checkpoint of a store reaches.")
@click.argument("store_url", metavar="STORE")
@click.option(
    "--grace",
    type=DURATION,
    default=GRACE_SECONDS,
    metavar="TIME",
    help="Keep what is younger: seconds, or 30m, 1h, 2d.  [default: 1d]",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing, say what would be removed, what not, and why.")
@all_option
@json_option
def command(store_url: str, grace: float, *, dry_run: bool, everything: bool, as_json: bool) -> int:
    """Remove what deleted checkpoints and broken-off saves have left behind in STORE."""
    store = locate_store(store_url)
    with working(f"collecting {store.url}"):
        collected = collect_garbage(store, grace=grace, dry_run=dry_run)
    if as_json:
        shown = [judged_as_json(each) for each in collected.judged if each.goes or dry_run]
        record = {"store": store.url, "dry_run": dry_run, "grace_seconds": grace, **collected_as_json(collected)}
        print_json({**record, "judged": shown})
    else:
        _print(collected, grace, dry_run=dry_run, everything=everything)
    return 0


def collected_as_json(collected: Collected) -> dict[str, Any]:
    """What was removed, for ``--json``."""
    return {"keys": list(collected.keys), "bytes": collected.bytes, "kept_for_grace": collected.kept_for_grace}


def _print(collected: Collected, grace: float, *, dry_run: bool, everything: bool) -> None:
    screen = Screen()
    going = [each for each in collected.judged if each.goes]
    if not going:
        screen.line("nothing to remove")
    else:
        if dry_run or everything:
            print_keys(screen, going, None if everything else _FIRST)
        else:
            print_groups(screen, going)
        total = f"{count(len(going), 'object')}, {size_text(collected.bytes)}"
        screen.line((f"{'would remove' if dry_run else 'removed'} {total}", "bold"))
    kept = [each for each in collected.judged if not each.goes] if dry_run else []
    if kept:
        screen.line()
        if everything:
            print_keys(screen, kept, None)
        else:
            print_groups(screen, kept)
        total = f"{count(len(kept), 'object')}, {size_text(sum(each.bytes for each in kept))}"
        screen.line((f"would keep {total}", "bold"))
    if collected.kept_for_grace:
        screen.line(f"{count(collected.kept_for_grace, 'object')} kept for the grace period of {duration_text(grace)}")
