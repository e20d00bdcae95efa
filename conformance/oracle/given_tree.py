"""The trees that a request to write gives: nodes of messages, checked for what a tree can hold (chapter 8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import messages
from .errors import Rejected
from .limits import MAX_BIGINT_BYTES, MAX_TREE_DEPTH
from .mpack import Float
from .regions import Region
from .tree import DTYPE_NAME, Complex, DtypeNode, Key, Node, Path, SetNode, Timestamp

_HEX64 = re.compile(r"[0-9a-f]{16}")
_DIGITS = re.compile(r"-?[0-9]+")
_CHUNK = 4000
_MAX_OFFSET = 86_399
_MAX_NANOSECONDS = 999_999_999
_MAX_INDEXED = 2**32 - 2


@dataclass(frozen=True)
class GivenTensor:
    """A tensor leaf: the regions that one writer holds of a tensor, and the formula of its content."""

    id: str
    dtype: str
    shape: tuple[int, ...]
    regions: tuple[Region, ...]
    fill: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Leaf:
    """A node without others in it that is no tensor; `kind` is its tag in messages."""

    kind: str
    value: Node


@dataclass(frozen=True)
class Branch:
    """A container, its children by the components that lead to them; `head` is what else it says.

    Of a list or tuple the length, of an indexed node axis and size.
    """

    kind: str
    head: tuple[Key, ...]
    children: tuple[tuple[Path, Given], ...]


Given = GivenTensor | Leaf | Branch


def unsupported(path: Path, message: str) -> Rejected:
    """The refusal of a value that no node can hold (SCF-TREE-005)."""
    return Rejected("state.unsupported", f"{shown_path(path)}: {message}", subject=shown_path(path), phase="save")


def shown_path(path: Path) -> str:
    """A path for a person."""
    return "/".join(str(component) for component in path)


def read_given(value: object, path: Path = (), level: int = 1) -> Given:
    """The node that a message gives at a path; its top node is of level 1."""
    if not isinstance(value, list) or not value or value[0] not in READERS:
        raise messages.usage(f"{shown_path(path)}: {value!r} is no node")
    if level > MAX_TREE_DEPTH:
        message = f"{shown_path(path)}: nodes are deeper than level {MAX_TREE_DEPTH}"
        raise Rejected("limit.exceeded", message, subject=shown_path(path), phase="save")
    try:
        return READERS[value[0]](value, path, level)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise messages.usage(f"{shown_path(path)}: {value!r} is no node") from error


def integer(value: object) -> int:
    """An integer of any number of decimal digits."""
    text = str(value)
    if isinstance(value, bool) or _DIGITS.fullmatch(text) is None:
        raise messages.usage(f"{text[:40]} is no integer")
    digits = text.removeprefix("-")
    number = 0
    for at in range(0, len(digits), _CHUNK):
        part = digits[at : at + _CHUNK]
        number = number * 10 ** len(part) + int(part)
    return -number if text.startswith("-") else number


def _leaf(read: Callable[[list[Any], Path], Node]) -> Callable[[list[Any], Path, int], Given]:
    return lambda value, path, _level: Leaf(value[0], read(value, path))


def _int(value: list[Any], path: Path) -> int:
    number = integer(value[1])
    if (number if number >= 0 else ~number).bit_length() >= 8 * MAX_BIGINT_BYTES:
        raise unsupported(path, f"an integer of more than {MAX_BIGINT_BYTES} bytes")
    return number


def _float(text: str) -> int:
    if _HEX64.fullmatch(text) is None:
        raise ValueError(text)
    return int(text, 16)


def _text(value: object, path: Path) -> str:
    if not isinstance(value, str):
        raise TypeError
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise unsupported(path, "text with a surrogate")
    return value


def _bool(value: list[Any], _path: Path) -> bool:
    if not isinstance(value[1], bool):
        raise TypeError
    return value[1]


def _timestamp(value: list[Any], path: Path) -> Timestamp:
    seconds, nanoseconds, offset = integer(value[1]), integer(value[2]), value[3]
    if not -(2**63) <= seconds < 2**63 or not 0 <= nanoseconds <= _MAX_NANOSECONDS:
        raise unsupported(path, "a time out of range")
    if offset is not None and abs(integer(offset)) > _MAX_OFFSET:
        raise unsupported(path, "a zone out of range")
    return Timestamp(seconds, nanoseconds, offset)


def _set(value: list[Any], path: Path) -> SetNode:
    elements = {_component(element, path) for element in value[1]}
    texts = sorted(element for element in elements if isinstance(element, str))
    integers = sorted(element for element in elements if isinstance(element, int))
    if texts and integers:
        raise unsupported(path, "a set of texts and integers")
    return SetNode((*texts, *integers))


def _dtype(value: list[Any], path: Path) -> DtypeNode:
    if DTYPE_NAME.fullmatch(value[1]) is None:
        raise unsupported(path, f"the dtype name {value[1]!r}")
    return DtypeNode(value[1])


def _component(value: object, path: Path) -> Key:
    """A component of a path, a key or an element of a set."""
    if isinstance(value, str):
        return _text(value, (*path, value))
    if not isinstance(value, dict) or set(value) != {"int"}:
        raise TypeError
    number = integer(value["int"])
    if not -(2**63) <= number < 2**64:
        raise unsupported((*path, number), "an integer out of the range of keys")
    return number


def _children(named: Iterable[tuple[Path, object]], path: Path, level: int) -> tuple[tuple[Path, Given], ...]:
    found: dict[Path, Given] = {}
    for more, child in named:
        if more in found:
            raise messages.usage(f"{shown_path(path + more)} is there twice")
        found[more] = read_given(child, path + more, level + 1)
    return tuple(found.items())


def _sequence(value: list[Any], path: Path, level: int) -> Branch:
    named: list[tuple[Path, object]] = [((position,), child) for position, child in enumerate(value[1])]
    return Branch(value[0], (len(named),), _children(named, path, level))


def _map(value: list[Any], path: Path, level: int) -> Branch:
    return Branch("map", (), _children((((_component(key, path),), child) for key, child in value[1]), path, level))


def _indexed(value: list[Any], path: Path, level: int) -> Branch:
    """The indices that this writer holds: an object of them, or an array with null for what it lacks."""
    axis, size = _text(value[1], path), integer(value[2])
    given = value[3].items() if isinstance(value[3], dict) else enumerate(value[3])
    held = [(integer(index), child) for index, child in given if child is not None]
    if not 1 <= size <= _MAX_INDEXED or any(not 0 <= index < size for index, _ in held):
        raise messages.usage(f"{shown_path(path)}: an index or a size is out of range")
    return Branch("indexed", (axis, size), _children((((index,), child) for index, child in held), path, level))


def _flattened(value: list[Any], path: Path, level: int) -> Branch:
    named: list[tuple[Path, object]] = [(("inner", _text(name, path)), child) for name, child in value[1]]
    return Branch("flattened", (), _children([*named, (("attributes",), value[2])], path, level))


def _tensor(value: list[Any], _path: Path, _level: int) -> GivenTensor:
    given = value[1]
    shape = tuple(messages.integer(size) for size in given["shape"])
    if any(size < 0 for size in shape):
        raise ValueError(shape)
    regions = tuple(messages.read_region(region) for region in given["regions"])
    return GivenTensor(str(given["id"]), str(given["dtype"]), shape, regions, tuple(sorted(given["fill"].items())))


def _no_node(_value: list[Any], path: Path, _level: int) -> Given:
    raise unsupported(path, "a value that no node can hold")


READERS: dict[str, Callable[[list[Any], Path, int], Given]] = {
    "nil": _leaf(lambda _value, _path: None),
    "bool": _leaf(_bool),
    "int": _leaf(_int),
    "float": _leaf(lambda value, _path: Float(_float(value[1]))),
    "text": _leaf(lambda value, path: _text(value[1], path)),
    "bytes": _leaf(lambda value, _path: bytes.fromhex(value[1])),
    "complex": _leaf(lambda value, _path: Complex(_float(value[1]), _float(value[2]))),
    "timestamp": _leaf(_timestamp),
    "set": _leaf(_set),
    "dtype": _leaf(_dtype),
    "list": _sequence,
    "tuple": _sequence,
    "map": _map,
    "indexed": _indexed,
    "flattened": _flattened,
    "tensor": _tensor,
    "unsupported": _no_node,
}
"""What reads each form of a node in a request to write."""
