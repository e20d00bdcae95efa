"""``pyckpt copy``: a checkpoint, or all of a store, into another store."""

from __future__ import annotations

import sys
from typing import Any

import click

from pyckpt.cli.arguments import BadArgument, json_option, locate, locate_store, suggest
from pyckpt.cli.screen import Screen, error_as_json, error_block, print_json, progress_bar
from pyckpt.cli.text import count, size_text
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.listing import list_checkpoints, newest
from pyckpt.engine.report import CopyReport
from pyckpt.errors import NotFound, PyckptError
from pyckpt.storage.base import Store
from pyckpt.storage.url import checkpoint_url, names_store

__all__ = ["command"]

EPILOG = """\b
Examples:
  pyckpt copy runs/a/step_1000 s3://bucket/run/step_1000
  pyckpt copy runs/a/step_1000 s3://bucket/run/
  pyckpt copy s3://bucket/run runs/a --newest
  pyckpt copy runs/a s3://bucket/run --all
  pyckpt copy runs/a/step_1000 release/v1 --standalone

A copy has the same digest; what it uses of other checkpoints comes along. Every byte is checked on the way. A
copy that was broken off goes on where it stopped. A DST that ends with / is a store, and the name stays. With
--standalone it becomes a checkpoint of its own, which needs no other. With --json: copies, each with url,
source, digest, checkpoints, already_there, objects, sent, found, unchecked, weak and seconds, or source and error."""


@click.command("copy", epilog=EPILOG, short_help="Copy a checkpoint into another store.")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--standalone", is_flag=True, help="Make a new checkpoint that uses no other one.")
@click.option("--all", "everything", is_flag=True, help="SRC and DST are stores: copy every checkpoint, oldest first.")
@click.option("--newest", "only_newest", is_flag=True, help="SRC and DST are stores: copy the newest checkpoint.")
@click.option("--trust-sizes", is_flag=True, help="Do not read what a copy that was broken off has left in DST.")
@click.option("--weak", is_flag=True, help="Copy to a store without create-if-absent, too.")
@json_option
def command(
    source: str,
    target: str,
    *,
    standalone: bool,
    everything: bool,
    only_newest: bool,
    trust_sizes: bool,
    weak: bool,
    as_json: bool,
) -> int:
    """Copy the checkpoint SRC to DST, byte for byte."""
    if everything and only_newest:
        raise BadArgument("usage.invalid", "expected one of --all and --newest", key="--newest")
    jobs, broken = _jobs(source, target, everything=everything, only_newest=only_newest)
    done: list[dict[str, Any]] = []
    status = 1 if broken else 0
    for origin, name, place, target_name in jobs:
        try:
            with progress_bar(name) as progress:
                report = copy_checkpoint(
                    origin,
                    name,
                    place,
                    target_name=target_name,
                    standalone=standalone,
                    verify=not trust_sizes,
                    accept_weak_store=weak,
                    progress=progress,
                )
        except PyckptError as error:
            if not everything:
                raise _with_suggestion(error, origin, name) from error
            status = 1
            done.append({"source": checkpoint_url(origin.url, name), **error_as_json(error)})
            _say(error_block(error), as_json=as_json)
        else:
            done.append(_described(report))
            if not as_json:
                _print(report)
    for name, damage in broken:
        done.append({"source": name, **error_as_json(damage)})
        _say(error_block(damage), as_json=as_json)
    if as_json:
        print_json({"copies": done})
    elif not done:
        Screen().line("no checkpoints in ", source)
    return status


_Job = tuple[Store, str, Store, str]
"""Source, name in it, target, name in it."""


def _jobs(
    source: str, target: str, *, everything: bool, only_newest: bool
) -> tuple[list[_Job], list[tuple[str, PyckptError]]]:
    """What is to be copied, and what can't be, as its root is damaged."""
    if not (everything or only_newest):
        origin, name = locate(source)
        place, target_name = locate(checkpoint_url(target, name) if names_store(target) else target)
        return [(origin, name, place, target_name)], []
    origin = locate_store(source)
    place, _ = locate(checkpoint_url(target, "any"))
    if only_newest:
        found = newest(origin)
        if found is None:
            raise NotFound("checkpoint.missing", "there is no checkpoint in this store", key=origin.url)
        return [(origin, found.name, place, found.name)], []
    listed = list_checkpoints(origin)
    # Oldest first: what others use is there, under its own root, when they come.
    names = [each.name for each in reversed(listed) if each.root is not None]
    broken = [(checkpoint_url(origin.url, each.name), each.error) for each in listed if each.error is not None]
    return [(origin, name, place, name) for name in names], broken


def _with_suggestion(error: PyckptError, store: Store, name: str) -> PyckptError:
    if error.code != "checkpoint.missing":
        return error
    return NotFound(error.code, error.message, key=error.key, hint=suggest(store, name) or error.hint)


def _say(text: str, *, as_json: bool) -> None:
    if not as_json:
        sys.stdout.flush()
        print(text, file=sys.stderr)


def _described(report: CopyReport) -> dict[str, Any]:
    return {
        "url": report.url,
        "source": report.source,
        "digest": report.digest,
        "checkpoints": list(report.checkpoints),
        "already_there": report.already_there,
        "objects": report.objects,
        "sent": report.sent,
        "found": report.found,
        "unchecked": report.unchecked,
        "weak": report.weak,
        "seconds": round(report.seconds, 6),
    }


def _print(report: CopyReport) -> None:
    screen = Screen()
    screen.line((report.url, "bold"), "  ", (report.digest, "dim"))
    if report.already_there:
        screen.line(("already there", "bold green"))
        return
    found = f", {size_text(report.found)} were there" if report.found else ""
    along = f", with objects of {', '.join(report.checkpoints)}" if report.checkpoints else ""
    sent = f"{count(report.objects, 'object')}{along}: {size_text(report.sent)} sent{found}"
    screen.line(("copied", "bold green"), f"  {sent} in {report.seconds:.1f} s")
    if report.unchecked:
        what = f"{size_text(report.unchecked)} have digests that this version can't compute"
        screen.line(("unchecked  ", "yellow"), what)
    if report.weak:
        screen.line(("weak  ", "yellow"), "the store has no create-if-absent")
