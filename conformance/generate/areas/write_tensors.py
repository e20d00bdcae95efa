"""What one writer stores: dtypes, shapes, blocks, codecs, digests, order of entries."""

from __future__ import annotations

from collections.abc import Iterator

from ...oracle.dtypes import DTYPES
from ..case import Case
from ..requests import BLOCK, constant, count, item, mapping, mix, save, tensor, write_case

__all__ = ["cases"]

_PATTERNS = (
    ("f32-nan", "F32", "7fa00001", "signalling NaN with a payload"),
    ("f32-negative-zero", "F32", "80000000", "negative zero"),
    ("f64-nan", "F64", "fff4000000000001", "negative signalling NaN"),
    ("f16-nan", "F16", "7d01", "signalling NaN of binary16"),
    ("bf16-nan", "BF16", "ff81", "signalling NaN of bfloat16"),
    ("f8-nan", "F8_E5M2", "7d", "signalling NaN of E5M2"),
    ("c64-nan", "C64", "7fa0000180000000", "real part negative zero, imaginary part NaN with a payload"),
    ("u64-max", "U64", "ffffffffffffffff", "integer above 2^63"),
)

_SHAPES: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("scalar", "a tensor without dimensions", ()),
    ("empty", "a tensor with a size of 0", (0,)),
    ("empty-inside", "a size of 0 between others", (3, 0, 2)),
    ("one", "one element in three dimensions", (1, 1, 1)),
    ("64-dimensions", "as many dimensions as there may be", (*(1,) * 62, 2, 3)),
)


def cases() -> Iterator[Case]:
    """Tensors of one writer."""
    yield write_case(
        "write-one-tensor", "One tensor, whole", ["SCF-OBJ-002", "SCF-OBJ-009", "SCF-ROOT-013"],
        save(mapping(("w", tensor("w")))),
    )  # fmt: skip
    for dtype in DTYPES:
        yield write_case(
            f"write-dtype-{dtype.lower().replace('_', '-')}", f"A tensor of dtype {dtype}, bit for bit",
            ["SCF-OBJ-002", "SCF-REG-001"], save(mapping(("w", tensor("w", (3, 8), dtype=dtype)))),
        )  # fmt: skip
    for name, dtype, bits, what in _PATTERNS:
        yield write_case(
            f"write-bits-{name}", f"Elements keep their bits: {what}", ["SCF-OBJ-002", "SCF-REG-001"],
            save(mapping(("w", tensor("w", (5,), dtype=dtype, fill=constant(bits))))),
        )  # fmt: skip
    for name, what, shape in _SHAPES:
        yield write_case(
            f"write-shape-{name}", f"Shapes: {what}", ["SCF-OBJ-002", "SCF-ROOT-013"],
            save(mapping(("w", tensor("w", shape)), ("v", tensor("v", (2,))))),
        )  # fmt: skip
    yield write_case(
        "write-no-tensors", "An item without tensors", ["SCF-OBJ-002", "SCF-ROOT-013"], save(mapping())
    )
    yield from _blocks()
    yield from _codecs()
    yield from _order()
    yield from _ties()


def _blocks() -> Iterator[Case]:
    spec = item(block=BLOCK)
    yield write_case(
        "write-blocks-several", "A shard of three blocks, the last one shorter", ["SCF-MAN-026", "SCF-OBJ-002"],
        save(mapping(("w", tensor("w", (2500,)))), spec=spec),
    )  # fmt: skip
    yield write_case(
        "write-blocks-full", "A shard whose last block is full", ["SCF-MAN-026"],
        save(mapping(("w", tensor("w", (2 * BLOCK,), dtype="U8"))), spec=spec),
    )  # fmt: skip
    yield write_case(
        "write-blocks-one-more", "A shard with one byte more than a block", ["SCF-MAN-026"],
        save(mapping(("w", tensor("w", (BLOCK + 1,), dtype="U8")), ("v", tensor("v", (3,)))), spec=spec),
    )  # fmt: skip
    for digest in ("blake3", "sha256"):
        yield write_case(
            f"write-digest-{digest}", f"Digests by {digest}", ["SCF-DIG-002", "SCF-MAN-026"],
            save(mapping(("w", tensor("w", (2500,)))), spec=item(digest=digest, block=BLOCK)),
        )  # fmt: skip
    yield write_case(
        "write-digest-default", "Digests by the writer's own choice of algorithm", ["SCF-DIG-002"],
        save(mapping(("w", tensor("w", (1500,))))),
    )  # fmt: skip


