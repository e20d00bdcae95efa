"""Bugs of readers of manifests: frame and tables."""

from __future__ import annotations

import zstandard

from ..oracle import codecs, frame, manifest, names, objects, root, shards, tables, tensors
from .claims import claimed, unfolded
from .mutant import mutant
from .patching import Patches


@mutant("inspect", hints=["manifest-stored-flipped"])
def skips_manifest_digest(oracle: Patches) -> None:
    """Does not check the SHA-256 of a manifest."""
    oracle.edit(manifest.fetch, "if hashlib.sha256(stored).hexdigest() != item.manifest.sha256:", "if False:")


@mutant("inspect", hints=["manifest-stored-longer"])
def skips_manifest_size(oracle: Patches) -> None:
    """Does not check the size of a manifest."""
    oracle.edit(manifest.fetch, "store.get(key, item.manifest.size)", "store.get(key)")
    oracle.edit(manifest.fetch, "if len(stored) != item.manifest.size:", "if False:")


@mutant("inspect", hints=["manifest-frame-byte-behind"])
def accepts_bytes_after_frame(oracle: Patches) -> None:
    """Ignores bytes that follow a Zstandard frame."""
    oracle.edit(frame._check_blocks, "if end != len(data):", "if end > len(data):")
    oracle.edit(frame.decompress, "allow_extra_data=False", "allow_extra_data=True")


@mutant("inspect", hints=["manifest-frame-two-halves"])
def joins_frames(oracle: Patches) -> None:
    """Decompresses several Zstandard frames one after the other."""
    oracle.edit(
        frame.decompress,
        "    check(data, size)",
        "    try:\n"
        "        content = joined(data)\n"
        "    except zstandard.ZstdError as error:\n"
        "        raise FrameFault(str(error)) from error\n"
        "    if len(content) == size:\n"
        "        return content\n"
        "    check(data, size)",
        joined=lambda data: zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read(),
    )


@mutant("inspect", hints=["manifest-frame-no-size"])
def accepts_frame_without_content_size(oracle: Patches) -> None:
    """Accepts a Zstandard frame that does not say its content size."""
    oracle.edit(frame.check, "header = read_header(data)", "header = read_header(data, size)")
    oracle.edit(frame.read_header, "(data: bytes)", "(data: bytes, size: int = 0)")
    oracle.edit(
        frame.read_header,
        'raise FrameFault("the content size is absent")',
        "return FrameHeader(size, window, bool(descriptor & 4), at)",
    )


@mutant("inspect", hints=["manifest-frame-window-2-28"])
def accepts_any_window(oracle: Patches) -> None:
    """Does not limit the window of a Zstandard frame."""
    oracle.edit(frame.check, "if header.window > MAX_ZSTD_WINDOW:", "if False:")


@mutant("inspect", hints=["manifest-raw-size-less", "manifest-frame-frame-of-less"])
def accepts_other_content_size(oracle: Patches) -> None:
    """Takes what a frame decompresses to, whatever size the manifest or root states."""
    oracle.edit(frame.decompress, "check(data, size)", "size = read_header(data).content_size\n    check(data, size)")


@mutant("inspect", hints=["codecs-bomb-zstd", "codecs-bomb*", "hostile-*bomb*", "hostile-*frame*"])
def allocates_what_frames_declare(oracle: Patches) -> None:
    """Allocates as many bytes as a Zstandard frame declares before it has looked at its blocks."""
    oracle.edit(
        frame.check,
        "header = read_header(data)",
        "header = read_header(data)\n    claimed(header.content_size)",
        claimed=claimed,
    )


@mutant("inspect", hints=["codecs-bomb-zstd-honest", "codecs-bomb*", "hostile-*bomb*"])
def decompresses_before_comparing_sizes(oracle: Patches) -> None:
    """Decompresses a Zstandard frame as a whole, and looks afterwards whether it has the right size."""
    oracle.edit(
        frame.decompress, "    check(data, size)", "    unfolded(data)\n    check(data, size)", unfolded=unfolded
    )


@mutant("inspect", hints=["manifest-limit-stored", "manifest-limit-raw"])
def ignores_manifest_limits(oracle: Patches) -> None:
    """Does not compare the size of a manifest with a limit."""
    oracle.edit(manifest.fetch, "_check_limits(item, key, limits)", "pass")


@mutant("inspect", hints=["manifest-attempt-other"])
def ignores_origin_of_manifest(oracle: Patches) -> None:
    """Does not compare the attempt and item in a manifest with its key."""
    oracle.edit(manifest._checked, 'if text(packed, key, "manifest") != stated:', "if False:")


@mutant("inspect", hints=["manifest-scf-2"])
def ignores_major_of_manifest(oracle: Patches) -> None:
    """Does not look at the major version in a manifest."""
    oracle.edit(
        manifest._checked, 'integer(packed, "scf", "manifest", 1, 1)', 'integer(packed, "scf", "manifest", 0, 99)'
    )


