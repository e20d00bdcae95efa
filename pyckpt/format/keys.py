"""Keys: the grammar of every name in a store, and what each key of a checkpoint is for.

A *store key* begins with the checkpoint's name; a *checkpoint-relative key* does not, so a checkpoint can be moved.
Nothing here touches a store. A check returns nothing and raises ``InvalidKey`` (key.invalid).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final, Literal

from pyckpt.errors import InvalidKey
from pyckpt.limits import MAX_ASSET_NAME, MAX_ASSET_SEGMENT, MAX_ASSET_SEGMENTS, MAX_INT, MAX_SEGMENT

__all__ = [
    "ROOT_NAME",
    "TOMBSTONES",
    "KeyKind",
    "asset_above",
    "asset_key",
    "attempt_marker_key",
    "check_asset_name",
    "check_asset_names",
    "check_attempt",
    "check_checkpoint_name",
    "check_item_name",
    "check_key",
    "classify_key",
    "displaced_asset_key",
    "join",
    "manifest_key",
    "object_key",
    "parse_asset_key",
    "parse_manifest_key",
    "parse_object_key",
    "parse_tombstone_key",
    "root_key",
    "split_store_key",
    "tombstone_key",
]

ROOT_NAME: Final = "checkpoint.json"
"""Checkpoint-relative key of the root."""
TOMBSTONES: Final = ".tombstones"
"""First segment of the store keys of all tombstones; no checkpoint can have this name."""

KeyKind = Literal["root", "marker", "manifest", "object", "asset", "foreign"]

_CHECKPOINT = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_SEGMENT}}}")
_ITEM = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{MAX_SEGMENT - 1}}}")
_ATTEMPT = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MARKER = re.compile(r"\.attempt-[0-9a-f]{16}")
_MANIFEST = re.compile(r"manifest-([0-9a-f]{16})\.msgpack\.zst")
_OBJECT = re.compile(r"([0-9a-f]{16})-([0-9]{5}|[1-9][0-9]{5,18})\.safetensors")
_OBJECT_LIKE = re.compile(r"[0-9a-f]{16}-[0-9]+\.safetensors")
_DISPLACED = re.compile(r"[0-9a-f]{16}\.d")
_TEMPORARY = re.compile(r"\.(?:tmp|probe)-[0-9a-f]{16}")
_TOMBSTONE = re.compile(r"(.+)\.([0-9a-f]{16})\.json")
_ASSET_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
# checkpoint / item / <attempt>.d / asset
_MAX_KEY_SEGMENTS = 3 + MAX_ASSET_SEGMENTS
_MAX_KEY_BYTES = 3 * (MAX_SEGMENT + 1) + MAX_ASSET_NAME


def _refuse(what: str, name: object, expected: str) -> InvalidKey:
    return InvalidKey("key.invalid", f"expected {expected}, found {name!r:.300}", key=what)


def check_checkpoint_name(name: str) -> None:
    """Accepts 1 to 128 of ``A-Z a-z 0-9 . _ -``, but not ``.``, ``..`` or the directory of tombstones."""
    if not _CHECKPOINT.fullmatch(name) or name in (".", "..", TOMBSTONES):
        expected = f"1 to {MAX_SEGMENT} of A-Z a-z 0-9 . _ - other than '.', '..' and {TOMBSTONES!r}"
        raise _refuse("checkpoint name", name, expected)


def check_item_name(name: str) -> None:
    """Accepts 1 to 128 of ``A-Z a-z 0-9 . _ -`` that do not begin with a dot, but not the root's name."""
    if not _ITEM.fullmatch(name) or name == ROOT_NAME:
        expected = f"1 to {MAX_SEGMENT} of A-Z a-z 0-9 . _ - not beginning with a dot, other than {ROOT_NAME!r}"
        raise _refuse("item name", name, expected)


def check_attempt(attempt: str) -> None:
    """Accepts 16 lowercase hex digits."""
    if not _ATTEMPT.fullmatch(attempt):
        raise _refuse("attempt", attempt, "16 lowercase hex digits")


def check_asset_name(name: str) -> None:
    r"""Accepts the name of a file to keep with an item: segments between ``/`` that could not be an own object's key.

    1 to 8 segments of 1 to 255 bytes, 900 bytes in all; no control character, none of ``\ : * ? " < > |``.
    """
    problem = _path_problem(name, MAX_ASSET_SEGMENTS, MAX_ASSET_NAME)
    if problem:
        raise _refuse("asset name", name, problem)
    if _MANIFEST.fullmatch(name) or _OBJECT_LIKE.fullmatch(name) or _DISPLACED.fullmatch(name.split("/", 1)[0]):
        raise _refuse("asset name", name, "a name that is not of the form of a manifest, a data object or <attempt>.d/")
    if _TEMPORARY.fullmatch(name.rsplit("/", 1)[-1]):
        raise _refuse("asset name", name, "a last segment that is not of the form of a store's temporary objects")


def check_asset_names(names: Iterable[str]) -> None:
    """Accepts the names of all assets of an item: each by itself, and none that is a directory of another."""
    known = frozenset(names)
    for name in known:
        check_asset_name(name)
        above = asset_above(name, known)
        if above is not None:
            raise _refuse("asset name", name, f"no asset below the asset {above!r}")


def asset_above(name: str, known: Collection[str]) -> str | None:
    """The asset among ``known`` that would have to be a directory to hold this one; None for too long a name, too."""
    if len(name) > MAX_ASSET_NAME:
        return None
    return next((name[:end] for end in range(len(name)) if name[end] == "/" and name[:end] in known), None)


