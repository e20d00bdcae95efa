"""A verbatim copy of a checkpoint (section 13.7): every object, then the root."""

from __future__ import annotations

from . import names
from .errors import Rejected
from .limits import MAX_ROOT_BYTES
from .opening import check_checkpoint_name, open_root
from .reach import reached, tombstones
from .root import Root
from .store import Store
from .verify import verify
from .writable import WritableStore, claim, exists, honours_condition

_UNKNOWN = {"dtype.unsupported", "codec.unsupported", "digest.unsupported", "tree.schema"}
"""What a program that copies keeps without knowing it (section 17.2)."""


def copy(source: Store, checkpoint: str, target: WritableStore, name: str) -> str:
    """Copy a checkpoint under this name, and give its root digest, which is the same (SCF-CONV-008)."""
    check_checkpoint_name(name)
    root = open_root(source, checkpoint)
    data = source.get(f"{checkpoint}/{names.ROOT}", MAX_ROOT_BYTES)
    if name in root.external:
        message = f"the checkpoint uses objects of another one that is called {name}"
        raise Rejected("usage.invalid", message, subject=name, phase="commit")
    if exists(target, f"{name}/{names.ROOT}"):
        if target.get(f"{name}/{names.ROOT}", MAX_ROOT_BYTES) == data:  # SCF-COPY-007
            return root.digest
        raise _exists(name)
    _check_sound(source, checkpoint)
    if not honours_condition(target, name):
        raise Rejected("store.condition", "the store does not honour create-if-absent", subject=name, phase="commit")
    buried = bool(tombstones(target, name))
    assets = {asset.at(checkpoint) for item in root.items.values() for asset in item.assets.values()}
    for key in sorted(reached(source, root)):
        place = _place(key, root, name)
        kind = "asset" if key in assets else "block"
        _copy_object(source, key, target, place, kind, buried=buried and place.startswith(f"{name}/"))
    if claim(target, f"{name}/{names.ROOT}", data) == "taken":
        raise _exists(name)
    return root.digest


def _exists(name: str) -> Rejected:
    return Rejected("checkpoint.exists", f"there is a checkpoint {name}", subject=name, phase="commit")


def _check_sound(source: Store, checkpoint: str) -> None:
    """Damage is not copied (SCF-CONV-002)."""
    for found in verify(source, checkpoint, deep=True):
        if found.code not in _UNKNOWN:
            raise Rejected(found.code, found.message, subject=found.subject, phase=_phase(found.code))


def _phase(code: str) -> str | None:
    return "read" if code == "limit.exceeded" else None


def _place(key: str, root: Root, name: str) -> str:
    """Own objects go below the new name, those of other checkpoints under their own key (SCF-REF-006)."""
    checkpoint, _, rest = key.partition("/")
    return f"{name}/{rest}" if checkpoint == root.checkpoint else key


def _copy_object(source: Store, key: str, target: WritableStore, place: str, kind: str, *, buried: bool) -> None:
    """Create an object with the time of now (SCF-COMMIT-013); one with the same bytes may be there."""
    outcome = claim(target, place, source.get(key))
    if outcome == "taken":
        raise Rejected(f"{kind}.digest", "the key holds another object", subject=place, phase="read")
    if outcome == "same" and buried:  # SCF-COMMIT-011
        message = "an object of a deleted checkpoint is there, which a collector may be about to remove"
        raise Rejected("usage.invalid", message, subject=place, phase="commit")
