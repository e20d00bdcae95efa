"""What a store has lost or changed between two moments: for audits, and for the judges of transactions."""

from __future__ import annotations

from collections.abc import Collection

from . import names
from .errors import Rejected
from .listing import list_checkpoints
from .reach import reached, tombstone_key
from .snapshot import Snapshot
from .store import NoSuchKey, Store


def kept(before: Snapshot, after: Store, *, but: Collection[str] = ()) -> list[str]:
    """What is wrong with the checkpoints that were there before, other than `but`: each is whole and unchanged."""
    return [wrong for name in checkpoints(before) if name not in but for wrong in changed(before, after, name)]


def checkpoints(store: Store) -> list[str]:
    """The names of all checkpoints, those with a damaged root too."""
    return [one.name for one in list_checkpoints(store)]


def changed(before: Snapshot, after: Store, checkpoint: str) -> list[str]:
    """What differs of the objects that a checkpoint had before: its root, and all that this reaches."""
    keys = [f"{checkpoint}/{names.ROOT}", *sorted(reached_keys(before, checkpoint))]
    return [wrong for key in keys if key in before.objects and (wrong := _differs(before, after, key))]


def reached_keys(store: Store, checkpoint: str) -> set[str]:
    """What a checkpoint reaches; of one that can't be read, nothing is known."""
    for one in list_checkpoints(store):
        if one.name == checkpoint and one.root is not None:
            try:
                return reached(store, one.root)
            except Rejected:
                return set()
    return set()


def _differs(before: Snapshot, after: Store, key: str) -> str:
    try:
        same = after.get(key) == before.objects[key]
    except NoSuchKey:
        return f"{key} is gone"
    return "" if same else f"{key} has other bytes than before"


def untouched(before: Snapshot, after: Snapshot, *, but: Collection[str] = ()) -> list[str]:
    """What differs of all objects that were there before, other than these keys."""
    return [wrong for key in before.objects if key not in but and (wrong := _differs(before, after, key))]


def deleted_or_whole(before: Snapshot, after: Snapshot, checkpoint: str) -> list[str]:
    """What is wrong after a deletion, finished or interrupted (section 13.4).

    The checkpoint is whole, or its root is gone and a tombstone has its bytes; nothing else has changed.
    """
    key = f"{checkpoint}/{names.ROOT}"
    root = next((one.root for one in list_checkpoints(before) if one.name == checkpoint), None)
    tomb = tombstone_key(checkpoint, root.digest) if root else ""
    wrong = untouched(before, after, but={key, tomb})
    if key in before.objects and key not in after.objects:
        if after.objects.get(tomb) != before.objects[key]:
            wrong.append(f"{key} is gone, and no tombstone has its bytes")
    elif _differs(before, after, key) if key in before.objects else False:
        wrong.append(f"{key} has other bytes than before")
    return wrong + [f"{new} is new" for new in sorted(after.objects.keys() - before.objects.keys() - {tomb})]


def collected(before: Snapshot, after: Snapshot) -> list[str]:
    """What is wrong after a collection, finished or interrupted: checkpoints are whole, what is left is unchanged."""
    wrong = kept(before, after)
    wrong += [f"{key} has other bytes" for key, data in after.objects.items() if before.objects.get(key, data) != data]
    return wrong + [f"{key} is new" for key in sorted(after.objects.keys() - before.objects.keys())]
