"""Bounds that are checked before memory is taken; every one of them is stated in the specification, chapter 18."""

from __future__ import annotations

from typing import Final

MAX_INT: Final = 2**63 - 1
"""Largest size, offset or count in any record."""
MAX_JSON_INT: Final = 2**53 - 1
"""Largest integer that JSON carries as a plain number."""
MAX_ROOT_BYTES: Final = 64 << 20
MAX_ROOT_DEPTH: Final = 64
MAX_JSON_DIGITS: Final = 4300
"""Digits of an integer token of JSON."""
MAX_ITEMS: Final = 4096
MAX_MANIFEST_RAW_BYTES: Final = 2 << 30
MAX_MANIFEST_BYTES: Final = (2 << 30) + (16 << 20)
"""A manifest as stored: what the largest raw one takes where nothing of it compresses."""
MAX_VALUES: Final = 1 << 25
"""Values (map keys included) that one MessagePack record may declare: a container's count costs a byte per value on the
wire and many in memory, so this, not the size, bounds what a compressed record can unfold to."""
MAX_MANIFEST_DEPTH: Final = 128
MAX_TREE_DEPTH: Final = 64
MAX_DIMS: Final = 64
MAX_TENSORS: Final = 2**32 - 2
MAX_SHARDS: Final = 1 << 40
MAX_DTYPES: Final = 1 << 16
MAX_DTYPE_BITS: Final = 1 << 16
MAX_BOX_NUMBERS: Final = 1 << 26
"""Coordinates that partial runs of one tensor are spread into (512 MiB of them); a hostile table could ask for far
more."""
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
