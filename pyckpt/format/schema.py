"""Strict reading of parsed JSON: exact types, and every problem collected with its place instead of the first only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from pyckpt.errors import Corrupt, Finding, PyckptError

__all__ = ["MAX_FINDINGS", "Members", "Place", "Problems", "found"]

MAX_FINDINGS: Final = 100
"""How many problems are kept word for word; the rest is only counted."""

Place = tuple[str | int, ...]
"""Member names and array indices from the top of the document."""

_HEX64 = re.compile(r"[0-9a-f]{64}")


def found(value: object) -> str:
    """A short description of a parsed value for an error message."""
    if isinstance(value, str):
        return ascii(value) if len(value) <= 100 else f"{value[:100]!a} and {len(value) - 100} characters more"
    if value is None or isinstance(value, bool | int | float):
        return f"{value!r:.100}"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else type(value).__name__


class Problems:
    """Everything that is wrong with one document."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.findings: list[Finding] = []
        self.count = 0

    def add(self, place: Place, message: str) -> None:
        """Notes one problem; the place is given as a JSON pointer (RFC 6901)."""
        self.count += 1
        if len(self.findings) < MAX_FINDINGS:
            pointer = "".join(f"/{_escape(component)}" for component in place)
            self.findings.append(Finding(self.code, pointer or "/", message))

    def check(self, place: Place, rule: Callable[[str], object], value: str) -> bool:
        """Whether a rule that raises accepts the value; if it doesn't, its message becomes a problem."""
        try:
            rule(value)
        except PyckptError as error:
            self.add(place, f"{error.key}: {error.message}" if error.key else error.message)
            return False
        return True

    def raise_if_any(self, document: str) -> None:
        """Raises ``Corrupt`` that lists the problems, if there are any."""
        if self.count:
            more = f"; the first {MAX_FINDINGS} are listed" if self.count > MAX_FINDINGS else ""
            raise Corrupt(
                self.code, f"{self.count} problem(s) with its members{more}", key=document, findings=self.findings
            )


def _escape(component: str | int) -> str:
    text = str(component) if len(str(component)) <= 200 else f"{component!s:.200}…"
    return text.replace("~", "~0").replace("/", "~1").encode("ascii", "backslashreplace").decode()


class Members:
    """The members of one JSON object; each reader gives a value of the right type, invented after noting a problem."""

    def __init__(self, value: object, place: Place, problems: Problems) -> None:
        self.place = place
        self.problems = problems
        self.usable = isinstance(value, dict)
        self.value: dict[str, object] = value if isinstance(value, dict) else {}
        if not self.usable:
            problems.add(place, f"expected an object, found {found(value)}")

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self.value

    def wrong(self, name: str, message: str) -> None:
        """Notes a problem of one member."""
        self.problems.add((*self.place, name), message)

    def text(self, name: str) -> str:
        """A string."""
        value = self.value.get(name)
        if isinstance(value, str):
            return value
        self._refuse(name, "a string")
        return ""

    def optional_text(self, name: str) -> str | None:
        """A string, or None if there is no such member or no string in it."""
        value = self.value.get(name)
        if isinstance(value, str):
            return value
        if name in self.value:
            self._refuse(name, "a string")
        return None

    def hex64(self, name: str) -> str:
        """64 lowercase hex digits."""
        value = self.value.get(name)
        if isinstance(value, str) and _HEX64.fullmatch(value):
            return value
        self._refuse(name, "64 lowercase hex digits")
        return "0" * 64

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer within both bounds; neither a boolean nor a number with a point."""
        value = self.value.get(name)
        if type(value) is int and low <= value <= high:
            return value
        self._refuse(name, f"an integer {low} .. {high}")
        return low

    def array(self, name: str) -> list[object]:
        """An array."""
        value = self.value.get(name)
        if isinstance(value, list):
            return value
        self._refuse(name, "an array")
        return []

    def strings(self, name: str) -> tuple[str, ...]:
        """An array of strings, ascending by code point and distinct."""
        strings: list[str] = []
        for index, element in enumerate(self.array(name)):
            if not isinstance(element, str):
                self.problems.add((*self.place, name, index), f"expected a string, found {found(element)}")
            elif strings and element <= strings[-1]:
                self.problems.add(
                    (*self.place, name, index), f"expected a string after {found(strings[-1])}, found {found(element)}"
                )
            else:
                strings.append(element)
        return tuple(strings)

    def members(self, name: str) -> Members:
        """An object."""
        if name in self.value:
            return Members(self.value[name], (*self.place, name), self.problems)
        self._refuse(name, "an object")
        inner = Members({}, (*self.place, name), self.problems)
        inner.usable = False
        return inner

    def rest(self, known: Iterable[str]) -> dict[str, object]:
        """The members that this version of the format doesn't know."""
        names = frozenset(known)
        return {name: value for name, value in self.value.items() if name not in names}

    def _refuse(self, name: str, expected: str) -> None:
        # an object that isn't one has been reported already, as a whole
        if self.usable:
            value = f"found {found(self.value[name])}" if name in self.value else "there is no such member"
            self.wrong(name, f"expected {expected}, {value}")
