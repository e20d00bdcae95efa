"""Bugs of committers: what they check, and when they do it."""

from __future__ import annotations

import json
import threading

from ..oracle import carry, commit, copying, manifest_write, union, writer
from ..oracle.encode import seal
from .mutant import mutant
from .patching import Patches


@mutant("sharded-write", hints=["sharded-writer-dies"])
def waits_for_ever(oracle: Patches) -> None:
    """Waits without a deadline for a writer that is dead."""
    oracle.edit(
        commit._collect,
        "        elif writer.fault is None:",
        "        elif writer.fault == 'dies':\n            for_ever()\n        elif writer.fault is None:",
        for_ever=threading.Event().wait,
    )


@mutant("transaction", hints=["tx-write-s3-kill-after", "tx-write-directory-kill-after"])
def creates_root_before_objects(oracle: Patches) -> None:
    """Creates the root before the data objects that it reaches."""
    later: list[tuple[object, str, bytes]] = []
    oracle.edit(
        writer.run_writer,
        'store.create(f"{attempt.checkpoint}/{key}", data)',
        'later.append((store, f"{attempt.checkpoint}/{key}", data))',
        later=later,
    )
    oracle.edit(
        commit.commit,
        "    discard(store, attempt.marker_key)  # step 14",
        "    while later:\n"
        "        place, key, data_object = later.pop(0)\n"
        "        place.create(key, data_object)\n"
        "    discard(store, attempt.marker_key)  # step 14",
        later=later,
    )


@mutant("transaction", hints=["tx-write-s3-kill-after", "tx-write-directory-kill-after"])
def creates_root_before_manifests(oracle: Patches) -> None:
    """Creates the root before the manifests that it names."""
    later: list[tuple[str, bytes]] = []
    oracle.edit(
        commit._Preparation.item,
        'self.store.create(f"{self.attempt.checkpoint}/{key}", stored)',
        'later.append((f"{self.attempt.checkpoint}/{key}", stored))',
        later=later,
    )
    oracle.edit(
        commit.commit,
        "    discard(store, attempt.marker_key)  # step 14",
        "    while later_manifests:\n"
        "        store.create(*later_manifests.pop(0))\n"
        "    discard(store, attempt.marker_key)  # step 14",
        later_manifests=later,
    )


@mutant("transaction", hints=["tx-write-s3-fail", "tx-write-s3-*"])
def puts_root_without_condition(oracle: Patches) -> None:
    """Creates the root by a plain put after it has found the key free."""
    oracle.edit(
        commit.commit,
        "outcome = claim(store, root_key, data, weak=weak)",
        'outcome = store.put(root_key, data) or "created"',
    )


@mutant("write", hints=["write-name-taken"])
def overwrites_existing_root(oracle: Patches) -> None:
    """Overwrites a checkpoint of the same name."""
    oracle.edit(commit.commit, "if exists(store, root_key):", "if False:")
    oracle.edit(
        commit.commit,
        "outcome = claim(store, root_key, data, weak=weak)",
        'outcome = store.put(root_key, data) or "created"',
    )


@mutant("write", hints=["write-name-taken"])
def takes_existing_root_for_its_own(oracle: Patches) -> None:
    """Reports success when a root of the same name is there."""
    oracle.edit(commit.commit, "if exists(store, root_key):", "if False:")
    oracle.edit(commit.commit, '    if outcome == "taken":\n', "    if False:\n")


@mutant("transaction", hints=["stores-s3-root-answer-lost"])
def takes_own_root_for_anothers(oracle: Patches) -> None:
    """Reports a loss when the answer to the creation of its own root was lost."""
    oracle.edit(commit.commit, '    if outcome == "taken":\n', '    if outcome != "created":\n')


@mutant("transaction", hints=["sharded-after-failure", "write-after-refusal", "tx-write-s3-kill-after"])
def draws_attempt_from_name(oracle: Patches) -> None:
    """Derives the attempt from the name of the checkpoint, and meets its own garbage in the next try."""
    oracle.edit(commit._begin, "drawn = secrets.token_hex(8)", 'drawn = f"{given.checkpoint.encode().hex():0<16.16}"')


@mutant("write", hints=["stores-s3-weak-refused"])
def does_not_probe_condition(oracle: Patches) -> None:
    """Relies on create-if-absent in a store that ignores the condition."""
    oracle.edit(commit._is_weak, "weak = not honours_condition(store, given.checkpoint)", "weak = False")


