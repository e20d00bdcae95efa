"""Bugs of readers of MessagePack."""

from __future__ import annotations

import unicodedata

from ..oracle import limits, mpack
from .claims import claimed
from .mutant import mutant
from .patching import Patches


@mutant("inspect", hints=["manifest-syntax-double-text"])
def takes_last_of_duplicate_keys(oracle: Patches) -> None:
    """Takes the last of several equal keys of a MessagePack map."""
    oracle.edit(mpack._Parser.map, "if key in members:", "if False:")


@mutant("inspect", hints=["manifest-syntax-double-int-encodings"])
def compares_keys_as_stored(oracle: Patches) -> None:
    """Accepts two equal keys of a MessagePack map in different encodings."""
    oracle.edit(mpack._Parser.map, "members: PackedMap = {}", "members: PackedMap = {}\n    seen = set()")
    oracle.edit(mpack._Parser.map, "key = self.key()", "begin = self.at\n        key = self.key()")
    oracle.edit(
        mpack._Parser.map,
        "        if key in members:",
        "        known = self.raw[begin : self.at] in seen\n"
        "        seen.add(self.raw[begin : self.at])\n"
        "        if known:",
    )


@mutant("inspect", hints=["manifest-syntax-utf8-ff"])
def replaces_invalid_utf8(oracle: Patches) -> None:
    """Replaces bytes of a MessagePack string that are not UTF-8 by U+FFFD."""
    oracle.edit(mpack._Parser.text, ".decode()", '.decode("utf-8", "replace")')


@mutant("inspect", hints=["manifest-syntax-byte-behind"])
def ignores_what_follows_the_map(oracle: Patches) -> None:
    """Ignores bytes that follow the map of a manifest."""
    oracle.edit(mpack.parse, "if parser.at != len(raw):", "if False:")


@mutant("inspect", hints=["manifest-syntax-c1"])
def reads_never_used_byte_as_nil(oracle: Patches) -> None:
    """Takes the MessagePack byte 0xc1, which is never used, for nil."""
    oracle.edit(mpack._Parser.scalar, "if first == 0xC0:", "if first in {0xC0, 0xC1}:")


@mutant("inspect", hints=["manifest-syntax-key-nil", "manifest-syntax-key-true"])
def accepts_keys_of_any_type(oracle: Patches) -> None:
    """Accepts nil, booleans and bytes as keys of a MessagePack map."""
    oracle.edit(mpack._Parser.key, "if is_text or is_integer else None", "")
    oracle.edit(
        mpack._Parser.key,
        "if not isinstance(key, (str, int)):",
        "key = str(key) if key is None else key\n    if False:",
    )


@mutant("inspect", hints=["manifest-syntax-depth-129-arrays"])
def nests_manifest_without_limit(oracle: Patches) -> None:
    """Does not limit the depth of MessagePack, and overflows its stack."""
    oracle.name(limits, "MAX_MANIFEST_DEPTH", 1 << 40)


@mutant("inspect", hints=["manifest-syntax-count-more", "hostile-*"])
def allocates_what_arrays_declare(oracle: Patches) -> None:
    """Allocates as many elements as a MessagePack array declares before it has looked at the bytes at hand."""
    oracle.edit(
        mpack._Parser.array, "    self.count(size)", "    claimed(8 * size)\n    self.count(size)", claimed=claimed
    )


@mutant("inspect", hints=["tree-integers"])
def reads_large_unsigned_as_signed(oracle: Patches) -> None:
    """Reads unsigned integers of 64 bits as signed ones."""
    oracle.edit(
        mpack._Parser.scalar,
        "    if 0xCC <= first <= 0xCF:",
        "    if first == 0xCF:\n"
        '        return int.from_bytes(self.take(8), "big", signed=True)\n'
        "    if 0xCC <= first <= 0xCF:",
    )


@mutant("inspect", hints=["manifest-syntax-extension-outside-unknown-key"])
def accepts_extensions_anywhere(oracle: Patches) -> None:
    """Accepts extension values outside the tree."""
    oracle.edit(mpack._Parser.extension, "if not self.in_tree:", "if False:")


@mutant("inspect", hints=["tree-texts", "tree-keys"])
def normalises_text_of_manifest(oracle: Patches) -> None:
    """Normalises the text of a manifest to NFC."""
    oracle.edit(mpack._Parser.text, "return self.take(size).decode()", "return nfc(self.take(size).decode())", nfc=_nfc)


@mutant("inspect", hints=["tree-texts", "tree-keys"])
def trims_text_of_manifest(oracle: Patches) -> None:
    """Trims white space around the text of a manifest."""
    oracle.edit(mpack._Parser.text, ".decode()", ".decode().strip()")


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
