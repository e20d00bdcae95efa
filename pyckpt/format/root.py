"""The root of a checkpoint: ``checkpoint.json``, the one object that makes the checkpoint exist.

Its bytes begin with ``{"scf":1,"digest":"``, 64 hex digits and ``",``. The digest is the SHA-256 of the whole object
with those digits taken as ``0``, so any changed byte is found, and it is the checkpoint's identity.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final

from pyckpt.errors import Corrupt, LimitExceeded, PyckptError, Unsupported, UsageError
from pyckpt.format.json_strict import parse_json
from pyckpt.format.keys import ROOT_NAME, join
from pyckpt.format.metadata import encode_metadata
from pyckpt.format.root_parse import parse_root
from pyckpt.format.root_values import KINDS, Descriptor, External, ItemEntry, Root
from pyckpt.format.version import MAJOR
from pyckpt.limits import MAX_ROOT_BYTES, MAX_ROOT_DEPTH

__all__ = [
    "IMPLEMENTED_FEATURES_READ",
    "IMPLEMENTED_FEATURES_WRITE",
    "KINDS",
    "Descriptor",
    "External",
    "ItemEntry",
    "Root",
    "decode_root",
    "encode_root",
    "root_digest",
]

IMPLEMENTED_FEATURES_READ: Final[frozenset[str]] = frozenset()
IMPLEMENTED_FEATURES_WRITE: Final[frozenset[str]] = frozenset()

_MAGIC = f'{{"scf":{MAJOR},"digest":"'.encode()
_DIGEST = slice(len(_MAGIC), len(_MAGIC) + 64)
_ZEROS = b"0" * 64
_BEGINNING = re.compile(re.escape(_MAGIC) + rb'[0-9a-f]{64}",')
_ANY_MAJOR = re.compile(rb'\{"scf":([0-9]+),')


def encode_root(root: Root) -> bytes:
    """The bytes of a root: the magic and the digest on one line, the rest indented for people to read.

    The same for the same root; ``root.digest`` is ignored, the new digest is in the bytes. Raises
    ``UnsupportedState`` for metadata that can't be said, ``UsageError`` for a root that no reader would accept, and
    ``LimitExceeded`` for one that is too large.
    """
    try:
        text = json.dumps(_members(root), indent=1, ensure_ascii=False, allow_nan=False)
        data = _MAGIC + _ZEROS + b'",' + text[1:].encode() + b"\n"
        parse_root(_parse(data, ROOT_NAME), digest="", document=ROOT_NAME, checkpoint=None)
    except Corrupt as error:
        raise UsageError("usage.invalid", f"not a valid root: {error.message}", findings=error.findings) from None
    except PyckptError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError("usage.invalid", f"not a valid root: {error}") from None
    return data[: _DIGEST.start] + root_digest(data).encode() + data[_DIGEST.stop :]


def decode_root(
    data: bytes, *, for_writing: bool = False, checkpoint: str | None = None, expect: str | None = None
) -> Root:
    """The root in these bytes, after every check that needs no other object.

    In this order: size (limit.exceeded), beginning (version.unsupported for another major, else root.syntax), digest
    (root.digest), the same with ``expect`` if there is one (root.digest), JSON (root.syntax), features
    (feature.unsupported; those for writers if ``for_writing``), members (root.schema, all problems at once).
    ``checkpoint`` is the name it was read under, if there is one.
    """
    document = join(checkpoint, ROOT_NAME) if checkpoint else ROOT_NAME
    digest = root_digest(data, document=document)
    stated = data[_DIGEST].decode()
    if stated != digest:
        raise Corrupt(
            "root.digest",
            f"expected the digest {digest} of the bytes, found {stated}",
            key=document,
            hint="the root is damaged or was edited; restore it from a copy",
        )
    if expect is not None and digest != expect:
        raise Corrupt(
            "root.digest",
            f"expected the checkpoint {expect}, found {digest}",
            key=document,
            hint="this is another checkpoint under the expected name",
        )
    value = _parse(data, document)
    _check_features(value, document, for_writing=for_writing)
    return parse_root(value, digest=digest, document=document, checkpoint=checkpoint)


def root_digest(data: bytes, *, document: str = ROOT_NAME) -> str:
    """The digest that these bytes should state, 64 lowercase hex digits, after checks of size and beginning."""
    if len(data) > MAX_ROOT_BYTES:
        message = f"expected at most {MAX_ROOT_BYTES} bytes, found {len(data)}"
        raise LimitExceeded("limit.exceeded", message, key=document)
    if not _BEGINNING.match(data):
        _refuse_beginning(data, document)
    digest = hashlib.sha256(data[: _DIGEST.start], usedforsecurity=False)
    digest.update(_ZEROS)
    digest.update(memoryview(data)[_DIGEST.stop :])
    return digest.hexdigest()


def _refuse_beginning(data: bytes, document: str) -> None:
    major = _ANY_MAJOR.match(data)
    if major is not None and major[1] != str(MAJOR).encode():
        raise Unsupported(
            "version.unsupported",
            f"expected the major version {MAJOR}, found {major[1][:20].decode()}",
            key=document,
            hint="upgrade pyckpt",
        )
    expected = f'{_MAGIC.decode()}<64 hex digits>",'
    raise Corrupt("root.syntax", f"expected the beginning {expected}, found {data[:32]!r}", key=document)


def _parse(data: bytes, document: str) -> object:
    return parse_json(data, max_bytes=MAX_ROOT_BYTES, max_depth=MAX_ROOT_DEPTH, code="root.syntax", key=document)


def _check_features(value: object, document: str, *, for_writing: bool) -> None:
    """Before the schema: a root that uses an unknown feature may well break this version's rules."""
    features = value.get("features") if isinstance(value, dict) else None
    if not isinstance(features, dict):
        return
    wanted = [("read", IMPLEMENTED_FEATURES_READ)]
    if for_writing:
        wanted.append(("write", IMPLEMENTED_FEATURES_WRITE))
    for purpose, implemented in wanted:
        names = features.get(purpose)
        if not isinstance(names, list):
            continue
        unknown = [name for name in names if isinstance(name, str) and name not in implemented]
        if unknown:
            listed = ", ".join(f"{name[:100]!a}" for name in unknown[:10])
            raise Unsupported(
                "feature.unsupported",
                f"this pyckpt does not implement {listed}, needed to {purpose} this checkpoint",
                key=document,
                hint="upgrade pyckpt",
            )


