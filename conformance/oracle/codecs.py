"""Codec chains of a manifest, and the decoding of a block (chapter 11)."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from . import frame
from .errors import Rejected
from .limits import MAX_CHAIN, MAX_CODECS
from .mpack import Float, Packed, PackedMap
from .tables import fault, map_of

Chain = tuple[PackedMap, ...]
Decoder = Callable[[bytes, int], bytes]
"""From the stored bytes of a block and its decoded size to its decoded bytes."""

CODECS = ("zstd", "planes")
_HEADER = 9


def read_chains(packed: list[Packed]) -> list[Chain]:
    """The chains by number; the first and no other is empty, no two are equal (SCF-MAN-012)."""
    if not 1 <= len(packed) <= MAX_CODECS:
        raise fault(f"codecs has {len(packed)} chains")
    chains = []
    seen = set()
    for number, element in enumerate(packed):
        if not isinstance(element, list) or len(element) > MAX_CHAIN:
            raise fault(f"chain {number} is no array of up to {MAX_CHAIN} codecs")
        if bool(element) != bool(number):
            raise fault("chain 0 is not empty, or a later one is")
        chain = tuple(map_of(codec, f"a codec of chain {number}") for codec in element)
        if not all(isinstance(codec.get("id"), str) and codec["id"] for codec in chain):
            raise fault(f"a codec of chain {number} has no id")
        form = tuple(_form(codec) for codec in chain)
        if form in seen:
            raise fault(f"chain {number} is equal to another one")
        seen.add(form)
        chains.append(chain)
    return chains


def _form(value: Packed) -> Hashable:
    """Equal for values that are equal in kind and value, whatever the order of a map; floats by their bits."""
    if isinstance(value, dict):
        return "map", frozenset((_form(key), _form(child)) for key, child in value.items())
    if isinstance(value, list):
        return "array", tuple(_form(element) for element in value)
    if isinstance(value, Float):
        return "float", value.bits
    return type(value).__name__, value if isinstance(value, (bool, int, str, bytes)) else None


def decoder(chain: Chain) -> Decoder | None:
    """What decodes blocks of the chain; None if it is not implemented (SCF-CODEC-002, SCF-CODEC-003)."""
    if not chain:
        return _stored
    if len(chain) > 1:
        return None
    (codec,) = chain
    if codec["id"] == "zstd":
        return frame.decompress
    item = codec.get("item")
    if codec["id"] == "planes" and isinstance(item, int) and item in {2, 4, 8}:  # SCF-CODEC-004
        return _planes(item)
    return None


def decode(decoding: Decoder, stored: bytes, size: int, subject: str) -> bytes:
    """The decoded bytes of a block, exactly `size` (SCF-CODEC-007)."""
    try:
        return decoding(stored, size)
    except frame.FrameFault as error:
        raise Rejected("block.codec", str(error), subject=subject) from error


def _stored(stored: bytes, _: int) -> bytes:
    """Chain 0: the stored size of a block is its decoded size (section 7.8)."""
    return stored


def _planes(item: int) -> Decoder:
    def decode_planes(stored: bytes, size: int) -> bytes:
        """Section 11.4; the lengths are added up before a plane is looked at (SCF-CODEC-008, SCF-CODEC-010)."""
        rows = size // item
        headers = [stored[_HEADER * plane : _HEADER * (plane + 1)] for plane in range(item)]
        lengths = [int.from_bytes(header[1:], "little") for header in headers]
        if _HEADER * item + sum(lengths) + size - rows * item != len(stored):
            raise frame.FrameFault("the planes and the tail do not add up to the stored size")
        decoded = bytearray(size)
        at = _HEADER * item
        for plane, (header, length) in enumerate(zip(headers, lengths, strict=True)):
            decoded[plane : rows * item : item] = _plane(header[0], stored[at : at + length], rows)
            at += length
        decoded[rows * item :] = stored[at:]
        return bytes(decoded)

    return decode_planes


def _plane(mode: int, data: bytes, rows: int) -> bytes:
    if mode == 0 and len(data) == rows:
        return data
    if mode == 1 and rows:
        return frame.decompress(data, rows)
    raise frame.FrameFault(f"a plane of mode {mode} and {len(data)} bytes for {rows} items")
