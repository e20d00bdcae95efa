"""`python -m conformance.mutants NAME...`: the oracle with this bug; `--list` lists all of them as JSON.

With several names, `bye` ends the first bug and the next one begins, with its own `hello`.
"""

from __future__ import annotations

import json
import sys

from ..oracle.serve import main as serve
from .catalogue import MUTANTS


def main() -> int:
    """Serve standard input and output with the bugs that the arguments name, one after the other."""
    arguments = sys.argv[1:]
    if arguments == ["--list"]:
        print(json.dumps([each.record() for each in MUTANTS.values()], indent=1, ensure_ascii=False))
        return 0
    if not arguments or any(name not in MUTANTS for name in arguments):
        print("usage: python -m conformance.mutants NAME... | --list", file=sys.stderr)
        return 2
    for name in arguments:
        with MUTANTS[name].applied():
            serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
