"""Makes a checkpoint cease to exist, leaving its bytes to garbage collection (specification, section 13.4)."""

from __future__ import annotations

from contextlib import suppress

from pyckpt.engine.open import root_bytes
from pyckpt.errors import NotFound, UsageError
from pyckpt.format.keys import root_key, tombstone_key
from pyckpt.format.root import decode_root
from pyckpt.storage.base import Store

__all__ = ["delete"]


def delete(store: Store, name: str, *, expect: str | None = None) -> str:
    """Removes the root of ``name`` and gives its digest; readers and saves in flight keep the grace period.

    ``expect`` is the digest that the root must have. Raises NotFound ``checkpoint.missing``, Corrupt ``root.*`` (a
    damaged root doesn't say what it reaches; remove the file by hand after a look), Unsupported, UsageError if another
    checkpoint takes the name meanwhile.
    """
    data = root_bytes(store, name)
    digest = decode_root(data, for_writing=True, checkpoint=name, expect=expect).digest
    store.put(tombstone_key(name, digest), data)
    with suppress(NotFound):
        if root_bytes(store, name) != data:
            raise UsageError(
                "usage.invalid",
                "another checkpoint took this name while it was being deleted",
                key=name,
                hint="look at it, then delete again",
            )
        store.delete(root_key(name))
    return digest
