"""Bugs of readers in the way they use a store: listings, links, other checkpoints."""

from __future__ import annotations

from ..oracle import listing, manifest, opening, store
from .mutant import mutant
from .patching import Patches


@mutant("inspect", hints=["stores-link-root"])
def follows_links_out_of_store(oracle: Patches) -> None:
    """Follows symbolic links that lead out of the store."""
    oracle.edit(store.DirectoryStore._inside, "if os.path.commonpath([self._root, path]) != self._root:", "if False:")


@mutant("inspect", hints=["layout-caller-checkpoint-space"])
def takes_any_checkpoint_name(oracle: Patches) -> None:
    """Takes a checkpoint name from the caller without looking at it."""
    oracle.edit(opening.check_checkpoint_name, "if not names.is_checkpoint(checkpoint):", "if False:")


@mutant("inspect", hints=["layout-caller-item-space"])
def takes_any_item_name(oracle: Patches) -> None:
    """Calls an item name outside the grammar a missing item."""
    oracle.edit(opening.find_item, "if not names.is_item(name):", "if False:")


@mutant("inspect", hints=["list-greatest-sequence"])
def picks_newest_by_name(oracle: Patches) -> None:
    """Takes the last name for the newest checkpoint."""
    oracle.edit(listing.newest, "(root.sequence, root.digest)", "root.checkpoint")


@mutant("inspect", hints=["list-created"])
def picks_newest_by_time(oracle: Patches) -> None:
    """Takes the checkpoint that was created last for the newest."""
    oracle.edit(listing.newest, "(root.sequence, root.digest)", "root.created")


@mutant("inspect", hints=["list-tie"])
def breaks_ties_by_name(oracle: Patches) -> None:
    """Takes the last name for the newest of several checkpoints of one sequence."""
    oracle.edit(listing.newest, "(root.sequence, root.digest)", "(root.sequence, root.checkpoint)")


@mutant("inspect", hints=["list-damaged"])
def hides_damaged_roots(oracle: Patches) -> None:
    """Leaves checkpoints whose root it refuses out of a listing."""
    oracle.edit(listing.list_checkpoints, 'if refusal.code != "checkpoint.missing":', "if False:")


@mutant("inspect", hints=["list-damaged"])
def fails_to_list_damaged_roots(oracle: Patches) -> None:
    """Fails to list a store in which one root is damaged."""
    oracle.edit(
        listing.list_checkpoints,
        'if refusal.code != "checkpoint.missing":',
        'if refusal.code != "checkpoint.missing":\n                raise',
    )


@mutant("inspect", hints=["list-leftovers"])
def lists_directories_without_root(oracle: Patches) -> None:
    """Shows every directory of a store as a checkpoint."""
    oracle.edit(listing.list_checkpoints, 'if refusal.code != "checkpoint.missing":', "if True:")


@mutant("inspect", hints=["references-root-gone"])
def requires_external_roots(oracle: Patches) -> None:
    """Demands that the checkpoints of external are there."""
    oracle.edit(
        opening.open_root,
        "    return read_root(data, checkpoint, expect=expect, writing=writing)",
        "    root = read_root(data, checkpoint, expect=expect, writing=writing)\n"
        "    for name in root.external:\n"
        "        if names.ROOT not in store.names(f'{name}/'):\n"
        "            raise Rejected('external.missing', name, subject=name, phase='manifest')\n"
        "    return root",
    )


@mutant("inspect", hints=["manifest-items-no-manifest"])
def opens_all_items(oracle: Patches) -> None:
    """Needs the manifests of all items to open one."""
    oracle.edit(
        opening.open_item,
        "    raw = fetch(store, root, item, limits)",
        "    for other in root.items.values():\n"
        "        fetch(store, root, other, limits)\n"
        "    raw = fetch(store, root, item, limits)",
    )


@mutant("inspect", hints=["references-item-manifest-gone"])
def calls_all_missing_manifests_own(oracle: Patches) -> None:
    """Reports a missing manifest of another checkpoint as one of its own."""
    oracle.edit(
        manifest.fetch,
        '"manifest.missing" if item.manifest.store_key is None else "external.missing"',
        '"manifest.missing"',
    )
