"""Strict JSON of section 6.2: one object, no second reading of any byte."""

from __future__ import annotations

import math
import re
from typing import Union

from .limits import MAX_JSON_DEPTH, MAX_JSON_DIGITS

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]
JsonObject = dict[str, Json]

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_UNICODE = re.compile(r"u([0-9a-fA-F]{4})")
_SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, tuple[str, Json]] = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}


class JsonFault(ValueError):
    """The bytes are not JSON of the profile."""


def parse(data: bytes) -> JsonObject:
    """The one object that the bytes are; members in stored order (SCF-ROOT-007)."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise JsonFault(f"not UTF-8 at byte {error.start}") from None
    reader = _Reader(text)
    if reader.peek() != "{":
        reader.fail("an object is expected")
    value = reader.object(1)
    if reader.peek():
        reader.fail("something follows the object")
    return value


class _Reader:
    """A position in a text; recursion is bounded by the depth of the profile (SCF-SEC-006)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, why: str) -> None:
        """Refuse at the present character."""
        raise JsonFault(f"{why} at character {self.at}")

    def peek(self) -> str:
        """The next character that is not whitespace, empty at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def take(self, mark: str) -> bool:
        """Step over the mark if it is next."""
        found = self.peek() == mark
        self.at += found
        return found

    def need(self, mark: str) -> None:
        """Step over the mark, which has to be next."""
        if not self.take(mark):
            self.fail(f"{mark} is expected")

    def value(self, depth: int) -> Json:
        """Any value; `depth` is the level of the container that it is in."""
        first = self.peek()
        if first == "{":
            return self.object(depth + 1)
        if first == "[":
            return self.array(depth + 1)
        if first == '"':
            return self.string()
        if first in _WORDS:
            word, value = _WORDS[first]
            if not self.text.startswith(word, self.at):
                self.fail("no value")
            self.at += len(word)
            return value
        return self.number()

    def object(self, depth: int) -> JsonObject:
        """An object that begins here; no two members have one name."""
        self.enter(depth)
        members: JsonObject = {}
        if self.take("}"):
            return members
        while True:
            if self.peek() != '"':
                self.fail("a name is expected")
            name = self.string()
            if name in members:
                self.fail("a name occurs twice")
            self.need(":")
            members[name] = self.value(depth)
            if self.take("}"):
                return members
            self.need(",")

    def array(self, depth: int) -> list[Json]:
        """An array that begins here."""
        self.enter(depth)
        elements: list[Json] = []
        if self.take("]"):
            return elements
        while True:
            elements.append(self.value(depth))
            if self.take("]"):
                return elements
            self.need(",")

    def enter(self, depth: int) -> None:
        """Step into a container of this level."""
        if depth > MAX_JSON_DEPTH:
            self.fail(f"nested deeper than {MAX_JSON_DEPTH} levels")
        self.at += 1

    def string(self) -> str:
        """A string that begins here, escapes resolved."""
        self.at += 1
        parts = []
        while True:
            match = _PLAIN.match(self.text, self.at)
            parts.append(match.group() if match else "")
            self.at = match.end() if match else self.at
            mark = self.text[self.at : self.at + 1]
            if mark == '"':
                self.at += 1
                return parts[0] if len(parts) == 1 else "".join(parts)
            if mark != "\\":
                self.fail("a string does not end, or has a control character,")
            parts.append(self.escape())

    def escape(self) -> str:
        """The character of an escape; a surrogate only as the first half of a pair."""
        short = _SHORT.get(self.text[self.at + 1 : self.at + 2])
        if short is not None:
            self.at += 2
            return short
        unit = self.unit()
        if 0xD800 <= unit <= 0xDBFF and self.text[self.at : self.at + 1] == "\\":
            low = self.unit()
            if 0xDC00 <= low <= 0xDFFF:
                return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= unit <= 0xDFFF:
            self.fail("an unpaired surrogate")
        return chr(unit)

    def unit(self) -> int:
        """The code unit of a backslash-u escape that begins here."""
        match = _UNICODE.match(self.text, self.at + 1)
        if match is None:
            raise JsonFault(f"an unknown escape at character {self.at}")
        self.at = match.end()
        return int(match.group(1), 16)

    def number(self) -> int | float:
        """A number that begins here: an integer if it has neither fraction nor exponent."""
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise JsonFault(f"no value at character {self.at}")
        digits, fraction, exponent = match.groups()
        if fraction is None and exponent is None:
            if len(digits) > MAX_JSON_DIGITS:
                self.fail(f"an integer of more than {MAX_JSON_DIGITS} digits")
            number: int | float = int(match.group())
        else:
            number = float(match.group())
            if math.isinf(number):
                self.fail("a number that rounds to infinity")
        self.at = match.end()
        return number
