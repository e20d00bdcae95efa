"""Digest algorithms of data objects (section 12.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from blake3 import blake3

Hash = Callable[[bytes], bytes]


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _blake3(data: bytes) -> bytes:
    return blake3(data).digest()


DIGESTS: dict[str, Hash] = {"blake3": _blake3, "sha256": _sha256}
"""Both that the registry lists (SCF-DIG-001)."""
