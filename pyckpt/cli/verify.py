"""``pyckpt verify``: checks a checkpoint and lists everything that is wrong with it."""

from __future__ import annotations

import click

from pyckpt.cli.arguments import BadArgument, json_option, locate, suggest
from pyckpt.cli.screen import Screen, print_json, progress_bar
from pyckpt.cli.sums import SummingStore, write_sums
from pyckpt.cli.text import count, size_text
from pyckpt.engine.report import VerifyReport
from pyckpt.engine.threads import default_threads
from pyckpt.engine.verify import verify
from pyckpt.errors import NotFound

__all__ = ["command"]

EPILOG = """\b
Examples:
  pyckpt verify runs/a/step_1000
  pyckpt verify s3://bucket/run/step_1000 --shallow
  pyckpt verify runs/a/step_1000 --sha256sums SHA256SUMS
  (cd runs/a/step_1000 && sha256sum -c ../../../SHA256SUMS)

--shallow reads root and manifests, and looks at the sizes of all else. Exit status 1 if anything is found.
With --json: url, digest, ok, deep, findings (code, key, message), remarks, objects, bytes, seconds and
sha256sums."""


@click.command("verify", epilog=EPILOG, short_help="Check a checkpoint, to its last byte.")
@click.argument("url")
@click.option("--deep/--shallow", default=True, help="Read and check every byte (default), or sizes only.")
@click.option(
    "--sha256sums", "sums", type=click.Path(dir_okay=False), metavar="FILE", help="Write sums for sha256sum -c to FILE."
)
@json_option
def command(url: str, *, deep: bool, sums: str | None, as_json: bool) -> int:
    """Check a checkpoint against its digests, and list everything that is wrong."""
    if sums is not None and not deep:
        raise BadArgument(
            "usage.invalid", "sums are made of bytes that were verified, and --shallow reads none", key="--sha256sums"
        )
    store, name = locate(url)
    summing = SummingStore(store)
    used = store if sums is None else summing
    try:
        with progress_bar(name) as progress:
            report = verify(used, name, deep=deep, threads=default_threads(), progress=progress)
    except NotFound as error:
        hint = suggest(store, name) or error.hint
        raise NotFound(error.code, error.message, key=error.key, hint=hint) from error
    lines = write_sums(sums, summing, name) if sums is not None and report.ok else 0
    if as_json:
        _print_json(report, sums if lines else None)
    else:
        _print(report, sums, lines)
    return 0 if report.ok else 1


def _print_json(report: VerifyReport, sums: str | None) -> None:
    findings = [{"code": each.code, "key": each.key, "message": each.message} for each in report.findings]
    print_json(
        {
            "url": report.url,
            "digest": report.digest,
            "ok": report.ok,
            "deep": report.deep,
            "findings": findings,
            "remarks": list(report.remarks),
            "objects": report.objects,
            "bytes": report.bytes,
            "seconds": round(report.seconds, 6),
            "sha256sums": sums,
        }
    )


def _print(report: VerifyReport, sums: str | None, lines: int) -> None:
    screen = Screen()
    screen.line((report.url, "bold"), "  ", (report.digest, "dim"))
    looked = f"{count(report.objects, 'data object')}, {size_text(report.bytes)} read in {report.seconds:.1f} s"
    if report.findings:
        screen.line()
        for finding in report.findings:
            screen.line((finding.code, "red"), "  ", finding.key)
            screen.line("  ", finding.message)
        screen.line()
    for remark in report.remarks:
        screen.line(("remark  ", "yellow"), remark)
    if report.findings:
        screen.line((f"damaged: {count(len(report.findings), 'finding')}", "bold red"), f"; {looked}")
    elif report.deep:
        screen.line(("sound", "bold green"), f": every byte is what was saved; {looked}")
    else:
        screen.line(("nothing found", "bold green"), f": sizes and manifests are right, data was not read; {looked}")
    if sums is not None:
        what = f"{count(lines, 'sum')} written to {sums}" if lines else "no sums written: they would certify the damage"
        screen.line(what)
