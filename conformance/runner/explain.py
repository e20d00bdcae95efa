"""A case in words, and what it has otherwise than its valid sibling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any, Final

from .hexdiff import hex_difference
from .readable import lines
from .suite import CaseFile, Index

__all__ = ["differences", "explain"]

Json = dict[str, Any]

_MOST_LINES: Final = 80
_DIGEST: Final = slice(19, 83)
"""Where a root has its digest (section 6.1)."""


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
    yield "(matchers such as $set and $file: CASES.md; messages: PROTOCOL.md)"
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
        if name.endswith("/checkpoint.json"):
            if new[:_DIGEST.start] == old[:_DIGEST.start] and _states_its_digest(new) and _states_its_digest(old):
                yield "(the root digest of each is right, and left out here)"
                new, old = _without_digest(new), _without_digest(old)
            else:
                yield "(the root digest here is not that of the bytes)"
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


def _without_digest(root: bytes) -> bytes:
    return root[: _DIGEST.start] + b"0" * 64 + root[_DIGEST.stop :]


def _states_its_digest(root: bytes) -> bool:
    return hashlib.sha256(_without_digest(root)).hexdigest().encode() == root[_DIGEST]


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
