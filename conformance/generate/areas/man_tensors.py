"""The tensor table and the table of data objects (sections 7.5 and 7.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgpack

from ...oracle.dtypes import DTYPES
from ...oracle.encode import Draft, Item, Object, Shard, Tensor, column
from ..case import Case
from ..drafts import B, W, basic, content, one, scalars, single, whole
from ..forms import accepted
from .man_common import bad, changed, put, without

__all__ = ["cases"]

TENSORS: Final = ["SCF-MAN-013"]
OBJECTS: Final = ["SCF-MAN-015"]
MAXINT: Final = (1 << 63) - 1
SIZES: Final = "manifest-tensors-sizes"
PLAIN: Final = "manifest-objects"


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _tensors()
    yield from _names()
    yield from _objects()
    yield from _rows()
    yield from _two_rows()


def _empty(*shapes: tuple[int, ...], dtype: str = "U8") -> Draft:
    """Empty tensors of these shapes, without shards."""
    tensors = tuple(Tensor(f"t{number}", dtype, shape, b"") for number, shape in enumerate(shapes))
    nothing = {"tensors": len(shapes), "shards": 0, "objects": 0, "bytes": 0}
    item = Item(tensors, shards=(), objects=())
    return Draft({"model": item}, members=lambda members: members["items"]["model"].update(counts=nothing))


def _tensors() -> Iterator[Case]:
    most = MAXINT // 8
    shapes = ((0,), (0, 0), (0, most), (most, 0), (0, 1 << 30, 1 << 29), (3, 0, 5), (0,) * 64, (0, *(1,) * 62, most))
    yield accepted(
        SIZES,
        "Empty tensors, up to the largest sizes",
        [*TENSORS, "SCF-LIMIT-001", "SCF-SEC-004"],
        _empty(*shapes),
        read=True,
    )
    scalar, wide = Tensor("s", "F64", (), content(8)), Tensor("w", "U16", (1,) * 60 + (2, 1, 3, 1), content(12))
    title = "A scalar, and a tensor of 64 dimensions"
    yield accepted("manifest-tensors-dims", title, [*TENSORS, "SCF-LIMIT-001"], one(scalar, wide), read=True)
    big = (
        ("product", (0, 1 << 32, 1 << 32), "Two sizes of 2^32 beside a 0 multiply to more than 2^63 - 1."),
        ("product-2-63", (1 << 62, 0, 2), "Sizes beside a 0 multiply to 2^63."),
        ("product-wraps", (0, 1 << 32, 1 << 32, 1 << 32), "Sizes beside a 0 multiply to 2^96."),
        ("bits", (0, 1 << 60), "Sizes beside a 0 times 8 bits are 2^63."),
        ("size-2-63", (0, 1 << 63), "A size beside a 0 is 2^63."),
        ("size-2-64", (0, (1 << 64) - 1), "A size beside a 0 is 2^64 - 1."),
        ("nonempty", (1 << 32, 1 << 32), "Two sizes of 2^32 multiply to 2^64."),
        ("nonempty-2-61", (1 << 61,), "The size 2^61 times 8 bits is 2^64."),
    )
    for name, shape, fault in big:
        requirements = ["SCF-CONV-003", "SCF-SEC-004", *TENSORS]
        yield bad(f"tensors-{name}", fault, SIZES, _empty(shape), requirements)
    fault = "A tensor of F64 has 2^57 elements beside a 0, that is 2^63 bits."
    yield bad("tensors-bits-f64", fault, SIZES, _empty((0, 1 << 57), dtype="F64"), ["SCF-CONV-003", *TENSORS])
    fault = "A tensor has 65 dimensions."
    yield bad("tensors-65-dims", fault, "manifest-tensors-dims", one(Tensor("w", "U8", (1,) * 65, b"a")), TENSORS)
    fault = "A tensor has 255 dimensions."
    yield bad("tensors-255-dims", fault, "manifest-tensors-dims", _empty((0,) * 255), TENSORS)
    for name, numbers, what in (("2", [0, 2], "the one behind the last"), ("65535", [65535, 1], "65,535")):
        fault = f"The dtype number of a tensor is {what}."
        draft = changed(basic(), put("tensors", "columns", "dtype", value=column("u16", numbers)))
        yield bad(f"tensors-dtype-{name}", fault, "manifest-top", draft, TENSORS)


def _names() -> Iterator[Case]:
    long, odd = "n" * 65535, ("é", "e\u0301", " ", "a/b", "\n", "\ufeff", "W", "__metadata", "w@[0:1]")
    tensors = [Tensor(name, "U8", (0,), b"") for name in (*odd, long)]
    tree: dict[str, Any] = {f"k{at}": msgpack.ExtType(1, bytes([at, 0, 0, 0])) for at in range(len(tensors))}
    draft = Draft({"model": Item(tuple(tensors), shards=(), objects=(), tree=tree)})
    yield accepted(
        "manifest-tensors-names",
        "Names that are odd, and one of 65,535 bytes",
        [*TENSORS, "SCF-LIMIT-001", "SCF-CONV-006"],
        draft,
        read=True,
    )
    rows: tuple[tuple[str, list[bytes], str], ...] = (
        ("twice", [b"w", b"w"], "Two tensors have one name."),
        ("empty", [b"w", b""], "The name of a tensor is empty."),
        ("metadata", [b"w", b"__metadata__"], "The name of a tensor is __metadata__."),
        ("utf8", [b"w", b"\xff"], "The name of a tensor is not UTF-8."),
        ("utf8-surrogate", [b"w", b"\xed\xa0\x80"], "The name of a tensor is a surrogate in UTF-8."),
        ("utf8-split", [b"\xc3", b"\xa9"], "A character lies half in one name and half in the next."),
    )
    for name, names, fault in rows:
        sizes = put("tensors", "columns", "name_size", value=column("u16", [len(each) for each in names]))
        draft = changed(whole(), sizes, put("tensors", "columns", "name", value=b"".join(names)))
        yield bad(f"tensors-name-{name}", fault, "manifest-tensors-names", draft, TENSORS)


def _row(**changes: Any) -> Draft:
    """One tensor in an object whose row has these values changed."""
    return changed(single(), *(put("objects", 0, name, value=value) for name, value in changes.items()))


FACTS: Final[dict[str, Any]] = {"size": 4120, "data_start": 4096, "header_digest": bytes(32)}


def _other(*keys: str, **facts: Any) -> Draft:
    """Tensor ``w`` in an object of another checkpoint, and more objects without shards."""
    origin = {**FACTS, **facts}
    start = origin["data_start"]
    rows = tuple(Object(store_key=key, origin=origin) for key in keys)
    item = Item((W,), shards=(Shard(0, offset=start),), objects=rows)
    return Draft({"model": item}, external=[{"checkpoint": "old", "digest": "0a" * 32}])


KEY: Final = "old/model/0123456789abcdef-0000{}.safetensors"


def _objects() -> Iterator[Case]:
    yield accepted(
        PLAIN,
        "Data objects with both digests and the smallest block size; one has no shards",
        [*OBJECTS, "SCF-LIMIT-001"],
        one(W, B, shards=(Shard(0), Shard(1, object=1)), objects=(Object(7), Object(3, digest="sha256"), Object(0))),
        read=True,
    )
    largest = one(W, objects=(Object(block=1 << 30),))
    requirements = [*OBJECTS, "SCF-LIMIT-001"]
    yield accepted("manifest-objects-block-2-30", "The largest block size", requirements, largest, read=True)
    title = "The largest data_start, in an object of another checkpoint that is not in the store"
    draft = _other(KEY.format(0), data_start=99_999_744, size=99_999_768)
    yield accepted("manifest-objects-start", title, requirements, draft)
    title = "The largest size of an object, of another checkpoint that is not in the store"
    yield accepted("manifest-objects-size", title, requirements, _other(KEY.format(0), size=MAXINT))
    title = "Two objects of one other checkpoint that differ in their number alone"
    yield accepted("manifest-objects-two", title, requirements, _other(KEY.format(0), KEY.format(1)))


def _rows() -> Iterator[Case]:
    for name in ("key", "size", "data_start", "block"):
        fault = f"An object has no {name}."
        draft = changed(single(), without("objects", 0, name))
        shown = name.replace("_", "-")
        yield bad(f"objects-without-{shown}", fault, PLAIN, draft, [*OBJECTS, "SCF-MAN-006"])
    for name in ("digest", "header_digest"):
        fault = f"An object has no {name}."
        draft = changed(single(), without("objects", 0, name))
        shown = name.replace("_", "-")
        yield bad(f"objects-without-{shown}", fault, PLAIN, draft, ["SCF-DIG-008"], "digest.missing")
    rows: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("key-bytes", {"key": b"model"}, "The key of an object is bytes."),
        ("both-keys", {"store_key": KEY.format(0)}, "An object has key and store_key."),
        ("size-text", {"size": "4120"}, "The size of an object is text."),
        ("size-float", {"size": 4120.0}, "The size of an object is a float."),
        ("size-negative", {"size": -4120}, "The size of an object is negative."),
        ("size-2-63", {"size": 1 << 63}, "The size of an object is 2^63."),
        ("size-below-start", {"size": 4095}, "The size of an object is below its data_start."),
        ("start-true", {"data_start": True}, "The data_start of an object is true."),
        ("start-zero", {"data_start": 0}, "The data_start of an object is 0."),
        ("start-odd", {"data_start": 4088}, "The data_start of an object is not a multiple of 4096."),
        ("start-2-63", {"data_start": 1 << 63}, "The data_start of an object is 2^63."),
        ("header-digest-31", {"header_digest": bytes(31)}, "A header_digest has 31 bytes."),
        ("header-digest-33", {"header_digest": bytes(33)}, "A header_digest has 33 bytes."),
        ("header-digest-empty", {"header_digest": b""}, "A header_digest is empty."),
        ("header-digest-text", {"header_digest": "0" * 32}, "A header_digest is text."),
        ("digest-number", {"digest": 1}, "The digest of an object is a number."),
        ("digest-nil", {"digest": None}, "The digest of an object is nil."),
        ("block-0", {"block": 0}, "The block size is 0."),
        ("block-1", {"block": 1}, "The block size is 1."),
        ("block-2048", {"block": 2048}, "The block size is 2048."),
        ("block-4095", {"block": 4095}, "The block size is 4095."),
        ("block-6144", {"block": 6144}, "The block size is 6144, no power of two."),
        ("block-2-31", {"block": 1 << 31}, "The block size is 2^31."),
        ("block-2-63", {"block": 1 << 63}, "The block size is 2^63."),
        ("block-float", {"block": 4096.0}, "The block size is a float."),
        ("block-negative", {"block": -4096}, "The block size is -4096."),
    )
    for name, changes, fault in rows:
        requirements = [*OBJECTS, *(["SCF-CONV-003"] if "2-63" in name else [])]
        codes = ["manifest.schema"]
        if name in ("header-digest-empty", "digest-nil"):
            codes.append("digest.missing")
        draft = _row(**changes)
        if name == "both-keys":
            draft = draft.with_(external=[{"checkpoint": "old", "digest": "0a" * 32}])
        yield bad(f"objects-{name}", fault, PLAIN, draft, requirements, codes)
    fault = "The data_start is 100,003,840, more than any header allows."
    draft = _other(KEY.format(0), data_start=100_003_840, size=100_003_864)
    yield bad("objects-start-more", fault, "manifest-objects-start", draft, OBJECTS)
    fault = "The data_start of an object without shards is 4100, no multiple of 4096."
    yield bad(
        "objects-start-unaligned", fault, "manifest-objects-start", _other(KEY.format(0), data_start=4100, size=8192),
        OBJECTS,
    )  # fmt: skip
    fault = "The dtype_bits of a dtype that no tensor has are not those of the registry."
    draft = changed(single(), _unused_dtype)
    yield bad("dtype-bits-of-unused", fault, PLAIN, draft, ["SCF-MAN-011"])
    draft = changed(scalars(), put("objects", value=[7]))
    yield bad("objects-number", "An object is a number.", PLAIN, draft, OBJECTS)


def _unused_dtype(record: dict[str, Any]) -> None:
    record["dtype_bits"] = [*(DTYPES[name].bits for name in record["dtypes"]), 16]
    record["dtypes"] = [*record["dtypes"], "U64"]


def _two_rows() -> Iterator[Case]:
    """Two rows that name one object, and objects of the item's own base."""
    twice = one(W, B, shards=(Shard(0), Shard(1, object=1)), objects=(Object(0), Object(1)))
    key = "model/3f9c2a71d0b84e55-00000.safetensors"
    draft = changed(twice, put("objects", 1, "key", value=key))
    yield bad("objects-key-twice", "Two objects have one key.", PLAIN, draft, OBJECTS)
    draft = _other(KEY.format(0), KEY.format(0))
    fault = "Two objects have one store_key."
    yield bad("objects-store-key-twice", fault, "manifest-objects-two", draft, OBJECTS)
    draft = _other(f"c/{key}").with_(external=[{"checkpoint": "old", "digest": "0a" * 32}])
    fault = "The store_key of an object names the checkpoint itself."
    yield bad("objects-store-key-own", fault, "manifest-objects-two", draft, [*OBJECTS, "SCF-ROOT-019"])
