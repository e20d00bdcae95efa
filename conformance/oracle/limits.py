"""The numbers of chapter 18: maxima of the format, and limits of the reader."""

from __future__ import annotations

from dataclasses import dataclass

MAXINT = 2**63 - 1
MAXJSON = 2**53 - 1
MAX_ROOT_BYTES = 67_108_864
MAX_JSON_DEPTH = 64
MAX_JSON_DIGITS = 4300
MAX_ITEMS = 4096
MAX_MANIFEST_DEPTH = 128
MAX_TREE_DEPTH = 64
MAX_DIMS = 64
MAX_TENSORS = 2**32 - 2
MAX_SHARDS = 2**40
MAX_DTYPES = 65_536
MAX_DTYPE_BITS = 65_536
MAX_CODECS = 65_535
MAX_CHAIN = 4
MIN_HEADER_BYTES = 2
MAX_HEADER_BYTES = 100_000_000
DATA_ALIGNMENT = 4096
MIN_BLOCK_BYTES = 4096
MAX_BLOCK_BYTES = 2**30
MAX_ZSTD_WINDOW = 2**27
MIN_BIGINT_BYTES = 9
MAX_BIGINT_BYTES = 4096
MAX_ASSET_SEGMENT = 255
MAX_ASSET_SEGMENTS = 8
MAX_ASSET_NAME = 900


@dataclass(frozen=True)
class Limits:
    """What a reader allows by default (SCF-LIMIT-001); a caller may lower or raise each."""

    max_manifest_raw_bytes: int = 2_147_483_648
    max_manifest_bytes: int = 2_164_260_864
    max_values: int = 33_554_432
    max_box_numbers: int = 67_108_864


DEFAULT = Limits()