@mutant("inspect", hints=["manifest-syntax-unknown-keys"])
def refuses_unknown_keys(oracle: Patches) -> None:
    """Refuses a manifest with a key that it does not know."""
    oracle.edit(
        manifest._checked,
        '    integer(packed, "scf"',
        "    if len(packed) > 9:\n        raise fault('unknown key')\n    integer(packed, \"scf\"",
    )


@mutant("inspect", hints=["manifest-tensors-shape-longer"])
def accepts_long_columns(oracle: Patches) -> None:
    """Ignores bytes at the end of a column beyond its rows."""
    oracle.edit(tables.Table.bytes, "if len(data) != size or", "if len(data) < size or")
    oracle.edit(tables.Table.bytes, "return data", "return data[:size]")


@mutant("inspect", hints=["manifest-top"])
def reads_columns_big_endian(oracle: Patches) -> None:
    """Reads columns in big-endian byte order."""
    oracle.edit(tables.Table.numbers, 'if sys.byteorder == "big":', "if True:")


@mutant("inspect", hints=["manifest-shards-entry-alone"])
def accepts_one_of_two_columns(oracle: Patches) -> None:
    """Ignores a column without the one that it comes with."""
    oracle.edit(tables.Table.has, "if any(there) and not all(there):", "if False:")


@mutant("inspect", hints=["manifest-dtype-unknown-among-all", "manifest-dtype-unknown"])
def refuses_item_for_unknown_dtype(oracle: Patches) -> None:
    """Refuses a whole item because of one dtype that it does not know."""
    oracle.edit(
        tensors.read_dtypes,
        "    stated = array_of",
        "    if any(name not in DTYPES for name in names):\n"
        "        raise fault('unknown dtype')\n"
        "    stated = array_of",
    )


@mutant("inspect", hints=["manifest-dtype-bits-of-unused"])
def ignores_stated_bits(oracle: Patches) -> None:
    """Does not compare dtype_bits with the registry."""
    oracle.edit(tensors.read_dtypes, "dtype.known is not None and dtype.known.bits != dtype.bits", "False")


@mutant("inspect", hints=["manifest-codec-unknown"])
def refuses_item_for_unknown_codec(oracle: Patches) -> None:
    """Refuses a whole item because of one codec that it does not know."""
    oracle.edit(
        codecs.read_chains,
        "        if form in seen:",
        "        if decoder(chain) is None:\n"
        "            raise Rejected('codec.unsupported', 'unknown', phase='plan')\n"
        "        if form in seen:",
    )


@mutant("inspect", hints=["manifest-codecs-equal"])
def accepts_equal_chains(oracle: Patches) -> None:
    """Accepts two equal codec chains."""
    oracle.edit(codecs.read_chains, "if form in seen:", "if False:")


@mutant("inspect", hints=["manifest-digest-unknown"])
def refuses_item_for_unknown_digest(oracle: Patches) -> None:
    """Refuses a whole item because of one digest algorithm that it does not know."""
    oracle.edit(
        objects.read_objects,
        "        if row.key in seen:",
        "        if row.digest not in {'sha256', 'blake3'}:\n"
        "            raise Rejected('digest.unsupported', 'unknown', phase='plan')\n"
        "        if row.key in seen:",
    )


@mutant("inspect", hints=["manifest-tensors-name-twice"])
def accepts_repeated_tensor_names(oracle: Patches) -> None:
    """Accepts two tensors of one name."""
    oracle.edit(tensors.read_tensors, " or len(set(names)) != len(names)", "")


@mutant("inspect", hints=["manifest-tensors-product-2-63"])
def multiplies_without_overflow_check(oracle: Patches) -> None:
    """Computes the size of a tensor modulo 2^64."""
    oracle.edit(tensors._check_sizes, "if prod(size for size in row.shape if size) * row.bits > MAXINT:", "if False:")


@mutant("inspect", hints=["manifest-shards-offset-wraps"])
def adds_without_overflow_check(oracle: Patches) -> None:
    """Adds offset and size of a shard modulo 2^64 when it compares them with the size of the object."""
    oracle.edit(
        shards._Reading.check_place,
        "shard.at <= shard.at + shard.stored_size <= row.size",
        "shard.at and (shard.at + shard.stored_size) % 2**64 <= row.size",
    )


@mutant("inspect", hints=["manifest-objects-key-twice"])
def accepts_one_object_twice(oracle: Patches) -> None:
    """Accepts two rows for one data object."""
    oracle.edit(objects.read_objects, "if row.key in seen:", "if False:")


@mutant("inspect", hints=["manifest-objects-block-6144"])
def accepts_any_block_size(oracle: Patches) -> None:
    """Accepts a block size that is no power of two."""
    oracle.edit(objects._read, "if block & (block - 1):", "if False:")


@mutant("inspect", hints=["manifest-objects-start-unaligned"])
def accepts_any_data_start(oracle: Patches) -> None:
    """Accepts a data_start that is no multiple of 4096."""
    oracle.edit(objects._read, "if data_start % DATA_ALIGNMENT:", "if False:")


