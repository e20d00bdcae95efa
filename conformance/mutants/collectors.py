"""Bugs of collectors: deletion and garbage collection."""

from __future__ import annotations

import time

from ..oracle import collect, delete, reach
from .mutant import mutant
from .patching import Patches


@mutant("lifecycle", hints=["delete-plain"])
def deletes_objects_with_root(oracle: Patches) -> None:
    """Removes the objects of a checkpoint together with its root."""
    oracle.edit(
        delete.delete,
        "    _remove(store, key)",
        "    _remove(store, key)\n    for one in store.list(f'{checkpoint}/'):\n        store.delete(one.key)",
    )


@mutant("lifecycle", hints=["delete-plain"])
def writes_no_tombstone(oracle: Patches) -> None:
    """Deletes without a tombstone."""
    oracle.edit(delete.delete, "store.put(tombstone_key(checkpoint, digest), data)", "pass")


@mutant("lifecycle", hints=["delete-plain"])
def writes_empty_tombstone(oracle: Patches) -> None:
    """Writes a tombstone without the bytes of the root."""
    oracle.edit(
        delete.delete,
        "store.put(tombstone_key(checkpoint, digest), data)",
        "store.put(tombstone_key(checkpoint, digest), b'{}')",
    )


@mutant("lifecycle", hints=["delete-again-old"])
def keeps_old_tombstone(oracle: Patches) -> None:
    """Leaves the tombstone of an interrupted deletion as it is, with its old time."""
    oracle.edit(
        delete.delete,
        "    store.put(tombstone_key(checkpoint, digest), data)",
        "    if not store.list(tombstone_key(checkpoint, digest)):\n"
        "        store.put(tombstone_key(checkpoint, digest), data)",
    )


@mutant("transaction", hints=["tx-delete-s3-kill-after"])
def writes_tombstone_last(oracle: Patches) -> None:
    """Writes the tombstone after it has removed the root."""
    oracle.edit(
        delete.delete,
        "    store.put(tombstone_key(checkpoint, digest), data)",
        "    store.delete(key)\n    store.put(tombstone_key(checkpoint, digest), data)",
    )


@mutant("lifecycle", hints=["delete-refused-missing"])
def deletes_what_is_not_there(oracle: Patches) -> None:
    """Reports success for the deletion of a checkpoint that does not exist."""
    oracle.edit(
        delete.delete,
        'raise Rejected("checkpoint.missing", message, subject=checkpoint, phase="delete") from None',
        "return",
    )


@mutant("lifecycle", hints=["delete-refused-damaged"])
def deletes_damaged_roots(oracle: Patches) -> None:
    """Deletes a checkpoint without checking its root."""
    oracle.edit(delete.delete, "read_root(data, checkpoint, writing=True).digest", "root_digest(data)")


@mutant("lifecycle", hints=["delete-refused-feature"])
def deletes_in_spite_of_features(oracle: Patches) -> None:
    """Deletes a checkpoint with unknown features for writers."""
    oracle.edit(delete.delete, "read_root(data, checkpoint, writing=True)", "read_root(data, checkpoint)")


@mutant("lifecycle", hints=["gc-below-grace"])
def ignores_grace(oracle: Patches) -> None:
    """Collects garbage of any age."""
    oracle.edit(collect._Collection.old, "self.now - one.mtime >= self.grace", "True")


@mutant("lifecycle", hints=["stores-s3-gc-clock-ahead", "stores-s3-gc-clock-behind"])
def measures_ages_by_own_clock(oracle: Patches) -> None:
    """Measures ages by the clock of its own machine."""
    oracle.edit(collect._Collection.__init__, "store.clock()", "local()", local=time.time)


@mutant("lifecycle", hints=["gc-carried"])
def ignores_references_of_others(oracle: Patches) -> None:
    """Keeps only what a checkpoint's own root reaches, not what those of others do."""
    oracle.edit(
        collect._Collection.run,
        "for key in reached(self.store, root)}",
        "for key in reached(self.store, root) if key.startswith(f'{root.checkpoint}/')}",
    )


@mutant("lifecycle", hints=["gc-carried-without-tombstone"])
def ignores_objects_of_carried_manifests(oracle: Patches) -> None:
    """Keeps the manifests that a root names in other checkpoints, but not the objects that they list."""
    oracle.edit(
        reach.item_reaches,
        "    yield from object_keys(store, root, item)",
        "    if item.manifest.store_key is None:\n        yield from object_keys(store, root, item)",
    )


@mutant("lifecycle", hints=["gc-foreign"])
def collects_foreign_objects(oracle: Patches) -> None:
    """Removes whatever lies in a checkpoint's directory and is not reached."""
    oracle.edit(
        collect.candidate,
        "        return checkpoint, displaced.group(1), 2\n    return None",
        "        return checkpoint, displaced.group(1), 2\n"
        "    return (checkpoint, '', 4) if rest and rest != names.ROOT else None",
    )


