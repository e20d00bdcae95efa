"""Bugs of readers of JSON, in roots and in headers."""

from __future__ import annotations

import math
import re
import unicodedata

from ..oracle import header, json_profile, limits, root
from .mutant import mutant
from .patching import Patches


@mutant("inspect", hints=["root-json-double-member"])
def accepts_duplicate_names(oracle: Patches) -> None:
    """Takes the last of several members of one name in JSON."""
    oracle.edit(json_profile._Reader.object, "if name in members:", "if False:")


@mutant("inspect", hints=["root-json-double-escaped"])
def compares_names_before_escapes(oracle: Patches) -> None:
    """Looks for members of one name in JSON before escapes are resolved."""
    oracle.edit(json_profile._Reader.object, "name = self.string()", "begin = self.at\n        name = self.string()")
    oracle.edit(
        json_profile._Reader.object,
        "if name in members:",
        "if name in members and '\\\\' not in self.text[begin : self.at]:",
    )


@mutant("inspect", hints=["root-json-number-nan"])
def accepts_nan(oracle: Patches) -> None:
    """Accepts NaN and Infinity in JSON."""
    words = {**json_profile._WORDS, "N": ("NaN", math.nan), "I": ("Infinity", math.inf)}
    oracle.name(json_profile, "_WORDS", words)


@mutant("inspect", hints=["root-json-number-overflow"])
def accepts_numbers_beyond_doubles(oracle: Patches) -> None:
    """Takes a number in JSON that is too large for a double for infinity."""
    oracle.edit(json_profile._Reader.number, "if math.isinf(number):", "if False:")


@mutant("inspect", hints=["root-json-number-leading-zero"])
def accepts_leading_zeros(oracle: Patches) -> None:
    """Accepts numbers with leading zeros in JSON."""
    pattern = json_profile._NUMBER.pattern.replace("(0|[1-9][0-9]*)", "([0-9]+)")
    oracle.name(json_profile, "_NUMBER", re.compile(pattern))


@mutant("inspect", hints=["root-first-bom-first"])
def accepts_byte_order_mark(oracle: Patches) -> None:
    """Passes over a byte order mark before a root."""
    oracle.edit(
        root.read_root,
        "    major = ",
        r'    data = data.removeprefix(b"\xef\xbb\xbf")' "\n    major = ",
    )


@mutant("inspect", hints=["root-json-string-lone-high"])
def accepts_lone_surrogates(oracle: Patches) -> None:
    """Replaces a surrogate without its other half in JSON by U+FFFD."""
    oracle.edit(json_profile._Reader.escape, 'self.fail("an unpaired surrogate")', 'return "\\ufffd"')


@mutant("inspect", hints=["root-json-string-utf8-ff"])
def replaces_invalid_utf8_in_json(oracle: Patches) -> None:
    """Replaces bytes of JSON that are not UTF-8 by U+FFFD."""
    oracle.edit(json_profile.parse, "data.decode()", 'data.decode("utf-8", "replace")')


@mutant("inspect", hints=["root-json-string-control"])
def accepts_control_characters(oracle: Patches) -> None:
    """Accepts control characters in strings of JSON."""
    oracle.name(json_profile, "_PLAIN", re.compile(r'[^"\\]*'))


@mutant("inspect", hints=["root-json-garbage-behind"])
def ignores_what_follows_json(oracle: Patches) -> None:
    """Ignores what follows the object of a root."""
    oracle.edit(json_profile.parse, "if reader.peek():", "if False:")


@mutant("inspect", hints=["root-json-syntax-depth-65"])
def nests_json_without_limit(oracle: Patches) -> None:
    """Does not limit the depth of JSON, and overflows its stack."""
    oracle.name(limits, "MAX_JSON_DEPTH", 1 << 40)


@mutant("inspect", hints=["root-json-number-digits-4301"])
def reads_integers_of_any_length(oracle: Patches) -> None:
    """Accepts integers of any number of digits in JSON."""
    oracle.name(limits, "MAX_JSON_DIGITS", 1 << 40)


@mutant("inspect", hints=["root-json-names-by-case"])
def normalises_text_of_root(oracle: Patches) -> None:
    """Normalises the text of a root to NFC."""
    oracle.edit(
        json_profile._Reader.string,
        "return parts[0] if len(parts) == 1 else",
        "return _nfc(parts[0]) if len(parts) == 1 else",
        _nfc=lambda text: unicodedata.normalize("NFC", text),
    )


@mutant("integrity", hints=["objects-header-leading-space"])
def accepts_space_before_header(oracle: Patches) -> None:
    """Accepts white space before the JSON of a data object's header."""
    oracle.edit(header._read, 'data[8:].rstrip(b" ")', 'data[8:].strip(b" ")')


@mutant("integrity", hints=["objects-header-padded-by-newlines"])
def accepts_any_padding_of_header(oracle: Patches) -> None:
    """Accepts other white space than spaces after the JSON of a data object's header."""
    oracle.edit(header._read, 'data[8:].rstrip(b" ")', "data[8:].rstrip()")


@mutant("integrity", hints=["objects-header-unknown-member"])
def accepts_unknown_members_of_entries(oracle: Patches) -> None:
    """Accepts further members of an entry in a data object's header."""
    oracle.edit(header._entry, "value.keys() != _MEMBERS", "not value.keys() >= _MEMBERS")


@mutant("integrity", hints=["objects-header-unassigned-size"])
def accepts_sizes_against_dtype(oracle: Patches) -> None:
    """Does not compare the bytes of an entry with its dtype and shape."""
    oracle.edit(header._entry, "8 * (entry.end - entry.begin)", "_bits(entry)")


@mutant("integrity", hints=["objects-header-metadata-number"])
def accepts_metadata_of_any_type(oracle: Patches) -> None:
    """Accepts values in __metadata__ that are no strings."""
    oracle.edit(header._texts, "if len(texts) != len(value):", "if False:")


@mutant("integrity", hints=["objects-header-length-short", "objects-header-length*"])
def accepts_bytes_between_header_and_data(oracle: Patches) -> None:
    """Accepts a header that ends before the data begins."""
    oracle.edit(header._read, "8 + length != len(data)", "8 + length > len(data)")
    oracle.edit(header._read, 'data[8:].rstrip(b" ")', 'data[8 : 8 + length].rstrip(b" ")')
