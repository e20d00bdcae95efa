from __future__ import annotations

import hashlib

import pytest

from pyckpt.errors import Unsupported
from pyckpt.format.digest import DIGEST_BYTES, DIGESTS, digest, digest_function, sha256_hex


def test_registry():
    assert DIGESTS == {"blake3", "sha256"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # the empty input, from the published test vectors of both algorithms
        ("blake3", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        ("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_known_digests(name, expected):
    assert digest(name, b"").hex() == expected
    assert digest_function(name)(memoryview(bytearray())).hex() == expected


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_digests_cover_every_byte(name):
    data = bytearray(range(256)) * 8
    seen = {digest(name, data)}
    for position in range(0, len(data), 97):
        data[position] ^= 1
        seen.add(digest(name, memoryview(data)))
        data[position] ^= 1
    assert len(seen) == 1 + len(range(0, len(data), 97))
    assert {len(value) for value in seen} == {DIGEST_BYTES}


@pytest.mark.parametrize("name", ["md5", "", "BLAKE3", "sha256 ", "x" * 1000])
def test_unknown_algorithm(name):
    with pytest.raises(Unsupported) as caught:
        digest_function(name)
    assert caught.value.code == "digest.unsupported"
    assert len(str(caught.value)) < 500


def test_hex_of_descriptors():
    assert sha256_hex(b"abc") == hashlib.sha256(b"abc").hexdigest()