def _codecs() -> Iterator[Case]:
    for codec in ("zstd", "planes"):
        spec = item(codec=codec, block=BLOCK)
        yield write_case(
            f"write-codec-{codec}", f"The codec {codec} on content that compresses, in several blocks",
            ["SCF-CODEC-001", "SCF-MAN-026", "SCF-OBJ-002"],
            save(mapping(("w", tensor("w", (2500,), dtype="U32", fill=count(7)))), spec=spec),
        )  # fmt: skip
        yield write_case(
            f"write-codec-{codec}-random", f"The codec {codec} on content that does not compress",
            ["SCF-CODEC-001", "SCF-MAN-026"],
            save(mapping(("w", tensor("w", (2500,), dtype="U16"))), spec=spec),
        )  # fmt: skip
        yield write_case(
            f"write-codec-{codec}-small", f"The codec {codec} on a scalar, on one byte and on an empty tensor",
            ["SCF-CODEC-001", "SCF-OBJ-002"],
            save(
                mapping(
                    ("scalar", tensor("s", ())), ("byte", tensor("b", (1,), dtype="U8")), ("empty", tensor("e", (0,)))
                ),
                spec=spec,
            ),
        )  # fmt: skip
    wide = (("c32", "C32"), ("c128", "C128"), ("bf16", "BF16"), ("f64", "F64"), ("bool", "BOOL"), ("f4", "F4"))
    for name, dtype in wide:
        yield write_case(
            f"write-planes-{name}", f"The codec planes where the dtype is {dtype}", ["SCF-CODEC-001"],
            save(mapping(("w", tensor("w", (640,), dtype=dtype, fill=constant("3")))), spec=item(codec="planes")),
        )  # fmt: skip
    yield write_case(
        "write-codec-constant", "A codec on blocks that are the same byte throughout", ["SCF-CODEC-001", "SCF-MAN-026"],
        save(
            mapping(("w", tensor("w", (3 * BLOCK,), dtype="U8", fill=constant("00")))),
            spec=item(codec="zstd", block=BLOCK),
        ),
    )  # fmt: skip


def _order() -> Iterator[Case]:
    mixed = mapping(
        ("a", tensor("a", (3,), dtype="U8")),
        ("b", tensor("b", (3,), dtype="F64")),
        ("c", tensor("c", (3,), dtype="BF16")),
        ("d", tensor("d", (3,), dtype="F32")),
        ("e", tensor("e", (3,), dtype="C128")),
        ("f", tensor("f", (1,), dtype="I8")),
        ("g", tensor("g", (4,), dtype="F6_E2M3")),
    )
    yield write_case(
        "write-entry-order", "Entries stand by falling item size, so that every one is aligned",
        ["SCF-OBJ-005", "SCF-OBJ-002"], save(mixed),
    )  # fmt: skip
    yield write_case(
        "write-entry-order-encoded", "Encoded entries stand last", ["SCF-OBJ-005", "SCF-CODEC-001"],
        save(
            mapping(
                ("a", tensor("a", (2000,), dtype="U8", fill=constant("5a"))),
                ("b", tensor("b", (3,), dtype="U16")),
                ("c", tensor("c", (2000,), dtype="F64", fill=constant("3ff0000000000000"))),
            ),
            spec=item(codec="zstd"),
        ),
    )  # fmt: skip
    yield write_case(
        "write-header-metadata", "The header of a data object has format and scf.attempt", ["SCF-OBJ-004"],
        save(mapping(("w", tensor("w")))),
    )  # fmt: skip


def _ties() -> Iterator[Case]:
    yield write_case(
        "write-tied", "Two leaves that are one tensor stay one", ["SCF-MODEL-003"],
        save(mapping(("embed", tensor("w")), ("head", tensor("w")))),
    )  # fmt: skip
    yield write_case(
        "write-tied-in-containers", "One tensor in a map of a map, in a list and in a tuple",
        ["SCF-MODEL-003", "SCF-OBJ-010"],
        save(
            mapping(
                ("deep", mapping(("w", tensor("w")))), ("list", ["list", [["nil"], tensor("w")]]),
                ("tuple", ["tuple", [tensor("w"), tensor("v", (2,))]]), ("v", tensor("v", (2,))),
            )
        ),
    )  # fmt: skip
    yield write_case(
        "write-equal-but-untied", "Two tensors of the same dtype, shape and bytes stay two",
        ["SCF-MODEL-003"],
        save(mapping(("a", tensor("a", fill=mix(5))), ("b", tensor("b", fill=mix(5))))),
    )  # fmt: skip
