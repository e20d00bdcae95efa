"""Bugs of writers: what they put into data objects, manifests and roots."""

from __future__ import annotations

import struct

import zstandard

from ..oracle import (
    asset_write,
    encode_names,
    given_tree,
    manifest_write,
    packing,
    root_write,
    union,
    writer,
)
from ..oracle.mpack import Float
from .mutant import mutant
from .patching import Patches


@mutant("write", hints=["write-one-tensor", "write-dtype-f32"])
def writes_elements_big_endian(oracle: Patches) -> None:
    """Writes elements in big-endian byte order."""
    oracle.edit(
        writer.part_content,
        "region: region_bytes(data, bits, tensor.shape, _encoded(region))",
        "region: big(region_bytes(data, bits, tensor.shape, _encoded(region)), bits // 8)",
        big=lambda data, width: b"".join(data[at : at + width][::-1] for at in range(0, len(data), max(1, width))),
    )


@mutant("write", hints=["write-dtype-f4"])
def writes_high_half_first(oracle: Patches) -> None:
    """Packs the first of two elements of four bits into the upper half of their byte."""
    oracle.edit(
        writer.part_content,
        "region: region_bytes(data, bits, tensor.shape, _encoded(region))",
        "region: halves(region_bytes(data, bits, tensor.shape, _encoded(region)), bits)",
        halves=lambda data, bits: bytes(byte >> 4 | (byte & 15) << 4 for byte in data) if bits == 4 else data,
    )


@mutant("write", hints=["write-regions-grid", "write-one-tensor"])
def writes_boxes_column_major(oracle: Patches) -> None:
    """Writes the elements of a box of two dimensions column by column."""
    oracle.edit(
        writer.part_content,
        "region: region_bytes(data, bits, tensor.shape, _encoded(region))",
        "region: columns(region_bytes(data, bits, tensor.shape, _encoded(region)), bits // 8, region)",
        columns=lambda data, width, region: (
            data
            if len(region.size) != 2 or not region.is_box or not width
            else b"".join(
                data[width * (row * region.size[1] + column) :][:width]
                for column in range(region.size[1])
                for row in range(region.size[0])
            )
        ),
    )


@mutant("write", hints=["write-entry-order"])
def leaves_entries_unsorted(oracle: Patches) -> None:
    """Writes entries in the order of the tree, not of falling item size."""
    oracle.edit(
        writer.run_writer,
        "sorted(_pieces(tree, items[name]), key=lambda piece: -piece.rank)",
        "list(_pieces(tree, items[name]))",
    )


@mutant("write", hints=["write-one-tensor"])
def pads_header_to_eight_bytes(oracle: Patches) -> None:
    """Pads the header of a data object to a multiple of 8 bytes, as safetensors does."""
    oracle.edit(
        writer._object, "-(-(8 + len(text)) // DATA_ALIGNMENT) * DATA_ALIGNMENT", "-(-(8 + len(text)) // 8) * 8"
    )


@mutant("write", hints=["write-header-metadata"], level="SHOULD")
def leaves_attempt_out_of_header(oracle: Patches) -> None:
    """Does not put the attempt into __metadata__ of a data object."""
    oracle.edit(writer._object, '"scf.attempt": attempt', '"attempt": attempt')


@mutant("write", hints=["write-one-tensor"])
def leaves_attempt_out_of_keys(oracle: Patches) -> None:
    """Numbers data objects in the name of an attempt that is always the same."""
    oracle.edit(writer.run_writer, "{name}/{attempt.id}-", "{name}/{attempt.checkpoint.encode().hex():0<16.16}-")


@mutant("write", hints=["write-digest-blake3"])
def names_the_other_digest(oracle: Patches) -> None:
    """Writes BLAKE3 digests and calls them SHA-256."""
    oracle.edit(
        writer._object,
        "start, digest(head), algorithm, block",
        'start, digest(head), "sha256" if algorithm == "blake3" else algorithm, block',
    )


@mutant("write", hints=["write-digest-sha256"])
def ignores_wanted_digest(oracle: Patches) -> None:
    """Writes BLAKE3 digests, whatever the user has asked for."""
    oracle.edit(writer._object, 'item.digest or "blake3"', '"blake3"')


@mutant("write", hints=["write-blocks-several"])
def ignores_wanted_block(oracle: Patches) -> None:
    """Writes blocks of 1 MiB, whatever the user has asked for."""
    oracle.edit(writer._object, "item.block or 1 << 20", "1 << 20")
    oracle.edit(writer._pieces, "item.block or 1 << 20", "1 << 20")


@mutant("write", hints=["write-codec-zstd"])
def hashes_decoded_blocks(oracle: Patches) -> None:
    """Takes the digests of blocks over their decoded bytes."""
    oracle.edit(writer._object, "digest(one) for one in piece.blocks", "digest(one) for one in piece.decoded")