def check_key(key: str) -> None:
    """Accepts what can be a store key at all: no empty, ``.`` or ``..`` segment, no character that a store may refuse.

    This is the loosest rule, for a store to apply to any key before it becomes a path.
    """
    problem = _path_problem(key, _MAX_KEY_SEGMENTS, _MAX_KEY_BYTES)
    if problem:
        raise _refuse("key", key, problem)


def _path_problem(path: str, max_segments: int, max_bytes: int) -> str:
    """What was expected and not found, or an empty string."""
    if len(path) > max_bytes:
        return f"at most {max_bytes} bytes"
    try:
        total = len(path.encode())
    except UnicodeEncodeError:
        return "no lone surrogates"
    if total > max_bytes:
        return f"at most {max_bytes} bytes"
    if _ASSET_FORBIDDEN.search(path):
        return 'no control characters and none of \\ : * ? " < > |'
    segments = path.split("/")
    if len(segments) > max_segments:
        return f"at most {max_segments} segments"
    for segment in segments:
        if segment in ("", ".", ".."):
            return "no segment that is empty, '.' or '..'"
        if len(segment.encode()) > MAX_ASSET_SEGMENT:
            return f"segments of at most {MAX_ASSET_SEGMENT} bytes"
    return ""


def join(checkpoint: str, key: str) -> str:
    """Store key of a checkpoint-relative key."""
    return f"{checkpoint}/{key}"


def split_store_key(key: str) -> tuple[str, str]:
    """Checkpoint name and checkpoint-relative key of a store key; both have passed their checks."""
    check_key(key)
    checkpoint, slash, rest = key.partition("/")
    if not slash:
        raise _refuse("store key", key, "<checkpoint>/<key>")
    check_checkpoint_name(checkpoint)
    return checkpoint, rest


def root_key(checkpoint: str) -> str:
    """Store key of a checkpoint's root."""
    check_checkpoint_name(checkpoint)
    return join(checkpoint, ROOT_NAME)


def attempt_marker_key(attempt: str) -> str:
    """Checkpoint-relative key of the marker by which all writers prove that they see one store."""
    check_attempt(attempt)
    return f".attempt-{attempt}"


def tombstone_key(checkpoint: str, digest: str) -> str:
    """Store key of the copy that a deletion makes of the root with this digest (64 hex digits)."""
    check_checkpoint_name(checkpoint)
    if not _DIGEST.fullmatch(digest):
        raise _refuse("root digest", digest, "64 lowercase hex digits")
    return f"{TOMBSTONES}/{checkpoint}.{digest[:16]}.json"


def parse_tombstone_key(key: str) -> tuple[str, str]:
    """Checkpoint name and the first 16 hex digits of its root's digest."""
    directory, _, name = key.partition("/")
    match = _TOMBSTONE.fullmatch(name)
    if directory != TOMBSTONES or match is None:
        raise _refuse("tombstone", key, f"{TOMBSTONES}/<checkpoint>.<16 hex>.json")
    check_checkpoint_name(match[1])
    return match[1], match[2]


def manifest_key(item: str, attempt: str) -> str:
    """Checkpoint-relative key of an item's manifest."""
    check_item_name(item)
    check_attempt(attempt)
    return f"{item}/manifest-{attempt}.msgpack.zst"


def parse_manifest_key(key: str) -> tuple[str, str]:
    """Item and attempt of a checkpoint-relative manifest key."""
    item, _, name = key.partition("/")
    match = _MANIFEST.fullmatch(name)
    if match is None:
        raise _refuse("manifest key", key, "<item>/manifest-<16 hex>.msgpack.zst")
    check_item_name(item)
    return item, match[1]


def object_key(item: str, attempt: str, number: int) -> str:
    """Checkpoint-relative key of a data object; ``number`` is unique within item and attempt."""
    check_item_name(item)
    check_attempt(attempt)
    if not 0 <= number <= MAX_INT:
        raise _refuse("object number", number, "0 .. 2^63-1")
    return f"{item}/{attempt}-{number:05d}.safetensors"


def parse_object_key(key: str) -> tuple[str, str, int]:
    """Item, attempt and number of a checkpoint-relative data object key."""
    item, _, name = key.partition("/")
    match = _OBJECT.fullmatch(name)
    if match is None or int(match[2]) > MAX_INT:
        raise _refuse("object key", key, "<item>/<16 hex>-<number of 5 digits or more>.safetensors")
    check_item_name(item)
    return item, match[1], int(match[2])


def asset_key(item: str, name: str) -> str:
    """Checkpoint-relative key of an item's asset."""
    check_item_name(item)
    check_asset_name(name)
    return f"{item}/{name}"


def displaced_asset_key(item: str, attempt: str, name: str) -> str:
    """Where an asset goes if another attempt has left different bytes under ``asset_key``."""
    check_item_name(item)
    check_attempt(attempt)
    check_asset_name(name)
    return f"{item}/{attempt}.d/{name}"


def parse_asset_key(key: str) -> tuple[str, str]:
    """Item and asset name of a checkpoint-relative asset key, displaced or not."""
    item, _, name = key.partition("/")
    check_item_name(item)
    first, _, rest = name.partition("/")
    if _DISPLACED.fullmatch(first):
        name = rest
    check_asset_name(name)
    return item, name


def classify_key(key: str) -> KeyKind:
    """What a checkpoint-relative key is for by its form alone; ``foreign`` if the format would never write it."""
    if key == ROOT_NAME:
        return "root"
    if _MARKER.fullmatch(key):
        return "marker"
    kind: KeyKind
    for kind, parse in (("manifest", parse_manifest_key), ("object", parse_object_key), ("asset", parse_asset_key)):
        try:
            parse(key)
        except InvalidKey:
            continue
        return kind
    return "foreign"
