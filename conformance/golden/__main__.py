"""``python -m conformance.golden``: makes golden files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click

from ..runner.suite import SuiteError
from . import make


@click.group()
def main() -> None:
    """Make golden files of a released version."""


@main.command()
@click.option("--impl", "command", required=True, help="The implementation that writes.")
def write(command: str) -> None:
    """Write the checkpoints of the cases of writing."""
    _done(lambda: make.write(command))


@main.command()
@click.argument("store", type=click.Path(exists=True, path_type=Path))
@click.argument("name")
@click.option("--prefix", required=True, help="Implementation and version: pyckpt-0.1.0.")
@click.option("--title", required=True, help="What it is, in a line.")
def adopt(store: Path, name: str, prefix: str, title: str) -> None:
    """Keep a store that something else wrote."""
    _done(lambda: [make.adopt(store, name, prefix, title)])


def _done(work: Callable[[], Iterable[str]]) -> None:
    try:
        for name in work():
            click.echo(name)
    except SuiteError as error:
        raise click.ClickException(str(error)) from error


main()