@mutant("write", hints=["write-codec-zstd"])
def leaves_content_size_out(oracle: Patches) -> None:
    """Writes Zstandard frames without a content size in data objects."""
    oracle.edit(writer._pieces, "encode_block(chain, one)", "sizeless(encode_block(chain, one))", sizeless=_sizeless)


def _sizeless(block: bytes) -> bytes:
    """A frame with the same content, whose header does not say how much it is."""
    if block[:4] != b"\x28\xb5\x2f\xfd":
        return block
    data = zstandard.ZstdDecompressor().decompress(block)
    return zstandard.ZstdCompressor(level=3, write_content_size=False).compress(data)


@mutant("write", hints=["write-planes-c128"])
def takes_item_of_planes_from_bits(oracle: Patches) -> None:
    """Takes the bits of a complex dtype for the item size of planes."""
    oracle.edit(
        writer._pieces,
        "chain_for(item.codec, tensor.dtype)",
        "wide(chain_for(item.codec, tensor.dtype), tensor)",
        wide=_wide,
    )


def _wide(chain: tuple[dict[str, str | int], ...], tensor: given_tree.GivenTensor) -> tuple[dict[str, str | int], ...]:
    if chain and chain[0]["id"] == "planes" and tensor.dtype.startswith("C"):
        return ({**chain[0], "item": int(tensor.dtype[1:]) // 8},)
    return chain


@mutant("write", hints=["write-keys-apart"])
def writes_names_unescaped(oracle: Patches) -> None:
    """Derives tensor names without escaping the characters that have a meaning in them."""
    oracle.edit(encode_names._escaped, 'c in "%/@" or', "")


@mutant("write", hints=["write-regions-rows"])
def counts_box_ends_as_sizes(oracle: Patches) -> None:
    """Writes offset and size into derived entry names instead of begin and end."""
    oracle.edit(encode_names.entry_name, "{begin}:{begin + size}", "{begin}:{size}")


@mutant("write", hints=["write-tied"])
def unties_tied_tensors(oracle: Patches) -> None:
    """Writes a tensor of several paths once for each."""
    oracle.edit(given_tree._tensor, 'GivenTensor(str(given["id"]),', 'GivenTensor(str(given["id"]) + repr(_path),')


@mutant("write", hints=["write-unsupported-object"])
def writes_unknown_values_as_text(oracle: Patches) -> None:
    """Stores what is no value of a tree as its description."""
    oracle.edit(
        given_tree._no_node,
        'raise unsupported(path, "a value that no node can hold")',
        'return Leaf("text", "<object>")',
    )


@mutant("write", hints=["write-node-tuple"])
def writes_tuples_as_lists(oracle: Patches) -> None:
    """Stores tuples as lists."""
    oracle.edit(packing._node, 'array if node.kind == "list" else', "array if True else")


@mutant("write", hints=["write-node-float"])
def writes_whole_floats_as_integers(oracle: Patches) -> None:
    """Stores a float that is a whole number as an integer."""
    oracle.edit(packing._leaf, "    value = node.value\n", "    value = plain(node.value)\n", plain=_plain)


@mutant("write", hints=["write-node-float-nan"])
def writes_every_nan_alike(oracle: Patches) -> None:
    """Stores every NaN as the usual quiet one."""
    oracle.edit(packing._leaf, "    value = node.value\n", "    value = quiet(node.value)\n", quiet=_quiet)


@mutant("write", hints=["write-node-float"])
def writes_floats_in_32_bits(oracle: Patches) -> None:
    """Stores floats in 32 bits."""
    oracle.edit(packing.pack, 'return b"\\xcb" + value.bits.to_bytes(8, "big")', "return narrow(value)", narrow=_narrow)


def _number(value: Float) -> float:
    (number,) = struct.unpack("<d", value.bits.to_bytes(8, "little"))
    return float(number)


def _plain(value: object) -> object:
    if not isinstance(value, Float):
        return value
    number = _number(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else value


def _quiet(value: object) -> object:
    if isinstance(value, Float) and value.bits & ~(1 << 63) > 0x7FF << 52:
        return Float(0x7FF8 << 48)
    return value


def _narrow(value: Float) -> bytes:
    try:
        return b"\xca" + struct.pack(">f", _number(value))
    except OverflowError:
        return b"\xca\x7f\x80\x00\x00"


@mutant("write", hints=["write-key-order"])
def sorts_written_maps(oracle: Patches) -> None:
    """Stores the members of maps sorted by key."""
    oracle.edit(
        packing._node,
        "children = {more: _node(child, united) for more, child in node.children}",
        "children = {more: _node(child, united) for more, child in sorted(node.children, key=str)}",
    )


@mutant("write", hints=["write-key-order"])
def writes_integer_keys_as_text(oracle: Patches) -> None:
    """Stores integer keys of maps as text."""
    oracle.edit(
        packing._node,
        '    if node.kind == "map":\n        return _packed_map((pack(more[0]), child)',
        '    if node.kind == "map":\n        return _packed_map((pack(str(more[0])), child)',
    )


@mutant("write", hints=["write-node-bigint"])
def writes_long_bigints(oracle: Patches) -> None:
    """Stores bigints with a byte of sign that is not needed."""
    oracle.edit(packing._bigint, "bit_length() // 8 + 1", "bit_length() // 8 + 2")


@mutant("write", hints=["write-metadata-integers"])
def writes_plain_large_integers(oracle: Patches) -> None:
    """Writes integers of metadata that no double holds as plain JSON numbers."""
    oracle.edit(root_write._scalar, "if -MAXJSON <= value <= MAXJSON:", "if True:")


@mutant("write", hints=["write-metadata-not-finite"])
def writes_nan_in_json(oracle: Patches) -> None:
    """Writes NaN and Infinity of metadata as such."""
    oracle.edit(
        root_write._float, "if math.isnan(number):", "if True:\n        return number\n    if math.isnan(number):"
    )


@mutant("write", hints=["write-metadata-int-and-float"])
def writes_whole_floats_of_metadata_as_integers(oracle: Patches) -> None:
    """Writes a float of metadata that is a whole number as an integer."""
    oracle.edit(root_write._float, "    return number", "    return int(number) if number.is_integer() else number")


@mutant("write", hints=["write-metadata-dollars"])
def writes_dollars_unescaped(oracle: Patches) -> None:
    """Does not protect names of metadata that begin with $."""
    oracle.edit(root_write._json, 'f"${name}" if str(name).startswith("$") else name', "name")


@mutant("write", hints=["write-one-tensor"])
def counts_stored_bytes(oracle: Patches) -> None:
    """Counts the bytes of all data objects instead of those of the tensors."""
    oracle.edit(manifest_write.Assigned.counts, '"bytes": sum(sizes)', '"bytes": sum(one.size for one in self.objects)')


@mutant("sharded-write", hints=["sharded-replicas"])
def counts_assigned_shards_alone(oracle: Patches) -> None:
    """Leaves unassigned shards out of the counts of the root."""
    oracle.edit(manifest_write.Assigned.counts, "len(self.rows)", "sum(1 for row in self.rows if row.tensor)")


@mutant("write", hints=["write-asset-taken"])
def overwrites_assets(oracle: Patches) -> None:
    """Replaces what is at the key of an asset."""
    oracle.edit(
        asset_write.write_asset,
        'outcome = claim(store, f"{attempt.checkpoint}/{key}", data, weak=weak)',
        'outcome = store.put(f"{attempt.checkpoint}/{key}", data) or "created"',
    )


@mutant("write", hints=["write-asset-there"])
def refuses_assets_that_are_there(oracle: Patches) -> None:
    """Fails when the key of an asset is taken."""
    oracle.edit(
        asset_write.write_asset,
        '    if outcome == "taken":\n        key = ',
        '    if outcome != "created":\n        raise Rejected("store.io", "taken", subject=key)\n        key = ',
    )


@mutant("write", hints=["write-asset-taken"])
def takes_over_any_asset(oracle: Patches) -> None:
    """Takes what is at the key of an asset for the asset, whatever its bytes."""
    oracle.edit(asset_write.write_asset, 'if outcome == "taken":\n        key = ', "if False:\n        key = ")


@mutant("write", hints=["write-asset-tombstone"])
def takes_over_assets_of_deleted(oracle: Patches) -> None:
    """Takes over an equal asset of a deleted checkpoint, which a collector is about to remove."""
    oracle.edit(asset_write.write_asset, 'if outcome == "same" and tombstones(store, attempt.checkpoint):', "if False:")


@mutant("sharded-write", hints=["sharded-diverged-int"])
def keeps_first_of_different_values(oracle: Patches) -> None:
    """Keeps the value of the first writer where others have another one."""
    oracle.edit(union._unite, "if len({leaf.value for _, leaf in leaves}) > 1:", "if False:")


@mutant("sharded-write", hints=["sharded-union-sets"])
def refuses_sets_that_differ(oracle: Patches) -> None:
    """Refuses sets that differ between writers instead of uniting them."""
    oracle.edit(union._unite, 'if kinds == {"set"}:', "if False:")


@mutant("sharded-write", hints=["sharded-indexed-missing"])
def commits_incomplete_indexed_values(oracle: Patches) -> None:
    """Commits an indexed value of which no writer holds some index."""
    oracle.edit(union._branch, 'first.kind == "indexed" and len(children) != first.head[1]', "False")


@mutant("sharded-write", hints=["sharded-diverged-list-length"])
def unites_lists_of_different_length(oracle: Patches) -> None:
    """Unites lists of different length."""
    oracle.edit(union._branch, "if any(branch.head != first.head for _, branch in held):", "if False:")
