"""The header of a data object: the safetensors profile of chapter 9."""

from __future__ import annotations

from dataclasses import dataclass

from .dtypes import DTYPES
from .errors import Rejected
from .json_profile import Json, JsonFault, parse
from .limits import DATA_ALIGNMENT, MAX_HEADER_BYTES, MAXINT, MIN_HEADER_BYTES

METADATA = "__metadata__"
_MEMBERS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `begin` and `end` count from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The metadata, None if there is none, and the entries by name, in the order of their data."""

    metadata: dict[str, str] | None
    entries: dict[str, Entry]


def read_header(data: bytes, size: int, subject: str) -> Header:
    """The header in the bytes before the data, `data`, of an object of `size` bytes (SCF-OBJ-001)."""
    try:
        return _read(data, size)
    except JsonFault as error:
        raise Rejected("object.header", str(error), subject=subject) from error


def _read(data: bytes, size: int) -> Header:
    """The same; what is wrong is a JsonFault."""
    length = int.from_bytes(data[:8], "little")
    if not MIN_HEADER_BYTES <= length <= MAX_HEADER_BYTES or 8 + length != len(data) or len(data) > size:
        raise JsonFault(f"the header states {length} bytes, and the data begins at byte {len(data)} of {size}")
    if len(data) % DATA_ALIGNMENT:
        raise JsonFault(f"the data begins at byte {len(data)}, no multiple of {DATA_ALIGNMENT}")
    text = data[8:].rstrip(b" ")
    if text[:1] != b"{" or text[-1:] != b"}":
        raise JsonFault("the header does not begin with { and end with } and spaces")
    metadata: dict[str, str] | None = None
    entries = {}
    at = 0
    for name, value in parse(text).items():
        if name == METADATA:
            metadata = _texts(value)
            continue
        entry = _entry(name, value)
        if entry.begin != at:
            raise JsonFault(f"the entry {name} does not begin where the one before ends")
        at = entry.end
        entries[name] = entry
    if at != size - len(data):
        raise JsonFault(f"the entries end at byte {at} of {size - len(data)} bytes of data")
    return Header(metadata, entries)


def _texts(value: Json) -> dict[str, str]:
    if not isinstance(value, dict):
        raise JsonFault(f"{METADATA} is no object")
    texts = {name: text for name, text in value.items() if isinstance(text, str)}
    if len(texts) != len(value):
        raise JsonFault(f"{METADATA} has a value that is no string")
    return texts


def _entry(name: str, value: Json) -> Entry:
    """An entry, with exactly its three members and the bytes of its dtype and shape."""
    if not isinstance(value, dict) or value.keys() != _MEMBERS:
        raise JsonFault(f"the entry {name} has not exactly the members of an entry")
    dtype = value["dtype"]
    if not isinstance(dtype, str):
        raise JsonFault(f"the entry {name} has a dtype that is no string")
    shape = _integers(name, value["shape"])
    offsets = _integers(name, value["data_offsets"])
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise JsonFault(f"the entry {name} has no two offsets in order")
    entry = Entry(dtype, shape, *offsets)
    if dtype in _CONTAINERS and _bits(entry) != 8 * (entry.end - entry.begin):
        raise JsonFault(f"the entry {name} has another size than its dtype and shape")
    return entry


def _integers(name: str, value: Json) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise JsonFault(f"the entry {name} has no array where one belongs")
    numbers = tuple(number for number in value if isinstance(number, int) and not isinstance(number, bool))
    if len(numbers) != len(value) or any(not 0 <= number <= MAXINT for number in numbers):
        raise JsonFault(f"the entry {name} has a number that is no integer of 0 to {MAXINT}")
    return numbers


_CONTAINERS = {dtype.container: DTYPES[dtype.container].bits for dtype in DTYPES.values()}


def _bits(entry: Entry) -> int:
    """Bits of an entry; beyond 8 * MAXINT, which no entry has, any greater number."""
    if 0 in entry.shape:
        return 0
    bits = _CONTAINERS[entry.dtype]
    for size in entry.shape:
        bits *= size
        if bits > 8 * MAXINT:
            break
    return bits
