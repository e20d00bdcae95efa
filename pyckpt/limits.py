"""Bounds that are checked before memory is taken; every one of them is stated in the specification, chapter 18."""

from __future__ import annotations

from typing import Final

MAX_INT: Final = 2**63 - 1
"""Largest size, offset or count in any record."""
MAX_JSON_INT: Final = 2**53 - 1
"""Largest integer that JSON carries as a plain number."""
MAX_ROOT_BYTES: Final = 64 << 20
MAX_ROOT_DEPTH: Final = 64
MAX_ITEMS: Final = 4096
MAX_MANIFEST_RAW_BYTES: Final = 2 << 30
MAX_MANIFEST_DEPTH: Final = 128
MAX_TREE_DEPTH: Final = 64
MAX_DIMS: Final = 64
MAX_TENSORS: Final = 2**32 - 2
MAX_CODECS: Final = 65535
MAX_CHAIN: Final = 4
MAX_HEADER_BYTES: Final = 100_000_000
"""Largest safetensors header, the limit of the reference library."""
MAX_OBJECT_HEADER_TARGET: Final = 32 << 20
"""Where this library starts a new data object rather than let the header grow."""
DATA_ALIGNMENT: Final = 4096
MIN_BLOCK_BYTES: Final = 4096
MAX_BLOCK_BYTES: Final = 1 << 30
DEFAULT_BLOCK_BYTES: Final = 1 << 20
MAX_ZSTD_WINDOW: Final = 128 << 20
MAX_BIGINT_BYTES: Final = 4096
MAX_SEGMENT: Final = 128
MAX_ASSET_SEGMENT: Final = 255
MAX_ASSET_SEGMENTS: Final = 8
MAX_ASSET_NAME: Final = 900
MAX_NAME_BYTES: Final = 65535
