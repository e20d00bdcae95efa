"""Features, and the names that are reserved for encryption and signatures (section 6.7, chapters 14 and 17)."""

from __future__ import annotations

from collections.abc import Iterator

from ...oracle.encode import Draft, Record
from ..case import Case
from ..drafts import bare, basic
from ..forms import accepted, refused

__all__ = ["cases"]

ENCRYPTION = "encryption-aes256gcm"


def _features(read: list[str], write: list[str], draft: Draft | None = None) -> Draft:
    return (draft or bare()).with_(features={"read": read, "write": write})


def _reserved(members: Record) -> None:
    members["encryption"] = {"keys": [{"id": "k", "wrapped": "00"}]}
    members["signatures"] = ["checkpoint.json.sig"]
    members["items"]["model"]["encryption"] = {"key": "k"}


def _reserved_row(record: Record) -> None:
    record["objects"][0]["encryption"] = {"salt": b"\x00"}
    record["encryption"] = "none"


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield accepted(
        "root-feature-write-unknown",
        "A feature that concerns only those who write",
        ["SCF-ROOT-023", "SCF-ROOT-022"],
        _features([], ["signatures", "x-acme-locks"], basic()),
        read=True,
    )
    yield accepted(
        "root-reserved-members",
        "Members that are reserved for encryption and signatures, in a root that lists neither feature",
        ["SCF-ENC-003", "SCF-CONV-007"],
        basic().with_(members=_reserved).with_item("model", record=_reserved_row),
        read=True,
        more={"c/checkpoint.json.sig": b"signature", "c/checkpoint.json.sig-acme": b"signature"},
    )
    yield from _unknown()
    yield from _forms()


def _unknown() -> Iterator[Case]:
    rows: list[tuple[str, list[str], list[str], list[str]]] = [
        ("encryption", [ENCRYPTION], [ENCRYPTION], ["SCF-ENC-001", "SCF-ROOT-023"]),
        ("signatures", ["signatures"], ["signatures"], ["SCF-ENC-001", "SCF-ROOT-023"]),
        ("manifest-parts", ["manifest-parts"], ["manifest-parts"], ["SCF-ROOT-023"]),
        ("nobody-knows", ["x-acme-layout"], ["x-acme-layout"], ["SCF-ROOT-023"]),
        ("empty-name", [""], [""], ["SCF-ROOT-023"]),
        ("two", [ENCRYPTION, "x-acme-layout"], [ENCRYPTION, "x-acme-layout"], ["SCF-ROOT-023"]),
        ("read-alone", ["x-acme-layout"], [], ["SCF-ROOT-023"]),
    ]
    for name, read, write, requirements in rows:
        fault = f"The array features.read has {' and '.join(map(repr, read))}, which no reader of 1.0 implements."
        yield refused(
            f"root-feature-{name}",
            f"A feature that no reader implements: {', '.join(read) or 'empty'}",
            fault,
            "feature.unsupported",
            requirements,
            "root-plain",
            _features(read, write, basic()),
            phases=["open"],
        )


def _forms() -> Iterator[Case]:
    for name, write, fault in (
        ("unsorted", ["signatures", ENCRYPTION], "The array features.write is not sorted."),
        ("repeated", ["signatures", "signatures"], "The array features.write has a name twice."),
        ("case", ["a", "B"], "The array features.write is sorted without regard to case."),
    ):
        yield refused(
            f"root-feature-{name}",
            f"Features: {fault[0].lower()}{fault[1:-1]}",
            fault,
            "root.schema",
            ["SCF-ROOT-022"],
            "root-feature-write-unknown",
            _features([], write, basic()),
            phases=["open"],
        )