@mutant("lifecycle", hints=["gc-failed-attempt", "gc-*"])
def collects_plain_assets(oracle: Patches) -> None:
    """Removes plain assets that no root reaches, without a tombstone that names them."""
    oracle.edit(
        collect.candidate,
        "        return checkpoint, displaced.group(1), 2\n    return None",
        "        return checkpoint, displaced.group(1), 2\n"
        "    return (checkpoint, '', 4) if below and names.is_item(item) and names.is_asset(below) else None",
    )


@mutant("lifecycle", hints=["gc-deleted"])
def never_collects_assets(oracle: Patches) -> None:
    """Leaves the plain assets of deleted checkpoints for ever."""
    oracle.edit(collect._Collection.run, "self.remove_assets(chosen, buried)", "pass")


@mutant("lifecycle", hints=["gc-failed-attempt", "gc-deleted"])
def never_collects_displaced_assets(oracle: Patches) -> None:
    """Does not know the directories of assets with an attempt."""
    oracle.edit(collect.candidate, "if displaced and", "if False and")


@mutant("lifecycle", hints=["gc-refused-damaged-root"])
def collects_beside_damaged_roots(oracle: Patches) -> None:
    """Goes on collecting when it can't read a root."""
    oracle.edit(collect._Collection.roots, 'if refusal.code != "checkpoint.missing":', "if False:")


@mutant("lifecycle", hints=["gc-refused-damaged-manifest"])
def collects_beside_damaged_manifests(oracle: Patches) -> None:
    """Goes on collecting when it can't read a manifest that a root names."""
    oracle.edit(
        reach.item_reaches,
        "    yield from object_keys(store, root, item)",
        "    try:\n        yield from object_keys(store, root, item)\n    except Rejected:\n        pass",
    )


@mutant("lifecycle", hints=["gc-refused-write-feature"])
def collects_in_spite_of_features(oracle: Patches) -> None:
    """Collects beside a checkpoint with unknown features for writers."""
    oracle.edit(collect._Collection.roots, "open_root(self.store, name, writing=True)", "open_root(self.store, name)")


@mutant("lifecycle", hints=["gc-nothing"])
def collects_old_checkpoints(oracle: Patches) -> None:
    """Removes checkpoints that are older than the grace period."""
    oracle.edit(
        collect._Collection.run,
        "    roots = self.roots()",
        "    for one in self.store.list(''):\n"
        "        if one.key.endswith('/checkpoint.json') and self.old(one):\n"
        "            self.take(one.key)\n"
        "    roots = self.roots()",
    )


@mutant("lifecycle", hints=["gc-dry-run"], level="SHOULD")
def removes_in_dry_runs(oracle: Patches) -> None:
    """Removes in a dry run."""
    oracle.edit(collect._Collection.take, "if not self.dry_run:", "if True:")


@mutant("lifecycle", hints=["gc-young-tombstone"])
def ignores_young_tombstones(oracle: Patches) -> None:
    """Removes what a checkpoint reached that has just been deleted."""
    oracle.edit(collect._Collection.run, "for one in tombs if not self.old(one)", "for one in tombs if False")


@mutant("lifecycle", hints=["gc-interrupted-deletion"])
def finishes_deletions(oracle: Patches) -> None:
    """Removes the root of a checkpoint whose deletion was interrupted."""
    oracle.edit(
        collect._Collection.run,
        "    for tomb in buried:  # step 7",
        "    for tomb in buried:\n"
        "        if _stands(roots, tomb.root):\n"
        "            self.take(f'{tomb.root.checkpoint}/{names.ROOT}')\n"
        "    for tomb in buried:  # step 7",
    )


@mutant("lifecycle", hints=["gc-interrupted-deletion"])
def removes_tombstones_of_standing_roots(oracle: Patches) -> None:
    """Removes the old tombstone of a checkpoint that still has its root."""
    oracle.edit(collect._Collection.run, "if not left and not _stands(roots, tomb.root):", "if not left:")


@mutant("lifecycle", hints=["gc-deleted"])
def never_removes_tombstones(oracle: Patches) -> None:
    """Leaves tombstones for ever."""
    oracle.edit(collect._Collection.run, "if not left and not _stands(roots, tomb.root):", "if False:")


@mutant("lifecycle", hints=["gc-old-tombstone-young-asset"])
def removes_tombstones_first(oracle: Patches) -> None:
    """Removes a tombstone before the objects that it reaches."""
    oracle.edit(
        collect._Collection.run,
        "    self.remove(chosen)\n",
        "    for tomb in buried:\n"
        "        if not _stands(roots, tomb.root):\n"
        "            self.take(tomb.key)\n"
        "    self.remove(chosen)\n",
    )
    oracle.edit(collect._Collection.run, "if not left and not _stands(roots, tomb.root):", "if False:")


@mutant("lifecycle", hints=["gc-default-grace"], level="SHOULD")
def has_short_default_grace(oracle: Patches) -> None:
    """Has a grace period of an hour by default."""
    oracle.name(collect, "DEFAULT_GRACE", 3600)
