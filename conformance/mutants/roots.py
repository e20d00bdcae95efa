"""Bugs of readers of roots."""

from __future__ import annotations

import re

from ..oracle import limits, messages, metadata, names, root
from .mutant import mutant
from .patching import Patches


@mutant("inspect", hints=["root-digest-wrong-digit", "root-digest-*"])
def skips_root_digest(oracle: Patches) -> None:
    """Does not check the digest that a root states of itself."""
    oracle.edit(root.read_root, "if root_digest(data) != digest:", "if False:")


@mutant("inspect", hints=["root-plain"])
def hashes_root_as_it_is(oracle: Patches) -> None:
    """Computes the root digest without taking the digest's own digits as zeros."""
    oracle.edit(root.root_digest, 'data[:19] + b"0" * 64 + data[83:]', "data")


@mutant("inspect", hints=["root-expected-other"])
def ignores_expected_digest(oracle: Patches) -> None:
    """Does not compare the root digest with the one that the caller expects."""
    oracle.edit(root.read_root, "if expect is not None and expect != digest:", "if False:")


@mutant("inspect", hints=["root-order-expected-before-json"])
def compares_expected_digest_last(oracle: Patches) -> None:
    """Parses a root before it compares the root digest with the one that the caller expects."""
    oracle.edit(root.read_root, "if expect is not None and expect != digest:", "if False:")
    oracle.edit(
        root.read_root,
        "    return _Schema(checkpoint).root(members, digest)",
        "    found = _Schema(checkpoint).root(members, digest)\n"
        "    if expect not in {None, digest}:\n"
        "        raise Rejected('root.digest', 'another root', subject=checkpoint)\n"
        "    return found",
    )


@mutant("inspect", hints=["root-digest-cut", "root-order-*"])
def parses_before_digest(oracle: Patches) -> None:
    """Parses a root before it has checked the digest."""
    oracle.edit(
        root.read_root,
        "if root_digest(data) != digest:",
        "try:\n"
        "        parse(data)\n"
        "    except JsonFault as error:\n"
        "        raise Rejected('root.syntax', str(error), subject=checkpoint) from error\n"
        "    if root_digest(data) != digest:",
    )


@mutant("inspect", hints=["root-feature-nobody-knows"])
def ignores_read_features(oracle: Patches) -> None:
    """Does not look at features.read."""
    oracle.edit(root._features_known, '("read", "write") if writing else ("read",)', '("write",) if writing else ()')


@mutant("inspect", hints=["root-feature-write-unknown"])
def refuses_write_features(oracle: Patches) -> None:
    """Refuses to read a checkpoint for an unknown feature in features.write."""
    oracle.edit(root._features_known, '("read", "write") if writing else ("read",)', '("read", "write")')


@mutant("inspect", hints=["root-order-feature-before-members"])
def checks_features_last(oracle: Patches) -> None:
    """Checks the members of a root before its features, and calls a newer checkpoint damaged."""
    oracle.edit(
        root.read_root,
        "    _features_known(members, checkpoint, writing=writing)\n"
        "    return _Schema(checkpoint).root(members, digest)",
        "    found = _Schema(checkpoint).root(members, digest)\n"
        "    _features_known(members, checkpoint, writing=writing)\n"
        "    return found",
    )


@mutant("inspect", hints=["root-major-2"])
def reads_other_major(oracle: Patches) -> None:
    """Reads a root of another major version as if it were of this one."""
    oracle.edit(root.read_root, 'if major and major.group(1) != b"1":', "if False:")
    oracle.name(root, "_FRONT", re.compile(rb'\{"scf":[0-9]+,"digest":"([0-9a-f]{64})",'))


@mutant("inspect", hints=["root-major-2"])
def calls_other_major_damaged(oracle: Patches) -> None:
    """Reports a root of another major version as damaged instead of unsupported."""
    oracle.edit(root.read_root, 'if major and major.group(1) != b"1":', "if False:")


@mutant("inspect", hints=["root-first-space-in-first", "root-first-*"])
def finds_digest_anywhere(oracle: Patches) -> None:
    """Looks for the digest among the members of a root, wherever it stands and with whatever white space."""
    oracle.edit(root.read_root, "_FRONT.match(data)", 're.search(rb\'"digest": ?"([0-9a-f]{64})"\', data)')
    oracle.edit(
        root.read_root,
        "root_digest(data) != digest",
        'hashlib.sha256(data.replace(digest.encode(), b"0" * 64, 1)).hexdigest() != digest',
    )


@mutant("inspect", hints=["root-item-manifest-sha256-upper"])
def accepts_upper_case_hex(oracle: Patches) -> None:
    """Accepts digests in upper-case hexadecimal digits."""
    oracle.name(names, "_HEX64", re.compile(r"[0-9a-fA-F]{64}"))


@mutant("inspect", hints=["root-unknown-members"])
def refuses_unknown_members(oracle: Patches) -> None:
    """Refuses a root with a member that it does not know."""
    oracle.edit(
        root._Schema.root,
        'place = "root"',
        'place = "root"\n    if len(members) > 12:\n        raise self.fault(place, "an unknown member")',
    )


@mutant("inspect", hints=["root-sequence-zero"])
def accepts_sequence_zero(oracle: Patches) -> None:
    """Accepts the sequence 0."""
    oracle.edit(root._Schema.root, "place, least=1)", "place)")


@mutant("inspect", hints=["root-sequence-true", "root-item-counts-true"])
def takes_booleans_for_integers(oracle: Patches) -> None:
    """Accepts true where a root needs an integer, as languages do in which it is one."""
    oracle.edit(root._Schema.integer, " or isinstance(value, bool)", "")


