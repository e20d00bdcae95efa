"""Bugs of readers of data objects: digests, blocks, codecs, elements."""

from __future__ import annotations

from ..oracle import assets, codecs, reading, shards
from .claims import claimed
from .mutant import mutant
from .patching import Patches


@mutant("read", hints=["tiling-claimed"])
def allocates_tensors_before_checks(oracle: Patches) -> None:
    """Allocates a tensor by its shape before it has checked its shards and objects."""
    oracle.edit(
        reading.read_region,
        "    _check_tensor(opened, row)",
        "    claimed(region.elements * row.bits // 8)\n    _check_tensor(opened, row)",
        claimed=claimed,
    )


@mutant("read", hints=["integrity-flipped-first-byte-sha256"])
def skips_block_digests(oracle: Patches) -> None:
    """Does not check the digests of blocks."""
    oracle.edit(reading.fetch_block, "if verify and DIGESTS", "if False and DIGESTS")


@mutant("read", hints=["integrity-flipped-last-block-sha256"])
def checks_first_block_alone(oracle: Patches) -> None:
    """Checks the digest of the first block of a shard alone."""
    oracle.edit(reading.fetch_block, "if verify and DIGESTS", "if verify and not block.number and DIGESTS")


@mutant("read", hints=["integrity-digest-last-byte"])
def compares_half_of_digests(oracle: Patches) -> None:
    """Compares the first 16 bytes of digests."""
    oracle.edit(
        reading.fetch_block,
        "DIGESTS[row.digest](stored) != block.digest",
        "DIGESTS[row.digest](stored)[:16] != block.digest[:16]",
    )


@mutant("read", hints=["codecs-damaged-magic"])
def decodes_before_digest(oracle: Patches) -> None:
    """Does not check the digest of an encoded block before decoding."""
    oracle.edit(
        reading._copy,
        "fetch_block(opened.store, row, block, name, verify=verify)",
        "fetch_block(opened.store, row, block, name, verify=verify and not shard.codec)",
    )


@mutant("read", hints=["manifest-digest-unknown-w"])
def reads_without_unknown_digest(oracle: Patches) -> None:
    """Reads without a check what has a digest algorithm that it does not know."""
    oracle.edit(reading.read_region, "if verify and row_of_object.digest not in DIGESTS:", "if False:")
    oracle.edit(reading.fetch_block, "if verify and DIGESTS", "if verify and row.digest in DIGESTS and DIGESTS")


@mutant("read", hints=["integrity-block-encoded", "integrity-block-*", "tiling-*"])
def checks_whole_tensors_alone(oracle: Patches) -> None:
    """Checks the digests of tensors of one shard alone."""
    oracle.edit(
        reading._copy,
        "name, verify=verify)",
        "name, verify=verify and len(manifest.shards.of(shard.tensor or 0)) == 1)",
    )


@mutant("read", hints=["integrity-object-longer"])
def skips_object_size(oracle: Patches) -> None:
    """Does not compare the size of a data object with the manifest."""
    oracle.edit(reading.check_object, "if size != row.size:", "if False:")


@mutant("read", hints=["references-object-gone"])
def calls_all_missing_objects_own(oracle: Patches) -> None:
    """Reports a missing object of another checkpoint as one of its own."""
    oracle.edit(reading.missing_object, '"object.missing" if row.own else "external.missing"', '"object.missing"')


@mutant("read", hints=["assets-flipped"])
def skips_asset_digest(oracle: Patches) -> None:
    """Does not check the SHA-256 of an asset."""
    oracle.edit(assets.read_asset, "if hashlib.sha256(data).hexdigest() != descriptor.sha256:", "if False:")


@mutant("read", hints=["assets-longer"])
def skips_asset_size(oracle: Patches) -> None:
    """Does not check the size of an asset."""
    oracle.edit(assets.read_asset, "store.get(key, descriptor.size)", "store.get(key)")
    oracle.edit(assets.read_asset, "if len(data) != descriptor.size:", "if False:")


@mutant("read", hints=["geometry-blocks"])
def aligns_blocks_to_object(oracle: Patches) -> None:
    """Takes block boundaries to be aligned to the object, not to the shard."""
    oracle.edit(
        shards.Shards.blocks,
        "length = min(size, shard.decoded_size - number * size)",
        "length = min(size - (at % size if number == 0 else 0), shard.decoded_size - number * size)",
    )


@mutant("read", hints=["geometry-blocks"])
def reads_whole_last_block(oracle: Patches) -> None:
    """Reads as many bytes for the last, shorter block of a shard as for the others."""
    oracle.edit(
        shards.Shards.blocks,
        "length = min(size, shard.decoded_size - number * size)",
        "length = size if shard.blocks > 1 and not shard.codec else min(size, shard.decoded_size - number * size)",
    )


@mutant("read", hints=["codecs-zstd-some-shards"])
def numbers_encoded_blocks_with_all(oracle: Patches) -> None:
    """Takes the row of block_stored_size by the number of all blocks, those of plain shards included."""
    oracle.edit(
        shards.Shards.blocks,
        "place = shard.first_encoded + number",
        "place = min(shard.first_block + number, len(self.stored_sizes) - 1)",
    )