@mutant("write", hints=["stores-s3-weak-accepted"])
def does_not_say_weak(oracle: Patches) -> None:
    """Does not report that it has committed under the weaker guarantee."""
    oracle.edit(commit.commit, "attempt.id, weak, same)", "attempt.id, False, same)")


@mutant("sharded-write", hints=["sharded-store-split"])
def does_not_look_for_marker(oracle: Patches) -> None:
    """Does not check that all writers see the same store."""
    oracle.edit(writer.run_writer, "if holds(store, attempt.marker_key, attempt.marker) is not True:", "if False:")


@mutant("sharded-write", hints=["sharded-writer-dies"])
def commits_without_silent_writers(oracle: Patches) -> None:
    """Commits without the writers that are silent."""
    oracle.edit(commit._collect, "if silent:", "if len(silent) == len(writers):")
    oracle.edit(
        commit._collect,
        "[found.table for found in writers if found.table is not None]",
        "[found.table or {} for found in writers]",
    )
    oracle.edit(manifest_write.assign, "_check_tiling(tensor, [", "list([")


@mutant("sharded-write", hints=["sharded-writer-fails"])
def commits_without_failed_writers(oracle: Patches) -> None:
    """Commits without the writers that have failed."""
    oracle.edit(commit._collect, "if failures:", "if len(failures) == len(writers):")
    oracle.edit(commit._collect, "if found.table is None]", "if found.table is None and found.failure is None]")
    oracle.edit(
        commit._collect,
        "[found.table for found in writers if found.table is not None]",
        "[found.table or {} for found in writers]",
    )


@mutant("sharded-write", hints=["sharded-inexact-gap"])
def commits_without_tiling(oracle: Patches) -> None:
    """Does not check that the shards of a tensor tile it."""
    oracle.edit(manifest_write.assign, "_check_tiling(tensor, [", "list([")


@mutant("sharded-write", hints=["sharded-rows-four"])
def drops_parts_as_replicas(oracle: Patches) -> None:
    """Takes the parts of a tensor that other writers hold for replicas of the first writer's, and drops them."""
    oracle.edit(
        manifest_write.assign,
        "first.setdefault((tensor.number, shard.region), (writer, shard))",
        "first.setdefault((tensor.number, writer if not writer else 1), (writer, shard))",
    )
    oracle.edit(manifest_write.assign, "if original.decoded_digests != shard.decoded_digests:", "if False:")
    oracle.edit(manifest_write.assign, "_check_tiling(tensor, [", "list([")


@mutant("sharded-write", hints=["sharded-diverged-replica"])
def does_not_compare_replicas(oracle: Patches) -> None:
    """Keeps the first writer's bytes of a region, though another writer has other ones."""
    oracle.edit(manifest_write.assign, "if original.decoded_digests != shard.decoded_digests:", "if False:")


@mutant("sharded-write", hints=["sharded-replicas"])
def keeps_all_replicas(oracle: Patches) -> None:
    """Assigns a region to every writer that has stored it."""
    oracle.edit(manifest_write.assign, "Row(tensor if original is shard else None,", "Row(tensor,")
    oracle.edit(manifest_write.assign, "_check_tiling(tensor, [", "list([")


@mutant("sharded-write", hints=["sharded-aliases-disagree-reversed"])
def ties_as_the_first_writer_does(oracle: Patches) -> None:
    """Takes the first writer's word for which leaves are one tensor, though another one ties others."""
    oracle.edit(
        union._tensors,
        "    for place in places:\n        for writer, tensor in place.held:\n            group",
        "    for place in places:\n        for writer, tensor in place.held[:1]:\n            group",
    )


@mutant("write", hints=["write-sequence"])
def numbers_by_count(oracle: Patches) -> None:
    """Takes the number of checkpoints and one for the sequence."""
    oracle.edit(
        commit._Preparation.root,
        '"sequence": _sequence(last, given.checkpoint)',
        '"sequence": 1 + len(list_checkpoints(store))',
    )


@mutant("write", hints=["write-sequence-damaged"])
def fails_beside_damaged_roots(oracle: Patches) -> None:
    """Fails to save beside a checkpoint with a damaged root."""
    oracle.edit(commit._newest, ' and one.refusal.code == "store.io"', "")


@mutant("transaction", hints=["stores-s3-write-old-root-fails", "tx-write-s3-fail"])
def numbers_in_spite_of_failures(oracle: Patches) -> None:
    """Takes a root that the store fails to give for a damaged one, and numbers without it."""
    oracle.edit(commit._newest, "    if failures:", "    if False:")


