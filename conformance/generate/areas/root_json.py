"""The JSON profile of the root (section 6.2), in the value of a member that no reader knows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ...oracle.encode import Draft
from ..case import Case
from ..drafts import STEP, bare, unknown
from ..forms import accepted, refused

__all__ = ["cases"]

PROFILE = ["SCF-ROOT-007"]
DEPTH = 64


def _nested(levels: int) -> str:
    """Arrays in an unknown member, of which the innermost is at this level of the root."""
    return "[" * (levels - 1) + "]" * (levels - 1)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _accepted()
    yield from _refused()


def _twice(rest: bytes) -> bytes:
    return rest.replace(b'"step":2', b'"step":2,"step":2')


def _spaced(rest: bytes) -> bytes:
    """The members in reverse order, in JSON with all kinds of whitespace."""
    members = json.loads(b"{" + rest)
    text = json.dumps(dict(reversed(members.items())), indent="\t", separators=(" \r\n,", "\n :\t "))
    return b" \t\r\n" + text[1:].encode() + b"\r\n \t"


def _accepted() -> Iterator[Case]:
    mixed = (
        '{"a":[1,-1,0,-0,0.5,-0.0,1E5,1e-7,2.5e+3,true,false,null,"",{},[]],"b":{"c":{"d":[[]]}},"\\u0000":"\\u007f"}'
    )
    valid: tuple[tuple[str, str, str | bytes], ...] = (
        ("values", "Every kind of JSON value", mixed),
        ("escapes", "Every escape of JSON, and a pair of surrogates", r'"\"\\\/\b\f\n\r\t\u00e9\uD834\udd1e"'),
        ("noncharacters", "No characters, and U+FEFF inside a string", '"\ufeff\ufffe\uffff\U0010ffff"'),
        ("raw-delete", "The control character U+007F as it is", b'"\x7f"'),
        ("depth-64", "Arrays down to level 64", _nested(DEPTH)),
        ("digits-4300", "An integer of 4300 digits, and a negative one", f"[{'9' * 4300},-{'9' * 4300}]"),
        ("digits-of-floats", "A float of more than 4300 digits", "0." + "1" * 5000),
        ("largest-float", "The largest token that does not round to infinity", "[1.7976931348623158e308]"),
        ("underflow", "A token that rounds to zero", "[1e-400,-1e-99999999999]"),
        ("names-by-case", "Names that differ in case or normal form are two names", '{"a":0,"A":0,"é":0,"e\u0301":0}'),
        ("proto", "Names that mean something to some languages", '{"__proto__":{"a":1},"constructor":1,"toString":2}'),
        ("big-exponent", "A zero with an exponent of many digits", "0e99999999999999999999"),
    )  # fmt: skip
    for name, title, text in valid:
        requirements = [*PROFILE, "SCF-CONV-007", "SCF-LIMIT-001"]
        yield accepted(f"root-json-{name}", title, requirements, unknown(bare(), text))
    yield accepted(
        "root-json-whitespace",
        "Members in another order, and whitespace of all kinds after byte 84",
        ["SCF-ROOT-007", "SCF-ROOT-004"],
        bare(text=_spaced),
    )
    yield accepted(
        "root-json-escaped-names",
        "Known members whose names are written with escapes",
        PROFILE,
        bare(text=lambda rest: rest.replace(b'"spec"', b'"\\u0073p\\u0065c"').replace(b'"step"', b'"\\u0073tep"')),
    )


def _refused() -> Iterator[Case]:
    double = [
        ("nested", "An object of an unknown member has a name twice.", '{"a":{"b":1,"b":1}}'),
        ("escaped", "A name is there twice, once with an escape.", r'{"a":1,"\u0061":1}'),
        ("surrogates", "A name is there twice, once as a pair of escapes.", '{"\U0001d11e":1,"\\ud834\\udd1e":1}'),
        ("empty", "The empty name is there twice.", '{"":1,"":2}'),
    ]
    strings: list[tuple[str, str, str | bytes]] = [
        ("lone-high", "A high surrogate stands alone.", r'"\ud834"'),
        ("lone-low", "A low surrogate stands alone.", r'"\udd1e"'),
        ("swapped", "A pair of surrogates is in the wrong order.", r'"\udd1e\ud834"'),
        ("high-then-text", "A high surrogate is followed by a letter.", r'"\ud834x\udd1e"'),
        ("two-highs", "Two high surrogates stand before a low one.", r'"\ud834\ud834\udd1e"'),
        ("surrogate-in-name", "A name has a lone surrogate.", r'{"\ud834":1}'),
        ("control", "A string has a line feed as it is.", b'"\n"'),
        ("nul", "A string has the byte 0 as it is.", b'"\x00"'),
        ("bad-escape", "A string has the escape of an x.", r'"\x41"'),
        ("short-escape", "An escape has three hexadecimal digits.", r'"\u00e"'),
        ("letter-escape", "An escape has a digit that is none.", r'"\u00eg"'),
        ("underscore-escape", "An escape has an underscore in the place of a digit.", r'"\u0_41"'),
        ("single-quotes", "A string stands in single quotes.", "'a'"),
        ("unterminated", "A string does not end.", '"a'),
        ("utf8-ff", "A string has the byte 0xFF.", b'"\xff"'),
        ("utf8-overlong", "A string has a slash in an overlong encoding.", b'"\xc0\xaf"'),
        ("utf8-surrogate", "A string has a surrogate in UTF-8.", b'"\xed\xa0\xb4\xed\xb4\x9e"'),
        ("utf8-beyond", "A string has a code point above U+10FFFF.", b'"\xf4\x90\x80\x80"'),
        ("utf8-cut", "A character of a string is cut short.", b'"\xe2\x82"'),
        ("utf8-continuation", "A string has a continuation byte alone.", b'"\x80"'),
        ("utf8-name", "A name has the byte 0xFF.", b'{"\xff":1}'),
    ]
    numbers = [
        ("leading-zero", "A number has a leading zero.", "01"),
        ("minus-zero-one", "A negative number has a leading zero.", "-01"),
        ("plus", "A number has a plus sign.", "+1"),
        ("point-last", "A number ends with its point.", "1."),
        ("point-first", "A number begins with its point.", ".5"),
        ("minus", "A number is a minus sign.", "-"),
        ("exponent-empty", "An exponent has no digits.", "1e"),
        ("exponent-sign", "An exponent is a sign alone.", "1e+"),
        ("hex", "A number is hexadecimal.", "0x1F"),
        ("underscore", "A number has an underscore.", "1_000"),
        ("fullwidth", "A number has a full-width digit.", "\uff11"),
        ("nan", "A value is NaN.", "NaN"),
        ("infinity", "A value is Infinity.", "[Infinity]"),
        ("minus-infinity", "A value is -Infinity.", "-Infinity"),
        ("overflow", "A number rounds to infinity.", "1.7976931348623159e308"),
        ("overflow-exponent", "A number has an exponent of 400.", "-1e400"),
        ("digits-4301", "An integer has 4301 digits.", "9" * 4301),
        ("minus-digits-4301", "A negative integer has 4301 digits.", "-" + "9" * 4301),
    ]
    syntax = [
        ("depth-65", "Arrays nest down to level 65.", _nested(DEPTH + 1)),
        ("depth-65-objects", "Objects nest down to level 65.", '{"a":' * 63 + "{}" + "}" * 63),
        ("trailing-comma", "An array ends with a comma.", "[1,]"),
        ("trailing-comma-object", "An object ends with a comma.", '{"a":1,}'),
        ("two-commas", "Two commas stand side by side.", "[1,,2]"),
        ("comment", "There is a comment.", "1/* one */"),
        ("bare-name", "A name stands without quotes.", "{a:1}"),
        ("number-name", "A name is a number.", "{1:1}"),
        ("no-colon", "A colon is missing.", '{"a" 1}'),
        ("no-value", "A member has no value.", '{"a":}'),
        ("literal-case", "The literal true is written True.", "True"),
        ("unclosed", "An array is closed by a brace.", "[1}"),
        ("no-break-space", "A no-break space stands between tokens.", "\xa0" + "1"),
        ("form-feed", "A form feed stands between tokens.", "\f1"),
        ("undefined", "A value is undefined.", "undefined"),
    ]
    plain = "root-json-values"
    groups: tuple[tuple[str, Sequence[tuple[str, str, str | bytes]]], ...] = (
        ("double", double),
        ("string", strings),
        ("number", numbers),
        ("syntax", syntax),
    )
    for group, rows in groups:
        for name, fault, text in rows:
            draft = unknown(bare(), text)
            requirements = PROFILE + (["SCF-SEC-006"] if "depth" in name else [])
            yield _root_syntax(f"{group}-{name}", fault, draft, plain, requirements)
    whole = (
        ("double-member", "The root has its member spec twice.", lambda rest: b'"spec":"1.0-draft",' + rest),
        ("double-scf", "The root has its member scf twice.", lambda rest: b'"scf":1,' + rest),
        ("double-digest", "The root has its member digest twice.", lambda rest: b'"digest":"00",' + rest),
        ("double-metadata", "A name of the metadata is there twice.", _twice),
        ("nothing-behind-84", "The object goes on behind byte 84 with nothing.", lambda _: b""),
        ("empty-behind-84", "A brace closes the object behind the comma of byte 84.", lambda _: b"}"),
        ("not-closed", "The object is not closed.", lambda rest: rest[:-1]),
        ("two-objects", "A second object follows.", lambda rest: rest + b"{}"),
        ("garbage-behind", "A letter follows the object.", lambda rest: rest + b"x"),
        ("nul-behind", "The byte 0 follows the object.", lambda rest: rest + b"\x00"),
        ("feed-behind", "A form feed follows the object.", lambda rest: rest + b"\f"),
        ("bom-behind", "A byte order mark follows the object.", lambda rest: rest + b"\xef\xbb\xbf"),
        ("comma-behind-84", "Two commas stand at byte 84.", lambda rest: b"," + rest),
    )  # fmt: skip
    for name, fault, change in whole:
        yield _root_syntax(name, fault, bare(text=change, metadata=STEP), "root-bare", PROFILE)


def _root_syntax(name: str, fault: str, draft: Draft, sibling: str, requirements: list[str]) -> Case:
    title = f"JSON profile: {fault[0].lower()}{fault[1:-1]}"
    return refused(f"root-json-{name}", title, fault, "root.syntax", requirements, sibling, draft, phases=["open"])
