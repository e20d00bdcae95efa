"""The digests of a manifest's blocks as the tensors have them, however they are stored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pyckpt.format.shard_table import ShardTable

__all__ = ["decoded_digests"]

DIGEST = np.dtype("V32")


def decoded_digests(table: ShardTable) -> npt.NDArray[np.void] | None:
    """One digest per block of the table, over the decoded bytes; None if those of encoded blocks are not known."""
    digests = np.frombuffer(table.block_digest, DIGEST)
    if table.codec is None or not table.codec.any():
        return digests
    if table.decoded_digest is None:
        return None
    coded = np.repeat(table.codec != 0, np.diff(table.block_start))
    digests = digests.copy()
    digests[coded] = np.frombuffer(table.decoded_digest, DIGEST)
    return digests