def _members(root: Root) -> dict[str, object]:
    """All members after the magic, in the order in which they are written."""
    return _with_extra(
        {
            "spec": root.spec,
            "attempt": root.attempt,
            "created": root.created,
            "writer": _with_extra({"name": root.writer_name, "version": root.writer_version}, root.writer_extra),
            "features": _with_extra(
                {"read": list(root.features_read), "write": list(root.features_write)}, root.features_extra
            ),
            "sequence": root.sequence,
            "parent": root.parent,
            "metadata": encode_metadata(root.metadata),
            "items": {name: _item(entry) for name, entry in root.items.items()},
            "external": [
                _with_extra({"checkpoint": entry.checkpoint, "digest": entry.digest}, entry.extra)
                for entry in root.external
            ],
        },
        root.extra,
    )


def _item(entry: ItemEntry) -> dict[str, object]:
    counts = {"tensors": entry.tensors, "shards": entry.shards, "objects": entry.objects, "bytes": entry.bytes}
    return _with_extra(
        {
            "kind": entry.kind,
            "manifest": _descriptor(entry.manifest),
            "raw_size": entry.raw_size,
            "counts": _with_extra(counts, entry.counts_extra),
            "assets": {name: _descriptor(asset) for name, asset in entry.assets.items()},
        },
        entry.extra,
    )


def _descriptor(descriptor: Descriptor) -> dict[str, object]:
    keys = {"key": descriptor.key, "store_key": descriptor.store_key}
    members: dict[str, object] = {name: key for name, key in keys.items() if key is not None}
    return _with_extra({**members, "size": descriptor.size, "sha256": descriptor.sha256}, descriptor.extra)


def _with_extra(members: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    both = members.keys() & extra.keys()
    if both:
        raise UsageError("usage.invalid", f"extra members with names that the format defines: {sorted(both)}")
    return {**members, **extra}