@mutant("lifecycle", hints=["carry-from-carrier"])
def carries_over_by_chain(oracle: Patches) -> None:
    """Names the checkpoint that an item was carried over from, not its origin."""
    oracle.edit(carry._by_store_key, "one.at(source)", 'f"{source}/" + one.at(source).partition("/")[2]')


@mutant("write", hints=["carry-item"])
def leaves_external_empty(oracle: Patches) -> None:
    """Does not list the checkpoints whose objects it references."""
    oracle.edit(carry.joined_external, "for name in sorted(found)]", "for name in ()]")


@mutant("write", hints=["carry-borrowing"])
def lists_origin_of_manifest_alone(oracle: Patches) -> None:
    """Lists the origin of a carried manifest, but not those of the data objects in it."""
    oracle.edit(carry.carry_over, ", *object_keys(store, root, item)]", "]")


@mutant("write", hints=["carry-refused-tombstone"])
def references_what_is_being_deleted(oracle: Patches) -> None:
    """References a checkpoint whose deletion has begun."""
    oracle.edit(carry.check_external, "if exists(store, tombstone_key(name, digest)):", "if False:")


@mutant("write", hints=["carry-refused-origin-gone"])
def references_what_is_gone(oracle: Patches) -> None:
    """Does not look whether the checkpoints that it references are still there."""
    oracle.edit(commit._Preparation.check, "check_external(self.store, external)", "pass")


@mutant("write", hints=["carry-refused-origin-renewed"])
def references_another_root(oracle: Patches) -> None:
    """Does not compare the root digests of the checkpoints that it references."""
    oracle.edit(carry.check_external, "if root.digest != digest:", "if False:")


@mutant("write", hints=["carry-refused-feature"])
def references_unknown_features(oracle: Patches) -> None:
    """Carries over from a checkpoint with unknown features for writers."""
    oracle.edit(carry.carry_over, "open_root(store, source, writing=True)", "open_root(store, source)")
    oracle.edit(carry.check_external, "open_root(store, name, writing=True)", "open_root(store, name)")


@mutant("lifecycle", hints=["copy-carrier"])
def copies_own_objects_alone(oracle: Patches) -> None:
    """Copies a checkpoint without the objects of others that it uses."""
    oracle.edit(
        copying.copy,
        "for key in sorted(reached(source, root)):",
        "for key in sorted(k for k in reached(source, root) if k.startswith(checkpoint + '/')):",
    )


@mutant("lifecycle", hints=["copy-refused-block"])
def copies_damage(oracle: Patches) -> None:
    """Copies a checkpoint without a look at the digests of its blocks."""
    oracle.edit(copying.copy, "    _check_sound(source, checkpoint)", "    pass")


@mutant("lifecycle", hints=["copy-again"])
def copies_once_only(oracle: Patches) -> None:
    """Takes a checkpoint that is there already for another one."""
    oracle.edit(copying.copy, ", MAX_ROOT_BYTES) == data:  # SCF-COPY-007", ', MAX_ROOT_BYTES) == b"":')


@mutant("lifecycle", hints=["copy-unknown"])
def copies_known_members_alone(oracle: Patches) -> None:
    """Writes the root of a copy anew, without members that it does not know."""
    oracle.edit(
        copying.copy,
        "    if name in root.external:",
        "    data = rewritten(data)\n    if name in root.external:",
        rewritten=_rewritten,
    )


_MEMBERS = ("spec", "attempt", "created", "writer", "features", "sequence", "parent", "metadata", "items", "external")


def _rewritten(root: bytes) -> bytes:
    """A root with the members of 1.0 alone, and its new digest."""
    members = json.loads(root)
    kept = {name: members[name] for name in _MEMBERS}
    return seal(json.dumps(kept, ensure_ascii=False, separators=(",", ":"))[1:].encode())


@mutant("write", hints=["write-marker-removed"], level="SHOULD")
def leaves_attempt_marker(oracle: Patches) -> None:
    """Leaves the attempt marker after the commit."""
    oracle.edit(commit.commit, "    discard(store, attempt.marker_key)  # step 14", "    pass")


@mutant("write", hints=["write-unchanged"], level="SHOULD")
def does_not_warn_of_unchanged_state(oracle: Patches) -> None:
    """Saves the same bytes again without a warning."""
    oracle.edit(commit.commit, "attempt.id, weak, same)", "attempt.id, weak, False)")


@mutant("write", hints=["write-changed"], level="SHOULD")
def warns_of_changed_state(oracle: Patches) -> None:
    """Warns of unchanged state when part of it has changed."""
    oracle.edit(commit.commit, "attempt.id, weak, same)", "attempt.id, weak, True)")
