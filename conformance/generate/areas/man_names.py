"""Dtypes, codecs and digests of a manifest, known and unknown (section 7.4, and 7.6 where it speaks of digests)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ...oracle.encode import Draft, Item, Object, Shard, Tensor
from ...oracle.encode_frame import plain_frame
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts import ZSTD, B, W, basic, content, encoded, one
from ..expect import Path, inspected, path, read_values
from ..forms import accepted, asked, refused
from .man_common import bad, changed, put, without

__all__ = ["cases"]

KNOWN: Final = ["dtype:BF16", "dtype:F32"]
LATER: Final = "manifest-dtype-unknown"
CHAINS: Final = "manifest-codecs-almost-equal"
DTYPES: Final = ["SCF-MAN-011"]
CODECS: Final = ["SCF-MAN-012"]
LONGEST: Final = "L" + "o" * 62 + "9"


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _unknown()
    yield from _dtypes()
    yield from _codecs()


def _later() -> Draft:
    """Tensors ``w`` and ``b``, and tensors of dtypes that no reader knows."""
    wide = Tensor("wide", "F128", (2, 2), content(64), bits=128)
    tiny = Tensor("tiny", "_I1", (3, 8), content(3), bits=1)
    huge = Tensor("huge", LONGEST, (1,), content(8192), bits=65536)
    shards = (Shard(0), Shard(1), Shard(2), Shard(3), Shard(4))
    return one(W, B, wide, tiny, huge, shards=shards)


def _codec() -> Draft:
    """Tensor ``w`` with a chain that no reader knows, ``b`` as it is."""
    chains = ((), ({"id": "x-acme", "key": b"\x00"}, {"id": "aes-256-gcm"}))
    shards = (Shard(1), Shard(0, codec=1, encode=lambda block: block[::-1] + b"!"))
    return one(W, B, shards=shards, codecs=chains)


def _digest() -> Draft:
    """Tensor ``w`` in an object with a digest that no reader knows, ``b`` in another one."""
    return one(W, B, shards=(Shard(0), Shard(1, object=1)), objects=(Object(0, digest="x-acme-hash"), Object(1)))


def _read(item: Item, *paths: Path) -> Json:
    return step("read", ok(**read_values(item, paths)), paths=[path(each) for each in paths])


def _unknown() -> Iterator[Case]:
    """What nobody knows stops only those who want it."""
    rows: tuple[tuple[str, str, Draft, Sequence[Path], Sequence[Path], str, str], ...] = (
        (
            "dtype",
            "dtype",
            _later(),
            [("w",), ("b",)],
            [("wide",), ("tiny",), ("huge",)],
            "dtype.unsupported",
            "SCF-MAN-009",
        ),
        ("codec", "codec", _codec(), [("b",)], [("w",)], "codec.unsupported", "SCF-CODEC-003"),
        ("digest", "digest algorithm", _digest(), [("b",)], [("w",)], "digest.unsupported", "SCF-MAN-016"),
    )
    for name, what, draft, known, unknown, code, requirement in rows:
        item = draft.items["model"]
        whole = f"manifest-{name}-unknown"
        yield Case(
            whole,
            f"A tensor with a {what} that nobody knows: the tree and the other tensors can be read",
            ["SCF-MAN-010", "SCF-COMPAT-005"],
            "read",
            [step("inspect", ok(**inspected(draft))), *(_read(item, each) for each in known)],
            files=checkpoint(draft),
            options=KNOWN,
        )
        for each in unknown:
            yield refused(
                f"{whole}-{each[0]}",
                f"Reading a tensor with a {what} that nobody knows ({each[0]})",
                f"No reader knows the {what} of the tensor.",
                code,
                [requirement],
                whole,
                draft,
                op="read",
                request={"paths": [path(each)]},
                options=KNOWN,
            )
        yield refused(
            f"{whole}-among-all",
            f"Reading all tensors, of which one has a {what} that nobody knows",
            f"No reader knows the {what} of one tensor.",
            code,
            [requirement, "SCF-READ-007"],
            whole,
            draft,
            op="read",
            options=KNOWN,
        )
    draft = _digest()
    both = _read(draft.items["model"], ("w",), ("b",))
    either = [both["expect"], rejected("digest.unsupported")]
    yield Case(
        "manifest-digest-unknown-unverified",
        "A tensor with a digest algorithm that nobody knows may be read where the caller has turned verification off",
        ["SCF-MAN-016"],
        "read",
        [asked({**both, "expect": either}, verify=False)],
        kind="acceptable",
        files=checkpoint(draft),
        options=[*KNOWN, "unverified"],
    )
    names = {"dtypes": ["F32", "BF16", "X9"], "dtype_bits": [32, 16, 9], "codecs": [[], [{"id": "x-acme"}]]}
    unused = changed(basic(), lambda record: record.update(names))
    title = "Names of dtypes and codecs that nobody knows and no tensor uses"
    yield accepted("manifest-names-unused", title, ["SCF-MAN-010", "SCF-COMPAT-005"], unused, read=True)


def _dtypes() -> Iterator[Case]:
    yield accepted(
        "manifest-dtype-bits",
        "The bits of dtypes that all readers know",
        [*DTYPES, "SCF-LIMIT-001"],
        basic(dtype_bits=True),
        read=True,
    )
    names: tuple[tuple[str, Any, str], ...] = (
        ("twice", ["F32", "F32"], "is there twice"),
        ("empty", ["F32", ""], "is empty"),
        ("space", ["F32", "BF 16"], "has a space"),
        ("digit-first", ["F32", "16BF"], "begins with a digit"),
        ("minus", ["F32", "BF-16"], "has a minus sign"),
        ("point", ["F32", "torch.bfloat16"], "has a point"),
        ("umlaut", ["F32", "Ä16"], "is not ASCII"),
        ("feed", ["F32", "BF16\n"], "ends with a line feed"),
        ("65", ["F32", "L" * 65], "has 65 characters"),
    )
    for name, value, what in names:
        draft = changed(basic(), put("dtypes", value=value), put("dtype_bits", value=[32, 16]))
        yield bad(f"dtype-{name}", f"The name of a dtype {what}.", LATER, draft, DTYPES)
    lower = changed(basic(), put("dtypes", value=["F32", "bf16"]))
    yield bad("dtype-case", "A dtype is bf16, a name that nobody knows, without its bits.", LATER, lower, DTYPES)
    for name, draft in (
        ("used", changed(_later(), without("dtype_bits"))),
        ("unused", changed(basic(), put("dtypes", value=["F32", "BF16", "X9"]))),
    ):
        yield bad(
            f"dtype-bits-absent-{name}",
            f"The bits of a dtype that nobody knows, and is {name}, are absent.",
            LATER,
            draft,
            DTYPES,
        )
    bits: tuple[tuple[str, Any, str], ...] = (
        ("other", [32, 32], "say 32 of BF16"),
        ("short", [32], "are one less than the dtypes"),
        ("long", [32, 16, 8], "are one more than the dtypes"),
        ("empty", [], "are an empty array"),
        ("text", [32, "16"], "have a text"),
        ("float", [32, 16.0], "have a float"),
        ("map", {0: 32, 1: 16}, "are a map"),
    )
    for name, value, what in bits:
        yield bad(
            f"dtype-bits-{name}",
            f"The bits of the dtypes {what}.",
            "manifest-dtype-bits",
            changed(basic(), put("dtype_bits", value=value)),
            DTYPES,
        )
    most = 65_536
    requirements = [*DTYPES, "SCF-LIMIT-001"]
    yield accepted("manifest-dtypes-65536", "A manifest of 65,536 dtypes", requirements, _many_dtypes(most))
    fault = "There are 65,537 dtypes."
    yield bad("dtypes-65537", fault, "manifest-dtypes-65536", _many_dtypes(most + 1), ["SCF-MAN-006"])
    for name, value, what in (("0", 0, "0 bits"), ("minus-1", -1, "-1 bits"), ("65537", 65537, "65,537 bits")):
        draft = changed(basic(), put("dtypes", value=["F32", "BF16", "X9"]), put("dtype_bits", value=[32, 16, value]))
        yield bad(f"dtype-bits-{name}", f"A dtype has {what}.", "manifest-names-unused", draft, DTYPES)


def _many_dtypes(count: int) -> Draft:
    """The plain item with so many dtypes, of which two are used."""
    names = {"dtypes": ["F32", "BF16", *(f"x{number:x}" for number in range(count - 2))]}
    return changed(basic(assets={}), lambda record: record.update(names, dtype_bits=[32, 16, *[8] * (count - 2)]))


def _zstd(**parameters: Any) -> list[Any]:
    return [{**ZSTD, **parameters}]


def _nan(payload: int) -> float:
    value: float = struct.unpack(">d", (0x7FF8 << 48 | payload).to_bytes(8, "big"))[0]
    return value


def _codecs() -> Iterator[Case]:
    almost = [
        _zstd(level=value)
        for value in (1, 1.0, True, "1", b"1", None, [1], {"1": 1}, {1: 1}, 0.0, -0.0, _nan(0), _nan(1))
    ]
    almost += [
        _zstd(Level=1),
        _zstd(level=1, x=1),
        _zstd(level=[1, 2]),
        _zstd(level=[2, 1]),
        [*_zstd(), *_zstd()],
        _zstd(),
    ]
    almost += [[{"id": f"x-{number}"} for number in range(4)], [{"id": "x-0"}, {"id": "x-1"}]]
    draft = changed(encoded(), put("codecs", value=[[], _zstd(level=3, note={"by": ["nobody"]}), *almost]))
    title = "Chains that differ in the kind of a parameter, the bits of a float, or an unknown parameter"
    requirements = [*CODECS, "SCF-MAN-010", "SCF-CONV-007"]
    yield accepted(CHAINS, title, requirements, draft, read=True)
    faults: tuple[tuple[str, Any, str], ...] = (
        ("none", [], "There is no chain."),
        ("first-not-empty", [_zstd(), []], "The first chain is not empty."),
        ("second-empty", [[], _zstd(), []], "A later chain is empty."),
        ("five", [[], _zstd(), [{"id": f"x-{number}"} for number in range(5)]], "A chain has five codecs."),
        ("no-id", [[], _zstd(), [{"level": 1}]], "A codec has no id."),
        ("id-empty", [[], _zstd(), [{"id": ""}]], "The id of a codec is empty."),
        ("id-number", [[], _zstd(), [{"id": 1}]], "The id of a codec is a number."),
        ("id-bytes", [[], _zstd(), [{"id": b"x-acme"}]], "The id of a codec is bytes."),
        ("codec-text", [[], _zstd(), ["zstd"]], "A codec is text."),
        ("chain-map", [[], _zstd(), {"id": "x"}], "A chain is a map."),
        ("equal", [[], _zstd(level=1), _zstd(level=1)], "Two chains are equal."),
        (
            "equal-order",
            [[], _zstd(), _zstd(a=1, b=2), _zstd(b=2, a=1)],
            "Two chains differ in the order of parameters alone.",
        ),
        (
            "equal-inner-order",
            [[], _zstd(), _zstd(a={1: 2, 3: 4}), _zstd(a={3: 4, 1: 2})],
            "Two chains differ in the order of a map alone.",
        ),
        ("equal-nan", [[], _zstd(), _zstd(a=_nan(5)), _zstd(a=_nan(5))], "Two chains are equal, NaN included."),
        (
            "equal-unknown",
            [[], _zstd(), [{"id": "x", "p": [None]}], [{"id": "x", "p": [None]}]],
            "Two unknown chains are equal.",
        ),
    )
    for name, value, fault in faults:
        yield bad(f"codecs-{name}", fault, CHAINS, changed(encoded(), put("codecs", value=value)), CODECS)
    count = 65_535
    chains = [[], _zstd(), *([{"id": f"{number:x}"}] for number in range(count - 1))]
    title = "A manifest of 65,535 chains"
    draft = changed(encoded(), put("codecs", value=chains[:count]))
    yield accepted("manifest-codecs-65535", title, [*CODECS, "SCF-LIMIT-001"], draft)
    draft = changed(encoded(), put("codecs", value=chains))
    yield bad("codecs-65536", "There are 65,536 chains.", "manifest-codecs-65535", draft, CODECS)
    long = changed(encoded(), put("codecs", value=[[], _zstd(), [{"id": "x" * 1000}]]))
    yield accepted(
        "manifest-codecs-long-id", "A codec with a long id that nobody knows", [*CODECS, "SCF-MAN-010"], long
    )
    same = Draft({"model": Item((W,), shards=(Shard(0, codec=1, encode=plain_frame),), codecs=((), (ZSTD,)))})
    number = changed(same, put("shards", "columns", "codec", value=b"\x02\x00"))
    fault = "The number of a codec is that behind the last chain."
    yield bad("codecs-number", fault, "manifest-shards-encoded", number, ["SCF-MAN-017"])