@mutant("read", hints=["codecs-planes-tail-1-of-2"])
def forgets_tail_of_planes(oracle: Patches) -> None:
    """Forgets the bytes after the last whole item of a planes block."""
    oracle.edit(codecs._planes, "        decoded[rows * item :] = stored[at:]\n", "")


@mutant("read", hints=["codecs-planes-refused-tail-long"])
def accepts_bytes_after_planes(oracle: Patches) -> None:
    """Does not add up the lengths of the planes of a block."""
    oracle.edit(
        codecs._planes,
        "if _HEADER * item + sum(lengths) + size - rows * item != len(stored):",
        "if False:",
    )
    oracle.edit(codecs._planes, "stored[at:]", "stored[at : at + size - rows * item]")


@mutant("read", hints=["codecs-planes-refused-mode-2"])
def takes_unknown_planes_for_raw(oracle: Patches) -> None:
    """Takes a plane of an unknown mode for a raw one."""
    oracle.edit(codecs._plane, "if mode == 0 and", "if mode != 1 and")


@mutant("read", hints=["codecs-chain-item-3-wanted"])
def accepts_any_item_of_planes(oracle: Patches) -> None:
    """Accepts a planes codec of any item size."""
    oracle.edit(codecs.decoder, "item in {2, 4, 8}", "item > 0")


@mutant("read", hints=["codecs-planes-other-item"])
def takes_item_of_planes_from_dtype(oracle: Patches) -> None:
    """Takes the item size of a planes codec from the dtype, not from the chain."""
    oracle.edit(
        reading.decoder_of,
        "chain = manifest.chains[shard.codec]",
        "chain = manifest.chains[shard.codec]\n"
        "    if chain and chain[0]['id'] == 'planes' and shard.tensor is not None:\n"
        "        chain = ({**chain[0], 'item': manifest.tensors[shard.tensor].bits // 8},)",
    )


@mutant("read", hints=["codecs-chain-zstd-twice-wanted"])
def decodes_last_of_chain_alone(oracle: Patches) -> None:
    """Undoes one codec of a chain of two."""
    oracle.edit(codecs.decoder, "if len(chain) > 1:", "if False:")
    oracle.edit(codecs.decoder, "(codec,) = chain", "codec = chain[-1]")


@mutant("read", hints=["codecs-chain-unknown-wanted"])
def takes_unknown_codecs_for_none(oracle: Patches) -> None:
    """Gives the stored bytes of a codec that it does not know."""
    oracle.edit(
        reading.decoder_of,
        "    if found is None:",
        "    found = found or (lambda stored, size: stored[:size].ljust(size))\n    if found is None:",
    )


@mutant("read", hints=["dtypes-c32"])
def swaps_lanes(oracle: Patches) -> None:
    """Gives the imaginary parts of complex tensors first."""
    oracle.edit(
        reading.read_region, "return bytes(result)", "return lanes(bytes(result), row.dtype.name)", lanes=_lanes
    )


@mutant("read", hints=["dtypes-f4"])
def packs_high_half_first(oracle: Patches) -> None:
    """Takes the first of two elements of four bits from the upper half of their byte."""
    oracle.edit(reading.read_region, "return bytes(result)", "return halves(bytes(result), row.bits)", halves=_halves)


@mutant("read", hints=["dtypes-f32"])
def gives_elements_big_endian(oracle: Patches) -> None:
    """Gives elements in big-endian byte order."""
    oracle.edit(reading.read_region, "return bytes(result)", "return big(bytes(result), row.bits // 8)", big=_big)


@mutant("read", hints=["dtypes-f32"])
def quiets_nans_of_tensors(oracle: Patches) -> None:
    """Makes signalling NaNs of F32 quiet, as a conversion through doubles does."""
    oracle.edit(
        reading.read_region, "return bytes(result)", "return quiet(bytes(result), row.dtype.name)", quiet=_quiet
    )


@mutant("read", hints=["dtypes-bool"])
def makes_truth_of_booleans(oracle: Patches) -> None:
    """Gives BOOL elements other than 0 as 1."""
    oracle.edit(
        reading.read_region,
        "return bytes(result)",
        "return bytes(map(bool, result)) if row.dtype.name == 'BOOL' else bytes(result)",
    )


@mutant("read", hints=["dtypes-unknown-whole-wanted"])
def reads_unknown_dtypes_by_bits(oracle: Patches) -> None:
    """Reads a tensor of an unknown dtype by its stated bits."""
    oracle.edit(reading._check_tensor, "if row.dtype.known is None:", "if False:")


def _lanes(data: bytes, dtype: str) -> bytes:
    width = {"C32": 2, "C64": 4, "C128": 8}.get(dtype)
    if width is None:
        return data
    pairs = (data[at : at + 2 * width] for at in range(0, len(data), 2 * width))
    return b"".join(pair[width:] + pair[:width] for pair in pairs)


def _halves(data: bytes, bits: int) -> bytes:
    return bytes(byte >> 4 | (byte & 15) << 4 for byte in data) if bits == 4 else data


def _big(data: bytes, width: int) -> bytes:
    return b"".join(data[at : at + width][::-1] for at in range(0, len(data), width)) if width > 1 else data


def _quiet(data: bytes, dtype: str) -> bytes:
    if dtype != "F32":
        return data
    words = (int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4))
    return b"".join((word | 0x400000 * (word & 0x7FFFFFFF > 0x7F800000)).to_bytes(4, "little") for word in words)
