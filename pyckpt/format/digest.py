"""The registry of digest algorithms; every digest of the format has 32 bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from blake3 import blake3

from pyckpt.errors import Unsupported

__all__ = ["DIGESTS", "DIGEST_BYTES", "Bytes", "digest", "digest_function", "sha256_hex"]

Bytes = bytes | bytearray | memoryview
"""Contiguous memory that can be hashed without a copy."""

DIGEST_BYTES: Final = 32


def _sha256(view: Bytes) -> bytes:
    return hashlib.sha256(view, usedforsecurity=False).digest()


def _blake3(view: Bytes) -> bytes:
    return blake3(view).digest()


_FUNCTIONS: Final[Mapping[str, Callable[[Bytes], bytes]]] = MappingProxyType({"blake3": _blake3, "sha256": _sha256})

DIGESTS: Final = frozenset(_FUNCTIONS)
"""Names of the algorithms for data objects. Roots and manifests always use sha256."""


def digest_function(name: str) -> Callable[[Bytes], bytes]:
    """The function from bytes to their digest, looked up once and called per block.

    Raises ``Unsupported`` (digest.unsupported) for a name outside the registry.
    """
    function = _FUNCTIONS.get(name)
    if function is None:
        raise Unsupported(
            "digest.unsupported",
            f"expected one of {sorted(DIGESTS)}, found {name!r:.200}",
            hint="a newer pyckpt may know it",
        )
    return function


def digest(name: str, view: Bytes) -> bytes:
    """The 32 bytes of the digest of ``view``; see ``digest_function``."""
    return digest_function(name)(view)


def sha256_hex(view: Bytes) -> str:
    """SHA-256 as 64 lowercase hex digits, as descriptors carry it."""
    return hashlib.sha256(view, usedforsecurity=False).hexdigest()
