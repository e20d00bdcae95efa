"""A case in words, and what it has otherwise than its valid sibling."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any, Final

from .readable import lines
from .suite import CaseFile, Index

__all__ = ["differences", "explain", "hex_difference"]

Json = dict[str, Any]

_ROW: Final = 16
_AROUND: Final = 1
_MOST_ROWS: Final = 24
_MOST_LINES: Final = 80


def explain(case: CaseFile, index: Index, cases: Mapping[str, CaseFile]) -> Iterator[str]:
    """Lines of text: ``#`` begins a heading, ``+`` and ``-`` begin what differs."""
    yield f"# {case.id}"
    yield case.title
    yield f"{case.record['kind']}, profile {case.profile}, level {index.level(case)}; {case.directory}"
    if case.options:
        yield f"an implementation may lack: {', '.join(sorted(case.options))}"
    yield ""
    yield "# Requirements"
    for name in case.requirements:
        requirement = index.requirements.get(name)
        text = requirement.text.replace("**", "") if requirement else "not in the specification"
        yield f"{name}: {text}"
    if "fault" in case.record:
        yield ""
        yield "# Fault"
        yield case.record["fault"]
    yield ""
    yield "# Steps"
    for number, step in enumerate(case.steps, 1):
        yield f"{number}. {json.dumps(step['request'], ensure_ascii=False)}"
        alternatives = [step["expect"]] if isinstance(step["expect"], dict) else step["expect"]
        for expect in alternatives:
            yield f"   expects {json.dumps(expect, ensure_ascii=False)}"
    for member in ("stores", "after", "transaction", "timeout", "memory"):
        if member in case.record:
            yield f"{member}: {json.dumps(case.record[member], ensure_ascii=False)}"
    sibling = cases.get(str(case.record.get("sibling")))
    if sibling is None:
        yield ""
        yield "# Files"
        yield from (f"{name}  {path.stat().st_size} bytes" for name, path in _files(case).items())
        return
    yield ""
    yield f"# Difference to {sibling.id}: {sibling.title}"
    yield from differences(case, sibling)


def differences(case: CaseFile, sibling: CaseFile) -> Iterator[str]:
    """What the files and the requests of a case have otherwise."""
    ours, theirs = _files(case), _files(sibling)
    same = True
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            same = False
            yield f"+ {name} is only here" if name in ours else f"- {name} is missing here"
            continue
        new, old = ours[name].read_bytes(), theirs[name].read_bytes()
        if new == old:
            continue
        same = False
        yield f"# {name}: {len(new)} bytes, in the sibling {len(old)}"
        yield from hex_difference(old, new)
        old_lines, new_lines = lines(name, old), lines(name, new)
        if old_lines is not None and new_lines is not None:
            yield "as values:"
            yield from _line_difference(old_lines, new_lines)
    requests = _line_difference(_request_lines(sibling), _request_lines(case))
    if requests:
        yield "# case.json"
        yield from requests
    elif same:
        yield "none in files, stores and requests"


def hex_difference(old: bytes, new: bytes) -> Iterator[str]:
    """Rows of hexadecimal from the first byte that differs to the last; at most a screenful."""
    first = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    if len(old) == len(new):
        numbers = sorted({at // _ROW for at in range(first, len(new)) if old[at] != new[at]})
    else:
        last = max(len(old), len(new)) - _common_end(old[first:], new[first:])
        numbers = list(range(first // _ROW, max(first, last - 1) // _ROW + 1))
    around = {near for at in numbers for near in range(at - _AROUND, at + _AROUND + 1)}
    shown = 0
    before = -1
    for number in sorted(around):
        rows = old[number * _ROW : (number + 1) * _ROW], new[number * _ROW : (number + 1) * _ROW]
        if number < 0 or not any(rows):
            continue
        if shown == _MOST_ROWS:
            yield f"  … {len(numbers)} rows differ in all"
            return
        shown += 1
        if before >= 0 and number != before + 1:
            yield "  …"
        before = number
        if rows[0] == rows[1]:
            yield f"  {_hex_row(number, rows[0])}"
        else:
            yield from (f"{sign} {_hex_row(number, row)}" for sign, row in zip("-+", rows, strict=True) if row)


def _common_end(a: bytes, b: bytes) -> int:
    """How many bytes the two have in common at their ends."""
    count = 0
    while count < min(len(a), len(b)) and a[-1 - count] == b[-1 - count]:
        count += 1
    return count


def _hex_row(number: int, row: bytes) -> str:
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
    return f"{number * _ROW:08x}  {row.hex(' '):<47}  {text}"


def _line_difference(old: Sequence[str], new: Sequence[str]) -> list[str]:
    body = list(unified_diff(old, new, n=0, lineterm=""))[2:]  # the first two name the files
    found = [line for line in body if not line.startswith("@@")]
    shown = [f"{line[0]} {line[1:]}" for line in found[:_MOST_LINES]]
    return [*shown, f"  … {len(found) - _MOST_LINES} lines more"] if len(found) > _MOST_LINES else shown


def _request_lines(case: CaseFile) -> list[str]:
    record = {"stores": case.record.get("stores"), "requests": [step["request"] for step in case.steps]}
    return json.dumps(record, ensure_ascii=False, indent=1).splitlines()


def _files(case: CaseFile) -> dict[str, Path]:
    """All files of a case but case.json, by their path in it."""
    found = {path.relative_to(case.directory).as_posix(): path for path in sorted(case.directory.rglob("*"))}
    return {name: path for name, path in found.items() if path.is_file() and name != "case.json"}
