"""The command ``pyckpt``. Exit status: 0 all is well, 1 a finding, damage or failure, 2 the command makes no sense."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from pyckpt.errors import PyckptError, UsageError
from pyckpt.format.version import SPEC_VERSION
from pyckpt.version import __version__

__all__ = ["main"]

_COMMANDS: Final = {
    "inspect": "Show what a checkpoint holds.",
    "list": "List the checkpoints of a store, newest first.",
    "verify": "Check a checkpoint, to its last byte.",
    "diff": "Show what differs between two checkpoints.",
    "copy": "Copy a checkpoint into another store.",
    "export": "Write a model for other programs.",
    "delete": "Delete a checkpoint.",
    "gc": "Remove what no checkpoint of a store reaches.",
}
"""Name of each command, which is that of its module as well, and what it does."""

_STOPPED: Final = 130
_PIPE_CLOSED: Final = 141
"""What shells report for a program that SIGINT or SIGPIPE ended."""

EPILOG = """A checkpoint is named by its path or URL: runs/a/step_1000 or s3://bucket/run/step_1000; a store by what is
before the name.

Exit status: 0 all is well, 1 a finding, damage or failure, 2 the command makes no sense."""


class _Commands(click.Group):
    """Imports a command's module when that command runs, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the help text."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"pyckpt.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"pyckpt {__version__} (Sharded Checkpoint Format {SPEC_VERSION})")
def pyckpt() -> None:
    """Look at, check, copy, export and tidy sharded checkpoints. None of it needs a framework."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status."""
    arguments = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        # a terminal that can't show a character is no reason to fail
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # what is still buffered would raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        print("pyckpt: stopped", file=sys.stderr)
        return _STOPPED
    return status


def _run(arguments: Sequence[str]) -> int:
    as_json = "--json" in arguments
    try:
        # not click's own main: it turns a closed pipe into exit status 1
        with pyckpt.make_context("pyckpt", list(arguments)) as context:
            status = pyckpt.invoke(context)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show(sys.stderr)
        if as_json:
            _print_error(UsageError("usage.invalid", error.format_message()), as_json=True)
        return 2
    except PyckptError as error:
        from pyckpt.cli.arguments import BadArgument

        _print_error(error, as_json=as_json)
        return 2 if isinstance(error, BadArgument) else 1
    return status if isinstance(status, int) else 0


def _print_error(error: PyckptError, *, as_json: bool) -> None:
    from pyckpt.cli.screen import error_as_json, error_block, print_json

    if as_json:
        print_json(error_as_json(error))
    else:
        sys.stdout.flush()
        print(error_block(error), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
