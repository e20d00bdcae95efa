"""`python -m conformance.mutants NAME`: the oracle with this bug; `--list` lists all of them as JSON."""

from __future__ import annotations

import json
import sys

from ..oracle.serve import main as serve
from .catalogue import MUTANTS


def main(arguments: list[str]) -> int:
    """Serve standard input and output with the bug that the argument names."""
    if arguments == ["--list"]:
        print(json.dumps([each.record() for each in MUTANTS.values()], indent=1, ensure_ascii=False))
        return 0
    if len(arguments) != 1 or arguments[0] not in MUTANTS:
        print("usage: python -m conformance.mutants NAME | --list", file=sys.stderr)
        return 2
    with MUTANTS[arguments[0]].applied():
        serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
