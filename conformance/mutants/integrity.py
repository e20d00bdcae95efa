"""Bugs of verification."""

from __future__ import annotations

from ..oracle import verify
from .mutant import mutant
from .patching import Patches


@mutant("integrity", hints=["integrity-verify-header", "integrity-byte-of-padding"])
def skips_header_digest(oracle: Patches) -> None:
    """Does not check the digest of a data object's header."""
    oracle.edit(verify._header, "if DIGESTS[row.digest](data) != row.header_digest:", "if False:")


@mutant("integrity", hints=["objects-disagree-missing-entry"])
def ignores_entries(oracle: Patches) -> None:
    """Does not compare the entries of a header with the shards."""
    oracle.edit(
        verify._header, "if name not in entries or not belongs(opened.manifest, shard, entries[name]):", "if False:"
    )


@mutant("integrity", hints=["objects-disagree-name"])
def ignores_entry_names(oracle: Patches) -> None:
    """Looks for the entry of a shard by its place, not by its name."""
    oracle.edit(
        verify._header,
        "name not in entries or not belongs(opened.manifest, shard, entries[name])",
        "not any(belongs(opened.manifest, shard, entry) for entry in entries.values())",
    )
    oracle.edit(verify._header, "if row.own and entries.keys() - wanted:", "if row.own and len(entries) > len(wanted):")


@mutant("integrity", hints=["objects-disagree-dtype-of-same-size"])
def ignores_dtype_and_shape_of_entries(oracle: Patches) -> None:
    """Compares the name and place of an entry with its shard, not dtype and shape."""
    oracle.edit(
        verify._header,
        "not belongs(opened.manifest, shard, entries[name])",
        "entries[name].end - entries[name].begin != shard.stored_size",
    )


@mutant("integrity", hints=["objects-disagree-extra-entry"])
def ignores_further_entries(oracle: Patches) -> None:
    """Passes over entries that no shard belongs to."""
    oracle.edit(verify._header, "if row.own and entries.keys() - wanted:", "if False:")


@mutant("integrity", hints=["objects-same-entry-name"])
def accepts_repeated_entry_names(oracle: Patches) -> None:
    """Accepts two shards of one object with the same entry name."""
    oracle.edit(verify._entry_names, "if (shard.object, name) in seen:", "if False:")


@mutant("integrity", hints=["objects-hole-at-middle"])
def ignores_holes_in_objects(oracle: Patches) -> None:
    """Passes over bytes of a data object that no shard covers."""
    oracle.edit(verify._coverage, "if row.own and hole:", "if False:")


@mutant("integrity", hints=["objects-unassigned"])
def takes_unassigned_shards_for_holes(oracle: Patches) -> None:
    """Does not count unassigned shards as coverage of their object."""
    oracle.edit(verify._coverage, "+= shard.stored_size", "+= 0 if shard.tensor is None else shard.stored_size")


@mutant("integrity", hints=["integrity-unassigned"])
def skips_unassigned_shards(oracle: Patches) -> None:
    """Does not verify the blocks of unassigned shards."""
    oracle.edit(
        verify._blocks, "manifest.shards.blocks(shard)", "() if shard.tensor is None else manifest.shards.blocks(shard)"
    )


@mutant("integrity", hints=["integrity-verify-count-of-tensors-more"])
def ignores_counts(oracle: Patches) -> None:
    """Does not compare the counts of the root with the manifest."""
    oracle.edit(verify._counts, "if said != held:", "if False:")


@mutant("integrity", hints=["integrity-verify-all"])
def stops_at_first_finding(oracle: Patches) -> None:
    """Ends a verification at the first finding."""
    oracle.edit(verify.verify, "return list(found)", "return list(found)[:1]")


@mutant("integrity", hints=["integrity-verify-items"])
def stops_at_first_damaged_item(oracle: Patches) -> None:
    """Ends a verification after the first item with a finding."""
    oracle.edit(
        verify.verify,
        "    for item in root.items.values():\n",
        "    for item in root.items.values():\n        if found:\n            break\n",
    )


@mutant("integrity", hints=["integrity-digest-unknown-verified"])
def takes_unknown_digests_for_sound(oracle: Patches) -> None:
    """Reports what it can't check, for want of the digest algorithm, as sound."""
    oracle.edit(
        verify._object,
        'yield Rejected("digest.unsupported", f"the digest {row.digest} is not implemented", subject=row.key)',
        "yield from ()",
    )


@mutant("integrity", hints=["codecs-chain-unknown-verified"])
def takes_unknown_codecs_for_sound(oracle: Patches) -> None:
    """Reports shards that it can't decode, for want of the codec, as sound."""
    oracle.edit(verify._object, "        yield from _codecs(opened, shards)", "        yield from ()")


@mutant("integrity", hints=["dtypes-unknown-verified"])
def takes_unknown_dtypes_for_sound(oracle: Patches) -> None:
    """Reports tensors of unknown dtypes as sound."""
    oracle.edit(verify._tensors, "if row.dtype.known is None:", "if False:")


@mutant("integrity", hints=["integrity-verify-tiling"])
def verifies_without_tiling(oracle: Patches) -> None:
    """Does not check tiling in a verification."""
    oracle.edit(verify._tensors, "if not opened.is_tiled(row.number):", "if False:")


@mutant("integrity", hints=["integrity-decoded-digest"])
def ignores_decoded_digests(oracle: Patches) -> None:
    """Does not check decoded digests in depth."""
    oracle.edit(verify._check_decoded, "block.decoded_digest is not None and", "False and")


@mutant("integrity", hints=["integrity-decoded", "integrity-verify-codec", "codecs-chain-item-3-verified"])
def verifies_without_decoding(oracle: Patches) -> None:
    """Checks the digests of encoded blocks without decoding them."""
    oracle.edit(verify._blocks, "if decoding is not None:", "if False:")


@mutant("integrity", hints=["integrity-verify-asset-digest"])
def reads_no_assets_in_depth(oracle: Patches) -> None:
    """Checks only the sizes of assets in a deep verification."""
    oracle.edit(verify._item, "            if deep:", "            if False:")


@mutant("integrity", hints=["integrity-object-missing-verified-shallow"])
def skips_objects_of_shallow_verification(oracle: Patches) -> None:
    """Does not look for data objects unless it verifies in depth."""
    oracle.edit(
        verify._object,
        "    try:\n        check_object",
        "    if not deep:\n        return\n    try:\n        check_object",
    )


@mutant("integrity", hints=["integrity-verify-root-damaged"])
def refuses_to_verify_damaged_roots(oracle: Patches) -> None:
    """Refuses to verify a checkpoint with a damaged root instead of reporting it."""
    oracle.edit(verify.verify, "return [_finding(refusal)]", "raise")
