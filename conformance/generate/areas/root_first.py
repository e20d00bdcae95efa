"""The first bytes of a root, its digest, and the order of checks (section 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...oracle.encode import seal
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts import bare, basic
from ..expect import inspected, root_digest, root_values
from ..forms import accepted, asked, refused

__all__ = ["cases"]

LIMIT = 64 * 1024 * 1024
OTHER_DIGEST = "ab" * 32
Change = Callable[[bytes], bytes]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield accepted(
        "root-plain",
        "A root with everything in it, and an item",
        ["SCF-ROOT-009", "SCF-ROOT-004", "SCF-ROOT-005", "SCF-ROOT-026", "SCF-LIMIT-001"],
        basic(),
        read=True,
    )
    yield accepted("root-bare", "A root without items", ["SCF-ROOT-009", "SCF-LIMIT-001"], bare())
    yield Case(
        "root-absent",
        "Objects without a root are no checkpoint",
        ["SCF-ROOT-001", "SCF-MODEL-001"],
        "inspect",
        [
            step("inspect", rejected("checkpoint.missing", phases=["open"])),
            step("list", ok(checkpoints=[], newest=None)),
        ],
        kind="invalid",
        fault="The object checkpoint.json is not in the store.",
        sibling="root-plain",
        files=checkpoint(basic().with_(drop=("checkpoint.json",))),
    )
    yield Case(
        "root-absent-empty-store",
        "An empty store has no checkpoint",
        ["SCF-MODEL-001", "SCF-ROOT-001"],
        "inspect",
        [
            step("inspect", rejected("checkpoint.missing", phases=["open"])),
            step("list", ok(checkpoints=[], newest=None)),
        ],
        kind="invalid",
        fault="There is nothing in the store.",
        sibling="root-plain",
    )
    yield from _sizes()
    yield from _first()
    yield from _digest()
    yield from _order()


def _sizes() -> Iterator[Case]:
    root = checkpoint(bare())["c/checkpoint.json"]
    padded = seal((root[85:]).ljust(LIMIT - 85))
    kept = {"c/checkpoint.json": padded.rstrip(b" ")}
    pads = LIMIT - len(kept["c/checkpoint.json"])
    values = {**root_values(bare()), "digest": padded[19:83].decode()}
    yield Case(
        "root-of-64-mib",
        "A root of exactly 67,108,864 bytes, most of them spaces at its end",
        ["SCF-ROOT-002", "SCF-LIMIT-001"],
        "inspect",
        [step("inspect", ok(root=values))],
        files=kept,
        stores={"main": {"pads": [{"path": "c/checkpoint.json", "byte": 32, "count": pads}]}},
        timeout=60,
    )
    for name, more, memory in (("over-64-mib", 1, None), ("of-256-mib", 3 * LIMIT, 100 * 1024 * 1024)):
        yield Case(
            f"root-{name}",
            f"A root of {LIMIT + more:,} bytes is not read whole",
            ["SCF-ROOT-002", "SCF-STORE-018"],
            "inspect",
            [step("inspect", rejected("limit.exceeded", phases=["open"]))],
            kind="invalid",
            fault=f"The root has {LIMIT + more:,} bytes.",
            sibling="root-of-64-mib",
            files=kept,
            stores={"main": {"pads": [{"path": "c/checkpoint.json", "byte": 32, "count": pads + more}]}},
            timeout=60,
            memory=memory,
        )


def _sealed(name: str, title: str, fault: str, code: str, requirement: str, change: Change) -> Case:
    """The plain root with its bytes changed after its digest was taken."""
    draft = basic(assets={}).with_(sealed=change)
    return refused(f"root-{name}", title, fault, code, [requirement], "root-plain", draft, phases=["open"])


def _starts(start: bytes) -> Change:
    """The same root with other first bytes in the place of ``{"scf":1,``."""
    return lambda root: start + root[len(b'{"scf":1,') :]


def _resealed(start: bytes) -> Change:
    """A root whose first bytes up to the digits are these, and whose digest is right where it then lies."""
    return lambda root: seal(root[85:], start)


def _first() -> Iterator[Case]:
    version = "version.unsupported"
    for name, digits in (("2", b"2"), ("0", b"0"), ("12", b"12"), ("01", b"01"), ("long", b"9" * 5000)):
        shown = digits.decode() if len(digits) < 9 else "a number of 5000 digits"
        yield _sealed(
            f"major-{name}",
            f"A root of major version {shown}",
            f"The root begins with the major version {shown}.",
            version,
            "SCF-ROOT-003",
            _starts(b'{"scf":' + digits + b","),
        )
    yield _sealed(
        "major-2-alone",
        "Another major version is told by the first bytes, whatever follows",
        'The root is the nine bytes {"scf":2, and nothing else.',
        version,
        "SCF-ROOT-003",
        lambda _: b'{"scf":2,',
    )
    yield _sealed(
        "major-2-garbage",
        "What follows another major version is not looked at",
        "The root is of major version 2, and the rest of it is no JSON.",
        version,
        "SCF-ROOT-003",
        lambda _: b'{"scf":2,' + b"\xff\x00" * 40,
    )
    broken: tuple[tuple[str, str, Change], ...] = (
        ("empty", "The root has no bytes.", lambda _: b""),
        ("84-bytes", "The root ends after 84 bytes.", lambda root: root[:84]),
        ("space-first", "A space stands before the first brace.", lambda root: b" " + root),
        ("bom-first", "A byte order mark stands before the first brace.", lambda root: b"\xef\xbb\xbf" + root),
        ("space-in-first", "A space stands behind the first colon.", _resealed(b'{"scf": 1,"digest":"')),
        ("major-space", "A space stands between the major version and the comma.", _resealed(b'{"scf":1 ,"digest":"')),
        ("major-float", "The major version is the token 1.0.", _resealed(b'{"scf":1.0,"digest":"')),
        ("major-negative", "The major version is the token -1.", _resealed(b'{"scf":-1,"digest":"')),
        ("major-text", 'The major version is the text "1".', _resealed(b'{"scf":"1","digest":"')),
        ("major-no-digit", "The major version has no digits.", _resealed(b'{"scf":,"digest":"')),
        ("major-arabic-digit", "The major version is an Arabic digit two.", _resealed('{"scf":٢,"digest":"'.encode())),
        ("scf-second", "The member spec stands before scf.", _resealed(b'{"spec":"1.0-draft","scf":1,"digest":"')),
        ("digest-second", "Another member stands between scf and digest.", _resealed(b'{"scf":1,"x":0,"digest":"')),
        ("digest-member", 'The second member is called "Digest".', _resealed(b'{"scf":1,"Digest":"')),
        ("digest-upper", "The digits of the root digest are upper-case.", lambda r: r[:19] + r[19:83].upper() + r[83:]),
        ("digest-letter", "A digit of the root digest is the letter g.", lambda root: root[:19] + b"g" + root[20:]),
        ("digest-short", "The root digest has 63 digits.", lambda root: root[:82] + root[83:]),
        ("digest-long", "The root digest has 65 digits.", lambda root: root[:83] + b"0" + root[83:]),
        ("digest-space", "A space stands behind the root digest.", lambda root: root[:84] + b" " + root[84:]),
        ("digest-alone", "The object ends behind the root digest.", lambda root: root[:84] + b"}"),
        ("utf-16", "The root is in UTF-16.", lambda root: root.decode().encode("utf-16-le")),
        ("gzip", "The root begins with the bytes of a gzip file.", lambda root: b"\x1f\x8b\x08" + root),
    )
    for name, fault, change in broken:
        yield _sealed(
            f"first-{name}",
            f"First bytes: {fault[0].lower()}{fault[1:-1]}",
            fault,
            "root.syntax",
            "SCF-ROOT-004",
            change,
        )


def _flipped(at: int, bit: int = 1) -> Change:
    return lambda root: root[:at] + bytes([root[at] ^ bit]) + root[at + 1 :]


def _other_digit(root: bytes) -> bytes:
    return root[:82] + (b"0" if root[82:83] != b"0" else b"1") + root[83:]


def _zeros(root: bytes) -> bytes:
    return root[:19] + b"0" * 64 + root[83:]


def _digest() -> Iterator[Case]:
    broken: tuple[tuple[str, str, Change], ...] = (
        ("flipped-bit", "A bit of the spec text is flipped.", _flipped(95)),
        ("flipped-last-bit", "A bit of the last byte is flipped, so that it is no JSON either.", _flipped(-1, 4)),
        ("wrong-digit", "The last digit of the root digest is another one.", _other_digit),
        ("zeros", "The root digest is 64 zeros.", _zeros),
        (
            "of-all-bytes",
            "The bytes after the digest are those of another root.",
            lambda r: r.replace(b'"step":2', b'"step":3'),
        ),
        ("space-added", "A space was added at the end.", lambda root: root + b" "),
        ("cut", "The last byte is missing.", lambda root: root[:-1]),
        ("cut-behind-digest", "Nothing is left behind byte 84.", lambda root: root[:85]),
        ("line-ends", "A line feed was put in behind byte 84.", lambda root: root[:85] + b"\n" + root[85:]),
    )
    for name, fault, change in broken:
        title = f"Root digest: {fault[0].lower()}{fault[1:-1]}"
        yield _sealed(f"digest-{name}", title, fault, "root.digest", "SCF-ROOT-005", change)
    draft = basic()
    right, wrong = root_digest(draft), OTHER_DIGEST
    steps = [asked(step("inspect", ok(**inspected(draft))), expect=right)]
    yield Case(
        "root-expected",
        "A root with the digest that the caller expects",
        ["SCF-DIG-012"],
        "inspect",
        steps,
        files=checkpoint(draft),
    )
    requests: tuple[tuple[str, Json], ...] = (("inspect", {}), ("read", {}), ("inspect", {"items": []}))
    for op, request in requests:
        name = "root-expected-other" + {"read": "-read"}.get(op, "-root-alone" if request else "")
        yield refused(
            name,
            f"A root with another digest than the caller expects ({op}{' of the root alone' if request else ''})",
            "The caller expects another root digest.",
            "root.digest",
            ["SCF-DIG-012"],
            "root-expected",
            draft,
            op=op,
            phases=["open"],
            request={"expect": wrong, **request},
        )


def _order() -> Iterator[Case]:
    """Two faults, of which the earlier step gives the code."""
    expected = {"expect": OTHER_DIGEST}
    yield refused(
        "root-order-expected-before-json",
        "The expected digest is compared before the JSON is parsed",
        "The JSON is broken, and the caller expects another digest; the second is found first.",
        "root.digest",
        ["SCF-DIG-012", "SCF-ROOT-005"],
        "root-expected",
        bare(text=lambda rest: rest[:-1]),
        phases=["open"],
        request=expected,
    )
    yield refused(
        "root-order-json-before-feature",
        "JSON syntax is checked before features",
        "The root needs an unknown feature and has a member twice; the second is found first.",
        "root.syntax",
        ["SCF-ROOT-007"],
        "root-bare",
        bare(features={"read": ["x-new"], "write": ["x-new"]}, text=lambda rest: b'"spec":"1.0-draft",' + rest),
        phases=["open"],
    )
    yield refused(
        "root-order-feature-before-members",
        "Features are checked before members",
        "The root needs an unknown feature and lacks its metadata; the first is found first.",
        "feature.unsupported",
        ["SCF-ROOT-023"],
        "root-bare",
        bare(features={"read": ["x-new"], "write": ["x-new"]}, members=lambda members: members.pop("metadata")),
        phases=["open"],
    )
    yield refused(
        "root-order-first-bytes-before-digest",
        "The form of the first bytes is checked before the digest",
        "The 64 digits are upper-case and wrong; the first is found first.",
        "root.syntax",
        ["SCF-ROOT-004"],
        "root-bare",
        bare(sealed=lambda root: root[:19] + b"A" * 64 + root[83:]),
        phases=["open"],
    )
