"""Roots that were made to harm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..case import Case
from ..drafts import bare, unknown
from ..forms import accepted, refused

__all__ = ["cases"]

MIB: Final = 1024 * 1024
DEEP: Final = 100_000
LONG: Final = 100_000
REQUIREMENTS: Final = ["SCF-SEC-007", "SCF-SEC-006", "SCF-ROOT-007"]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield accepted(
        "hostile-root-long-float",
        "A float of 100,000 digits is read in time",
        ["SCF-SEC-007", "SCF-LIMIT-001"],
        unknown(bare(), f"[0.{'1' * LONG},1{'0' * 300}.{'0' * LONG}]"),
        memory=64 * MIB,
    )
    yield accepted(
        "hostile-root-many-names",
        "An object of 10,000 names that differ little",
        ["SCF-SEC-007", "SCF-LIMIT-001"],
        unknown(bare(), "{" + ",".join(f'"{number}":0' for number in range(10_000)) + "}"),
        memory=64 * MIB,
    )
    rows: tuple[tuple[str, str, str], ...] = (
        ("arrays", "100,000 arrays nest in each other.", "[" * DEEP + "]" * DEEP),
        ("objects", "50,000 objects nest in each other.", '{"a":' * (DEEP // 2) + "1" + "}" * (DEEP // 2)),
        ("arrays-open", "100,000 arrays are opened and none is closed.", "[" * DEEP),
        (
            "mixed",
            "50,000 arrays and 50,000 objects nest in each other.",
            '[{"":' * (DEEP // 2) + "0" + "}]" * (DEEP // 2),
        ),
        ("integer", "An integer has 100,000 digits.", "9" * LONG),
        ("integer-minus", "A negative integer has 100,000 digits.", "-" + "1" * LONG),
        ("exponent", "A float has an exponent of 100,000 digits.", "1e" + "9" * LONG),
        (
            "names",
            "Of 10,000 names the last is that of the first.",
            "{" + ",".join(f'"{at % 9999}":0' for at in range(10_000)) + "}",
        ),
        ("escapes", "A string has 20,000 lone surrogates.", '"' + "\\ud800" * 20_000 + '"'),
        ("string-open", "A string of 100,000 characters does not end.", '"' + "a" * LONG),
    )
    for name, fault, text in rows:
        yield refused(
            f"hostile-root-{name}",
            f"Hostile root: {fault[0].lower()}{fault[1:-1]}",
            fault,
            "root.syntax",
            REQUIREMENTS,
            "hostile-root-many-names" if name == "names" else "hostile-root-long-float",
            unknown(bare(), text),
            phases=["open"],
            memory=64 * MIB,
        )
    deep = bare(text=lambda rest: rest.replace(b'"metadata":{', b'"metadata":{"a":' + b"[" * DEEP + b"]" * DEEP + b","))
    yield refused(
        "hostile-root-metadata",
        "Hostile root: 100,000 arrays nest in the metadata",
        "100,000 arrays nest in the metadata.",
        "root.syntax",
        REQUIREMENTS,
        "hostile-root-long-float",
        deep,
        phases=["open"],
        memory=64 * MIB,
    )
