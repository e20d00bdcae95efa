"""What is checked before anything is fetched, and before anything is parsed."""

from __future__ import annotations

import pytest

from pyckpt.engine.open import checked_root, manifest_bytes
from pyckpt.errors import Corrupt, LimitExceeded
from pyckpt.format.root import decode_root, root_digest
from pyckpt.format.root_values import Descriptor, ItemEntry
from pyckpt.limits import MAX_MANIFEST_BYTES, MAX_MANIFEST_RAW_BYTES
from pyckpt.storage.memory import MemoryStore

KEY = "m/manifest-0123456789abcdef.msgpack.zst"


def entry(size, raw_size):
    return ItemEntry("model", Descriptor(KEY, None, size, "ab" * 32), raw_size, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("size", "raw_size"), [(MAX_MANIFEST_BYTES + 1, 1), (1, MAX_MANIFEST_RAW_BYTES + 1), (2**53 - 1, 2**53 - 1)]
)
def test_limits_come_before_the_manifest_is_asked_for(size, raw_size):
    store = MemoryStore("limits")
    with pytest.raises(LimitExceeded) as caught:
        manifest_bytes(store, "c", "m", entry(size, raw_size))
    assert caught.value.key == f"c/{KEY}"
    with pytest.raises(Corrupt) as missing:
        manifest_bytes(store, "c", "m", entry(MAX_MANIFEST_BYTES, MAX_MANIFEST_RAW_BYTES))
    assert missing.value.code == "manifest.missing"


def not_json():
    data = b'{"scf":1,"digest":"' + b"0" * 64 + b'",}'
    return data[:19] + root_digest(data).encode() + data[83:]


def test_the_expected_digest_comes_before_the_parser():
    data = not_json()
    for expect, code in ((root_digest(data), "root.syntax"), (None, "root.syntax"), ("ab" * 32, "root.digest")):
        with pytest.raises(Corrupt) as caught:
            checked_root(data, "c", expect)
        assert caught.value.code == code
    damaged = data[:-1] + b"]"
    with pytest.raises(Corrupt, match="of the bytes"):
        decode_root(damaged, expect="ab" * 32)
