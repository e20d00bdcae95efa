"""``pyckpt export``: writes a model of a checkpoint as a directory that other programs load."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pyckpt.cli.arguments import BadArgument, json_option, locate, suggest
from pyckpt.cli.screen import Screen, print_json, progress_bar
from pyckpt.cli.text import clip, count, size_text
from pyckpt.errors import NotFound, UsageError

if TYPE_CHECKING:
    from pyckpt.interop.hf import ExportReport

__all__ = ["command"]

EPILOG = """\b
Examples:
  pyckpt export --to hf runs/a/step_1000 llama-step-1000
  pyckpt export --to hf s3://bucket/run/step_1000 out --dtype bfloat16
  torchrun --standalone --nproc-per-node 4 -m pyckpt.cli.main \\
      export --to hf runs/a/step_1000 out

config.json and tokenizer files are those that were saved with the item, unless --config and --tokenizer give others.
Names and shapes are compared with the model of config.json if transformers is installed. Files that are linked
share their bytes with the checkpoint: never edit them in place. With --no-strict differences are listed only.
With --json: path, checkpoint, digest, item, files, tensors, parameters, bytes, linked, dtype, architecture, unchecked,
aliases, findings (code, key, message), left_out, remarks and seconds."""

_SHOWN = 10


@click.command("export", epilog=EPILOG, short_help="Write a model for other programs.")
@click.option("--to", "form", type=click.Choice(["hf"]), required=True, help="hf: a Hugging Face directory.")
@click.argument("checkpoint", metavar="URL")
@click.argument("out", type=click.Path())
@click.option("--item", metavar="NAME", help="The item to export, if several are models.")
@click.option("--dtype", metavar="NAME", help="Cast floating-point tensors, to bfloat16 say.")
@click.option("--max-shard-size", default="5GB", show_default=True, metavar="SIZE", help="Largest file of weights.")
@click.option("--tokenizer", type=click.Path(exists=True, file_okay=False), metavar="DIR", help="Take its files.")
@click.option("--config", type=click.Path(exists=True), metavar="FILE", help="A config.json, or a directory with one.")
@click.option("--strict/--no-strict", default=True, help="Refuse other names and shapes than config.json's model has.")
@click.option("--link/--no-link", default=True, help="Make hard links where a file of the checkpoint fits as it is.")
@click.option("--verify/--no-verify", default=True, help="Check the digests of all bytes.")
@json_option
def command(
    form: str,
    checkpoint: str,
    out: str,
    *,
    item: str | None,
    dtype: str | None,
    max_shard_size: str,
    tokenizer: str | None,
    config: str | None,
    strict: bool,
    link: bool,
    verify: bool,
    as_json: bool,
) -> int:
    """Write a model of the checkpoint URL to the directory OUT, from any number of ranks and any layout."""
    del form
    store, name = locate(checkpoint)
    from pyckpt.interop.hf import export
    from pyckpt.interop.hf.arguments import parse_dtype, parse_size
    from pyckpt.interop.launched import launched_ranks

    try:
        parse_dtype(dtype)
        parse_size(max_shard_size)
    except UsageError as error:
        raise BadArgument(error.code, error.message, key=error.key) from error
    with launched_ranks() as rank:
        try:
            with progress_bar(name) if rank == 0 else nullcontext() as progress:
                report = export(
                    checkpoint,
                    out,
                    item=item,
                    tokenizer=tokenizer,
                    config=config,
                    dtype=dtype,
                    max_shard_size=max_shard_size,
                    strict=strict,
                    link=link,
                    verify=verify,
                    progress=progress,
                )
        except NotFound as error:
            if error.code != "checkpoint.missing":
                raise
            hint = suggest(store, name) or error.hint
            raise NotFound(error.code, error.message, key=error.key, hint=hint) from error
    if rank == 0:
        if as_json:
            print_json(asdict(report))
        else:
            _print(report)
    return 0


def _print(report: ExportReport) -> None:
    screen = Screen()
    screen.line((report.path, "bold"), "  ", (report.digest, "dim"))
    for finding in report.findings[:_SHOWN]:
        screen.line((finding.code, "red"), "  ", finding.key)
        screen.line("  ", clip(finding.message, 1000))
    if len(report.findings) > _SHOWN:
        screen.line(f"… {len(report.findings) - _SHOWN:,} more findings (--json lists all)")
    for alias, kept in list(report.aliases.items())[:_SHOWN]:
        screen.line(("tied  ", "dim"), f"{alias} = {kept}")
    for line in report.left_out[:_SHOWN]:
        screen.line(("left out  ", "yellow"), clip(line, 1000))
    if len(report.left_out) > _SHOWN:
        screen.line(f"… {len(report.left_out) - _SHOWN:,} more left out (--json lists all)")
    for line in report.remarks:
        screen.line(("remark  ", "yellow"), line)
    if report.unchecked:
        screen.line(("not compared with a model  ", "yellow"), report.unchecked)
    else:
        screen.line(("architecture  ", "dim"), report.architecture)
    shared = f", {size_text(report.linked)} of it linked" if report.linked else ""
    what = f"{count(report.tensors, 'tensor')}, {size_text(report.bytes)} in {count(len(report.files), 'file')}"
    screen.line(("exported", "bold green"), f": {what}{shared}; {report.seconds:.1f} s")