@mutant("inspect", hints=["root-sequence-float"])
def takes_floats_for_integers(oracle: Patches) -> None:
    """Accepts 1.0 or 1e0 where a root needs an integer, as JSON parsers without integers do."""
    oracle.edit(
        root._Schema.integer,
        "    if not isinstance",
        "    value = int(value) if isinstance(value, float) and value.is_integer() else value\n    if not isinstance",
    )


@mutant("inspect", hints=["root-created-april-31"])
def accepts_any_day(oracle: Patches) -> None:
    """Accepts a time of creation on a day that no calendar has."""
    oracle.edit(root._Schema.created, "date(int(match.group(1)), int(match.group(2)), int(match.group(3)))", "pass")


@mutant("inspect", hints=["root-external-unsorted"])
def accepts_unsorted_external(oracle: Patches) -> None:
    """Does not check the order of external."""
    oracle.edit(root._Schema.external, "if checkpoint <= last:", "if False:")


@mutant("inspect", hints=["root-external-own-name"])
def accepts_own_name_in_external(oracle: Patches) -> None:
    """Accepts a root that lists its own checkpoint in external."""
    oracle.edit(root._Schema.external, "if checkpoint == self.checkpoint:", "if False:")


@mutant("inspect", hints=["root-asset-store-key-unlisted"])
def accepts_unlisted_store_key(oracle: Patches) -> None:
    """Accepts a store_key in a root whose checkpoint is not listed in external."""
    oracle.edit(root._Schema.descriptor, "if split[0] not in external:", "if False:")


@mutant("inspect", hints=["root-asset-both"])
def accepts_key_and_store_key(oracle: Patches) -> None:
    """Accepts a descriptor with both key and store_key, and takes the key."""
    oracle.edit(
        root._Schema.descriptor,
        '("key" in members) == ("store_key" in members)',
        '"key" not in members and "store_key" not in members',
    )


@mutant("inspect", hints=["root-kind-unknown"])
def refuses_unknown_kind(oracle: Patches) -> None:
    """Refuses an item of a kind that it does not know."""
    oracle.edit(
        root._Schema.item,
        'kind = self.text(members, "kind", place)',
        'kind = self.text(members, "kind", place)\n    if kind not in KINDS:\n        raise self.fault(place, "kind")',
    )


@mutant("inspect", hints=["layout-root-asset-dots"])
def accepts_dots_in_asset_names(oracle: Patches) -> None:
    """Accepts an asset name with the segment .., which leaves the directory of the item."""
    oracle.edit(names._is_asset_segment, 'and segment not in {".", ".."}', "")


@mutant("inspect", hints=["layout-root-asset-prefix"])
def accepts_assets_below_assets(oracle: Patches) -> None:
    """Accepts two assets one of which would be a directory of the other."""
    oracle.edit(root._Schema.item, "if clash is not None:", "if False:")


@mutant("inspect", hints=["root-manifest-key-other-item"])
def accepts_manifest_of_another_item(oracle: Patches) -> None:
    """Accepts a manifest key in the directory of another item."""
    oracle.edit(root._Schema.manifest, "origin.item != item", "False")


@mutant("inspect", hints=["root-over-64-mib"])
def accepts_any_root_size(oracle: Patches) -> None:
    """Reads a root of any size."""
    oracle.name(limits, "MAX_ROOT_BYTES", 1 << 40)


@mutant("inspect", hints=["root-items-4097"])
def accepts_any_number_of_items(oracle: Patches) -> None:
    """Does not limit the number of items."""
    oracle.name(limits, "MAX_ITEMS", 1 << 40)


@mutant("inspect", hints=["root-metadata-floats"])
def loses_floats_of_metadata(oracle: Patches) -> None:
    """Gives a float of metadata that is a whole number back as an integer."""
    oracle.edit(
        metadata._value,
        "    return value",
        "    return int(value) if isinstance(value, float) and value.is_integer() else value",
    )


@mutant("inspect", hints=["root-metadata-floats"])
def loses_minus_zero_of_metadata(oracle: Patches) -> None:
    """Gives -0.0 of metadata back as 0.0."""
    oracle.edit(metadata._value, "    return value", "    return value + 0.0 if isinstance(value, float) else value")


@mutant("inspect", hints=["root-metadata-escaped-dollar", "root-metadata-integers"])
def rounds_large_integers_of_metadata(oracle: Patches) -> None:
    """Reads large integers of metadata as doubles."""
    oracle.edit(metadata._tag, "number = int(value)", "number = int(float(value))")


@mutant("inspect", hints=["root-metadata-unknown-tag"])
def passes_over_unknown_tags(oracle: Patches) -> None:
    """Takes an unknown tag of metadata for a member of that name."""
    oracle.edit(
        metadata._tag,
        "    ((name, value),) = members.items()",
        "    ((name, value),) = members.items()\n"
        "    if name not in {'$int', '$float'}:\n"
        "        return {name: _value(value)}",
    )


@mutant("inspect", hints=["root-metadata-dollar-names"])
def keeps_escapes_of_metadata(oracle: Patches) -> None:
    """Does not remove the leading $ that protects a name of metadata."""
    oracle.edit(metadata._members, 'name.removeprefix("$")', "name")


@mutant("inspect", hints=["root-metadata-dollar-names"])
def strips_escapes_of_metadata(oracle: Patches) -> None:
    """Removes all leading $ of a name of metadata, not one."""
    oracle.edit(metadata._members, 'name.removeprefix("$")', 'name.lstrip("$")')


@mutant("inspect", hints=["root-metadata-names-by-case", "root-metadata-*"])
def folds_names_of_metadata(oracle: Patches) -> None:
    """Gives one of two members of metadata whose names differ only in upper and lower case."""
    oracle.edit(messages.metadata, "value.items()", "{name.casefold(): (name, value[name]) for name in value}.values()")