@mutant("inspect", hints=["layout-object-store-key-parent", "layout-object-store-key-dots"])
def accepts_dots_in_store_keys(oracle: Patches) -> None:
    """Looks at the last segment of a store_key alone, whatever segments lead to it."""
    oracle.edit(names.data_object_key, 'key.partition("/")', 'key.rpartition("/")')
    oracle.edit(names.data_object_key, "if match is None or not is_item(item):", "if match is None:")


@mutant("inspect", hints=["references-unlisted"])
def accepts_unlisted_checkpoint(oracle: Patches) -> None:
    """Accepts a store_key in a manifest whose checkpoint the root does not list in external."""
    oracle.edit(objects._key, "if split[0] not in place.external:", "if False:")


@mutant("inspect", hints=["manifest-block-digests-absent"])
def takes_absent_digests_for_right(oracle: Patches) -> None:
    """Reads blocks without a check when a manifest has no block digests."""
    oracle.edit(
        shards._Reading.block_digests,
        'raise Rejected("digest.missing", f"shards: block_digest is absent, and there are {blocks} blocks")',
        'return b""',
    )


@mutant("inspect", hints=["manifest-shards-order-tensors"])
def ignores_order_of_shards(oracle: Patches) -> None:
    """Does not check the order of shards."""
    oracle.edit(shards._Reading.shards, "_check_order(rows)", "pass")


@mutant("inspect", hints=["manifest-shards-order-runs"])
def ignores_order_of_runs(oracle: Patches) -> None:
    """Does not check the order of the runs in one box."""
    oracle.edit(shards._check_order, "shard.region.offset, shard.region.start)", "shard.region.offset, 0)")


@mutant("inspect", hints=["manifest-shards-overlap-byte"])
def accepts_shards_that_share_bytes(oracle: Patches) -> None:
    """Accepts two shards with common bytes of one object."""
    oracle.edit(shards._Reading.shards, "_check_apart(rows)", "pass")


@mutant("inspect", hints=["manifest-shards-stored-less"])
def accepts_other_stored_size(oracle: Patches) -> None:
    """Does not compare stored_size with the size that follows from the region or the blocks."""
    oracle.edit(
        shards._Reading.check_place,
        "self.stored is not None and self.stored[shard.number] != shard.stored_size",
        "False",
    )


@mutant("inspect", hints=["manifest-shards-block-more"])
def accepts_any_block_stored_size(oracle: Patches) -> None:
    """Accepts encoded blocks of any stored size."""
    oracle.edit(shards._Reading.check_bounds, "if not 1 <= size <= length - (-length // 128) + 1024:", "if size < 1:")


@mutant("inspect", hints=["manifest-shards-offset-behind"])
def accepts_shards_beyond_object(oracle: Patches) -> None:
    """Accepts shards whose bytes leave their object."""
    oracle.edit(shards._Reading.check_place, "shard.stored_size <= row.size:", "shard.stored_size:")


@mutant("inspect", hints=["manifest-shards-offset-header"])
def accepts_shards_in_header(oracle: Patches) -> None:
    """Accepts shards whose bytes begin in the header of their object."""
    oracle.edit(shards._Reading.check_place, "row.data_start <= shard.at", "0 <= shard.at")


@mutant("inspect", hints=["manifest-shards-unassigned-no-name", "manifest-shards-unassigned-elsewhere"])
def accepts_any_unassigned_shard(oracle: Patches) -> None:
    """Does not check what an unassigned shard has to have."""
    oracle.edit(shards._Reading.check_place, "shard.tensor is None and not (", "False and not (")


@mutant("inspect", hints=["manifest-shards-unassigned"])
def refuses_unassigned_shards(oracle: Patches) -> None:
    """Takes the number of unassigned shards for a tensor number out of range."""
    oracle.edit(
        shards._Reading.check_numbers, "for number in self.tensor if number != UNASSIGNED", "for number in self.tensor"
    )


@mutant("inspect", hints=["manifest-shards-no-elements-run"])
def accepts_shards_without_elements(oracle: Patches) -> None:
    """Accepts shards without elements."""
    oracle.edit(shards._Reading.check_region, "if not region.elements and not (", "if False and not (")


@mutant("inspect", hints=["manifest-shards-box-behind"])
def accepts_boxes_beyond_tensor(oracle: Patches) -> None:
    """Accepts boxes that leave their tensor."""
    oracle.edit(shards._Reading.check_region, "if not lies_in(region, row.shape):", "if False:")


@mutant("inspect", hints=["dtypes-cut-f4-run"])
def accepts_cut_bytes(oracle: Patches) -> None:
    """Accepts shards that begin or end within a byte."""
    oracle.edit(shards._Reading.check_region, "if row.bits % 8 and not cuts_no_byte(", "if False and not (")


@mutant("read", hints=["references-item"])
def takes_keys_from_own_checkpoint(oracle: Patches) -> None:
    """Looks for the objects of a carried item in the new checkpoint, not in the one that its manifest is in."""
    oracle.edit(root.Descriptor.base, "checkpoint if self.store_key is None else", "checkpoint if True else")
