"""Writes the worked example: the checkpoint in ``spec/example/`` and ``spec/19-worked-example.md``, which explains it.

    python spec/tools/worked_example.py           # write both
    python spec/tools/worked_example.py --check   # write nothing; fail if one of them is another

The bytes are put together from the text of the specification, without the library: an independent writer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from example_bytes import write_example
from example_text import chapter_text

__all__ = ["expected_files", "main", "problems"]

SPEC = Path(__file__).resolve().parent.parent
CHAPTER, STORE = "19-worked-example.md", "example"


def expected_files() -> dict[str, bytes]:
    """Path relative to ``spec/`` -> bytes."""
    example = write_example()
    stored = {f"{STORE}/{key}": data for key, data in example.files().items()}
    return {CHAPTER: chapter_text(example).encode(), **stored}


def problems(spec: Path) -> list[str]:
    """What is absent, different or too much in a specification's folder."""
    expected = expected_files()
    found = []
    for name, data in expected.items():
        path = spec / name
        if not path.is_file():
            found.append(f"{name}: is missing")
        elif path.read_bytes() != data:
            found.append(f"{name}: is stale")
    for path in sorted((spec / STORE).rglob("*")):
        name = path.relative_to(spec).as_posix()
        if path.is_file() and name not in expected:
            found.append(f"{name}: is no part of the example")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the worked example of chapter 19.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is another")
    parser.add_argument("--spec", type=Path, default=SPEC, help="folder of the specification")
    options = parser.parse_args(arguments)
    if options.check:
        found = problems(options.spec)
        for each in found:
            print(f"{each}; run python spec/tools/worked_example.py")
        return int(bool(found))
    for name, data in expected_files().items():
        path = options.spec / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
