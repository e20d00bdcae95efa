"""Metadata: values, tags, names (section 6.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...oracle.encode import Draft
from ..case import Case, Json, checkpoint, ok, step
from ..drafts import bare
from ..expect import root_values
from ..forms import refused

__all__ = ["cases"]

VALUES = ["SCF-ROOT-026"]
MAXJSON = (1 << 53) - 1


def _with(json: str) -> Draft:
    """A root whose metadata has this JSON text."""
    return bare(metadata={}, text=lambda rest: rest.replace(b'"metadata":{}', b'"metadata":' + json.encode()))


def _valid(
    name: str, title: str, json: str, pairs: Sequence[Json | list[object]], requirements: Sequence[str] = ()
) -> Case:
    """The metadata of this text is the map of these pairs."""
    draft = _with(json)
    values = {"digest": root_values(bare())["digest"], "metadata": ["map", {"$set": list(pairs)}]}
    values["digest"] = checkpoint(draft)["c/checkpoint.json"][19:83].decode()
    steps = [step("inspect", ok(root=values))]
    return Case(f"root-metadata-{name}", title, [*VALUES, *requirements], "inspect", steps, files=checkpoint(draft))


def _floats(*pairs: tuple[str, str]) -> tuple[str, list[list[object]]]:
    text = ",".join(f'"{token}":{token}' for token, _ in pairs)
    return "{" + text + "}", [[token, ["float", bits]] for token, bits in pairs]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield _valid("empty", "No metadata", "{}", [])
    yield _valid(
        "values",
        "Null, booleans, strings, arrays and objects",
        '{"n":null,"t":true,"f":false,"s":"é\\n","":"empty name","a":[1,[],{"b":2}],"o":{"p":{}}}',
        [
            ["n", ["nil"]],
            ["t", ["bool", True]],
            ["f", ["bool", False]],
            ["s", ["text", "é\n"]],
            ["", ["text", "empty name"]],
            ["a", ["list", [["int", "1"], ["list", []], ["map", [["b", ["int", "2"]]]]]]],
            ["o", ["map", [["p", ["map", []]]]]],
        ],
    )
    yield _valid(
        "names-by-case",
        "Names that differ only in case, or in how a letter is composed, are two names",
        '{"a":1,"A":2,"\u00e9":3,"e\u0301":4,"\u00df":5,"ss":6}',
        [
            ["a", ["int", "1"]], ["A", ["int", "2"]], ["\u00e9", ["int", "3"]], ["e\u0301", ["int", "4"]],
            ["\u00df", ["int", "5"]], ["ss", ["int", "6"]],
        ],
        ["SCF-CONV-006"],
    )  # fmt: skip
    yield _valid(
        "integers",
        "Integers at both ends of the range of tokens, and zero with a sign",
        f'{{"max":{MAXJSON},"min":-{MAXJSON},"zero":0,"minus":-0}}',
        [
            ["max", ["int", str(MAXJSON)]],
            ["min", ["int", f"-{MAXJSON}"]],
            ["zero", ["int", "0"]],
            ["minus", ["int", "0"]],
        ],
        ["SCF-ROOT-025"],
    )
    text, pairs = _floats(
        ("1.0", "3ff0000000000000"),
        ("-0.0", "8000000000000000"),
        ("0.0", "0000000000000000"),
        ("-0e0", "8000000000000000"),
        ("0.1", "3fb999999999999a"),
        ("1e22", "4480f0cf064dd592"),
        ("1E5", "40f86a0000000000"),
        ("5e-324", "0000000000000001"),
        ("2.2250738585072014e-308", "0010000000000000"),
        ("1.7976931348623157e308", "7fefffffffffffff"),
        ("9007199254740993.0", "4340000000000000"),
    )
    yield _valid("floats", "Floats are floats, whole ones too, bit for bit", text, pairs)
    text, pairs = _floats(
        ("0.1000000000000000055511151231257827", "3fb999999999999a"),
        ("100e-2", "3ff0000000000000"),
        ("2.4703282292062327e-324", "0000000000000000"),
        ("2.4703282292062328e-324", "0000000000000001"),
        ("1.00000000000000011102230246251565404236316680908203125", "3ff0000000000000"),
        ("1.00000000000000011102230246251565404236316680908203126", "3ff0000000000001"),
    )
    yield _valid(
        "floats-rounded",
        "Tokens of more digits are rounded to the nearest, ties to even",
        text,
        pairs,
        ["SCF-ROOT-007"],
    )
    yield _valid(
        "tags",
        "NaN, infinities and large integers",
        '{"nan":{"$float":"nan"},"inf":{"$float":"inf"},"minus":{"$float":"-inf"},'
        '"big":{"$int":"9007199254740992"},"small":{"$int":"-9007199254740992"},'
        f'"long":[{{"$int":"{"9" * 4096}"}},{{"$int":"-{"9" * 4095}"}}]}}',
        [
            ["nan", ["float", "7ff8000000000000"]],
            ["inf", ["float", "7ff0000000000000"]],
            ["minus", ["float", "fff0000000000000"]],
            ["big", ["int", "9007199254740992"]],
            ["small", ["int", "-9007199254740992"]],
            ["long", ["list", [["int", "9" * 4096], ["int", "-" + "9" * 4095]]]],
        ],
        ["SCF-ROOT-025"],
    )
    yield _valid(
        "dollar-names",
        "Names that begin with $ lose one $",
        '{"$$price":3,"$$":4,"$$$x":5,"a$":6,"o":{"$$int":"7","$$float":"nan"}}',
        [
            ["$price", ["int", "3"]],
            ["$", ["int", "4"]],
            ["$$x", ["int", "5"]],
            ["a$", ["int", "6"]],
            ["o", ["map", {"$set": [["$int", ["text", "7"]], ["$float", ["text", "nan"]]]}]],
        ],
        ["SCF-ROOT-025"],
    )
    yield _valid(
        "escaped-dollar",
        "A tag whose $ is written as an escape is a tag",
        '{"a":{"\\u0024int":"9007199254740993"},"\\u0024\\u0024b":1}',
        [["a", ["int", "9007199254740993"]], ["$b", ["int", "1"]]],
        ["SCF-ROOT-025"],
    )
    yield _valid(
        "odd-names",
        "Names that mean something to some languages, and names that look like numbers",
        '{"__proto__":{"x":1},"constructor":2,"hasOwnProperty":3,"10":4,"9":5,"é":6,"e\u0301":7}',
        [
            ["__proto__", ["map", [["x", ["int", "1"]]]]],
            ["constructor", ["int", "2"]],
            ["hasOwnProperty", ["int", "3"]],
            ["10", ["int", "4"]],
            ["9", ["int", "5"]],
            ["é", ["int", "6"]],
            ["e\u0301", ["int", "7"]],
        ],
        ["SCF-CONV-006"],
    )
    yield from _refused()


def _refused() -> Iterator[Case]:
    faults: tuple[tuple[str, str, str, str], ...] = (
        ("token-2-53", "integers", "An integer token is 2^53.", '{"a":9007199254740992}'),
        ("token-minus-2-53", "integers", "An integer token is -2^53.", '{"a":[-9007199254740992]}'),
        ("token-4300-digits", "integers", "An integer token has 4300 digits.", '{"a":' + "9" * 4300 + "}"),
        ("unknown-tag", "tags", "A tag is unknown.", '{"a":{"$date":"2026-01-02"}}'),
        ("tag-dollar-alone", "dollar-names", "A name is one $ alone.", '{"a":{"$":1}}'),
        ("tag-upper", "tags", "The tag is written $Int.", '{"a":{"$Int":"9007199254740992"}}'),
        ("tag-and-member", "tags", "A tag stands beside another member.", '{"a":{"$int":"9007199254740992","b":1}}'),
        ("member-and-tag", "tags", "A tag stands behind another member.", '{"a":{"b":1,"$float":"nan"}}'),
        ("two-tags", "tags", "An object has two tags.", '{"a":{"$int":"9007199254740992","$float":"nan"}}'),
        ("tag-as-metadata", "tags", "The metadata itself is a tag.", '{"$int":"9007199254740992"}'),
        ("tag-name-at-top", "dollar-names", "A name of the metadata has one leading $.", '{"$price":3,"a":1}'),
        ("int-in-range", "tags", "A $int holds 2^53 - 1.", '{"a":{"$int":"9007199254740991"}}'),
        ("int-zero", "tags", "A $int holds 0.", '{"a":{"$int":"0"}}'),
        ("int-leading-zero", "tags", "A $int has a leading zero.", '{"a":{"$int":"09007199254740992"}}'),
        ("int-plus", "tags", "A $int has a plus sign.", '{"a":{"$int":"+9007199254740992"}}'),
        ("int-space", "tags", "A $int ends with a space.", '{"a":{"$int":"9007199254740992 "}}'),
        ("int-feed", "tags", "A $int ends with a line feed.", '{"a":{"$int":"9007199254740992\\n"}}'),
        ("int-underscore", "tags", "A $int has an underscore.", '{"a":{"$int":"9007199254740_992"}}'),
        ("int-arabic", "tags", "A $int has Arabic digits.", '{"a":{"$int":"٩٠٠٧١٩٩٢٥٤٧٤٠٩٩٢"}}'),
        ("int-float", "tags", "A $int is written with an exponent.", '{"a":{"$int":"1e17"}}'),
        ("int-empty", "tags", "A $int is empty.", '{"a":{"$int":""}}'),
        ("int-number", "tags", "A $int is a number.", '{"a":{"$int":5}}'),
        ("int-4097", "tags", "A $int has 4097 characters.", '{"a":{"$int":"' + "9" * 4097 + '"}}'),
        ("int-minus-4097", "tags", "A $int has a minus sign and 4096 digits.", '{"a":{"$int":"-' + "9" * 4096 + '"}}'),
        ("float-name", "tags", "A $float is written NaN.", '{"a":{"$float":"NaN"}}'),
        ("float-infinity", "tags", "A $float is written infinity.", '{"a":{"$float":"infinity"}}'),
        ("float-plus", "tags", "A $float is written +inf.", '{"a":{"$float":"+inf"}}'),
        ("float-finite", "tags", "A $float holds 1.5.", '{"a":{"$float":"1.5"}}'),
        ("float-null", "tags", "A $float is null.", '{"a":{"$float":null}}'),
        ("array", "values", "The metadata is an array.", "[]"),
        ("null", "values", "The metadata is null.", "null"),
    )
    for name, sibling, fault, json in faults:
        yield refused(
            f"root-metadata-{name}",
            f"Metadata: {fault[0].lower()}{fault[1:-1]}",
            fault,
            "root.schema",
            ["SCF-ROOT-025"] if name not in ("array", "null") else ["SCF-ROOT-009"],
            f"root-metadata-{sibling}",
            _with(json),
            phases=["open"],
        )
