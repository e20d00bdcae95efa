"""The grammars of chapter 5: names and keys, taken from callers and from untrusted bytes.

Text is compared as it is: nothing is normalised, case-folded or trimmed (SCF-CONV-006).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .limits import MAX_ASSET_NAME, MAX_ASSET_SEGMENT, MAX_ASSET_SEGMENTS, MAXINT

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ITEM = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_ATTEMPT = re.compile(r"[0-9a-f]{16}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{5}|[1-9][0-9]{5,18}")
_MANIFEST = re.compile(r"manifest-([0-9a-f]{16})\.msgpack\.zst")
_DATA_OBJECT = re.compile(r"([0-9a-f]{16})-([0-9]+)\.safetensors")
_DISPLACED = re.compile(r"[0-9a-f]{16}\.d")
_TEMPORARY = re.compile(r"\.(?:tmp|probe)-[0-9a-f]{16}")
_NOT_IN_ASSETS = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')

ROOT = "checkpoint.json"
TOMBSTONES = ".tombstones"


@dataclass(frozen=True)
class Origin:
    """What a manifest's key or data object's key says: item and attempt."""

    item: str
    attempt: str


def is_segment(text: str) -> bool:
    """Whether text is a segment of a key other than an asset's."""
    return _SEGMENT.fullmatch(text) is not None and text not in {".", ".."}


def is_checkpoint(text: str) -> bool:
    """Whether text is a checkpoint name."""
    return is_segment(text) and text != TOMBSTONES


def is_item(text: str) -> bool:
    """Whether text is an item name."""
    return _ITEM.fullmatch(text) is not None and text != ROOT


def is_attempt(text: str) -> bool:
    """Whether text is an attempt."""
    return _ATTEMPT.fullmatch(text) is not None


def is_sha256(text: str) -> bool:
    """Whether text is a SHA-256 in 64 lower-case digits (SCF-CONV-005)."""
    return _HEX64.fullmatch(text) is not None


def is_temporary(segment: str) -> bool:
    """Whether a last segment is that of a store's temporary object."""
    return _TEMPORARY.fullmatch(segment) is not None


def is_asset(name: str) -> bool:
    """Whether text is an asset name by section 5.5, other asset names of the item aside."""
    segments = name.split("/")
    return (
        len(name.encode()) <= MAX_ASSET_NAME
        and len(segments) <= MAX_ASSET_SEGMENTS
        and all(_is_asset_segment(segment) for segment in segments)
        and _MANIFEST.fullmatch(name) is None
        and _DATA_OBJECT.fullmatch(name) is None
        and _DISPLACED.fullmatch(segments[0]) is None
        and not is_temporary(segments[-1])
    )


def _is_asset_segment(segment: str) -> bool:
    return (
        1 <= len(segment.encode()) <= MAX_ASSET_SEGMENT
        and _NOT_IN_ASSETS.search(segment) is None
        and segment not in {".", ".."}
    )


def clashing_asset(names: Iterable[str]) -> str | None:
    """An asset name that another one plus "/" is a prefix of, if there is one."""
    every = set(names)
    for name in every:
        segments = name.split("/")
        if any("/".join(segments[:end]) in every for end in range(1, len(segments))):
            return name
    return None


def manifest_key(key: str) -> Origin | None:
    """Item and attempt of a manifest key, None if key is none."""
    item, _, last = key.partition("/")
    match = _MANIFEST.fullmatch(last)
    return Origin(item, match.group(1)) if match and is_item(item) else None


def data_object_key(key: str) -> Origin | None:
    """Item and attempt of a data object key, None if key is none."""
    item, _, last = key.partition("/")
    match = _DATA_OBJECT.fullmatch(last)
    if match is None or not is_item(item):
        return None
    number = match.group(2)
    if _NUMBER.fullmatch(number) is None or int(number) > MAXINT:
        return None
    return Origin(item, match.group(1))


def asset_key_item(key: str, name: str) -> str | None:
    """The item of a key of the asset `name`, plain or displaced, None if key is none."""
    item, _, rest = key.partition("/")
    if not is_item(item):
        return None
    if rest == name:
        return item
    displaced, _, after = rest.partition("/")
    return item if after == name and _DISPLACED.fullmatch(displaced) else None


def split_store_key(store_key: str) -> tuple[str, str] | None:
    """Checkpoint name and key of a `store_key`, None if it has no checkpoint name in front."""
    checkpoint, _, key = store_key.partition("/")
    return (checkpoint, key) if is_checkpoint(checkpoint) else None
