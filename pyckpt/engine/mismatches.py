"""What differs between a source and the targets of all ranks, brought together before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgpack

from pyckpt.engine.leaves import BoundItem
from pyckpt.errors import Finding, StateMismatch

__all__ = ["Found", "join_findings", "pack_findings", "refuse_mismatches", "unpack_findings"]

Found = list[tuple[str, Finding]]
"""Items and findings."""


def pack_findings(bound: Mapping[str, BoundItem]) -> bytes:
    """This rank's findings, for rank 0."""
    def rows(findings: Sequence[Finding]) -> list[list[str]]:
        return [[finding.code, finding.key, finding.message] for finding in findings]

    data: bytes = msgpack.packb({item: [rows(each.findings), rows(each.unexpected)] for item, each in bound.items()})
    return data


def join_findings(contributions: Sequence[bytes]) -> bytes:
    """What differs on any rank, and what no rank that loads the item has a place for; each thing once."""
    differing: dict[tuple[str, ...], list[int]] = {}
    left: dict[str, dict[str, list[str]]] = {}
    for rank, data in enumerate(contributions):
        for item, (findings, unexpected) in msgpack.unpackb(data).items():
            for row in findings:
                differing.setdefault((item, *row), []).append(rank)
            own = {row[1]: row for row in unexpected}
            left[item] = {key: row for key, row in left.get(item, own).items() if key in own}
    surplus = [[item, *row] for item, rows in left.items() for row in rows.values()]
    rows = [[*row[:-1], row[-1] + _on(ranks, len(contributions))] for row, ranks in differing.items()]
    packed: bytes = msgpack.packb([rows, surplus])
    return packed


def _on(ranks: Sequence[int], size: int) -> str:
    if len(ranks) == size:
        return ""
    return f" (rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))})"


def unpack_findings(data: bytes) -> tuple[Found, Found]:
    """What ``join_findings`` gave: differences, and what nobody has a place for."""
    differing, surplus = ([(item, Finding(*row)) for item, *row in rows] for rows in msgpack.unpackb(data))
    return differing, surplus


def refuse_mismatches(name: str, found: Found) -> None:
    """Raises StateMismatch with all of ``found``, if there is any; ``name`` is what was to be loaded."""
    findings = [Finding(finding.code, f"{item}/{finding.key}", finding.message) for item, finding in found]
    if findings:
        raise StateMismatch(
            "state.mismatch",
            f"{len(findings)} things differ between checkpoint and target; nothing was loaded",
            key=name,
            hint="LoadOptions(strict=False) leaves missing and unexpected ones aside, map_key= renames, dtype= casts",
            findings=findings,
        )
