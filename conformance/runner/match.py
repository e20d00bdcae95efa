"""Whether a response is what a case expects, and where it is not (CASES.md, section "Steps")."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from .suite import Index

__all__ = ["MATCHERS", "mismatches", "unexpected"]

Json = dict[str, Any]

MATCHERS: Final = frozenset({"$set", "$contains", "$any", "$file", "$about", "$equal"})
_SHOWN: Final = 6
_WIDTH: Final = 300


def unexpected(expect: Json | Sequence[Json], response: Json, index: Index, out: Path | None) -> list[str]:
    """Why a response is none of the expected ones; empty if it is one."""
    alternatives = [expect] if isinstance(expect, dict) else list(expect)
    found = [_against(each, response, index, out) for each in alternatives]
    if not all(found):
        return []
    near = [texts for each, texts in zip(alternatives, found, strict=True) if each["result"] == response["result"]]
    if len(alternatives) == 1:
        return found[0]
    if not near:
        wanted = " or ".join(dict.fromkeys(_wanted(each) for each in alternatives))
        return [f"expected {wanted}, found {_found(response)}"]
    return [f"{len(alternatives)} outcomes conform, this is none of them; against the nearest:", *min(near, key=len)]


def _against(expect: Json, response: Json, index: Index, out: Path | None) -> list[str]:
    if response["result"] != expect["result"]:
        return [f"expected {_wanted(expect)}, found {_found(response)}"]
    texts: list[str] = []
    if response["result"] == "rejected":
        code, phase = response["code"], response["phase"]
        if code not in expect["codes"]:
            unknown = "" if code in index.phases else ", which is no code of the registry"
            texts.append(f"code: expected {' or '.join(expect['codes'])}, found {_found(response)}{unknown}")
        elif phase not in expect.get("phases", [phase]):
            texts.append(f"phase of {code}: expected {' or '.join(expect['phases'])}, found {phase}")
        elif not index.allows(code, phase):
            phases = " or ".join(sorted(index.phases.get(code, ())))
            texts.append(f"phase of {code}: the registry has {phases}, found {phase}")
    texts += mismatches(expect.get("values", {}), response, out)
    return texts


def mismatches(pattern: Any, value: Any, out: Path | None = None) -> list[str]:
    """Where a value does not match, the first places with what was expected and found; empty if it matches."""
    texts: list[str] = []
    for text in _differences(pattern, value, "", out):
        if len(texts) == _SHOWN:
            return [*texts, "and more"]
        texts.append(text)
    return texts


def _differences(pattern: Any, value: Any, place: str, out: Path | None) -> Iterator[str]:
    if isinstance(pattern, dict):
        matcher = next(iter(pattern.keys() & MATCHERS), None)
        if matcher is not None:
            yield from _MATCHERS[matcher](pattern[matcher], value, place, out)
        elif not isinstance(value, dict):
            yield _differs(place, pattern, value)
        else:
            for name, inner in pattern.items():
                if name in value:
                    yield from _differences(inner, value[name], f"{place}.{name}" if place else name, out)
                else:
                    yield f"{place or 'the response'}: no member {name}"
    elif isinstance(pattern, list):
        if not isinstance(value, list):
            yield _differs(place, pattern, value)
        elif len(value) != len(pattern):
            yield f"{place}: expected {len(pattern)} elements, found {len(value)}: {_short(value)}"
        else:
            for number, (inner, element) in enumerate(zip(pattern, value, strict=True)):
                yield from _differences(inner, element, f"{place}[{number}]", out)
    elif not _equal(pattern, value):
        yield _differs(place, pattern, value)


def _matches(pattern: Any, value: Any, out: Path | None) -> bool:
    return next(_differences(pattern, value, "", out), None) is None


def _equal(expected: Any, found: Any) -> bool:
    """As JSON: true is not 1."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(_equal(expected[name], found[name]) for name in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_equal, expected, found))
    return isinstance(expected, bool) == isinstance(found, bool) and bool(expected == found)


def _set(patterns: Any, value: Any, place: str, out: Path | None) -> Iterator[str]:
    if not isinstance(value, list):
        yield _differs(place, patterns, value)
        return
    fits = [[at for at, each in enumerate(value) if _matches(pattern, each, out)] for pattern in patterns]
    taken = _assigned(fits)
    missing = [number for number in range(len(patterns)) if number not in taken]
    left = sorted(set(range(len(value))) - set(taken.values()))
    if len(missing) == len(left) == 1:
        yield from _differences(patterns[missing[0]], value[left[0]], f"{place}[{left[0]}]", out)
        return
    for number in missing:
        yield f"{place}: in any order, {_short(patterns[number])} is missing in {_short(value)}"
    for at in left:
        yield f"{place}[{at}]: not expected: {_short(value[at])}"


def _assigned(fits: Sequence[Sequence[int]]) -> dict[int, int]:
    """Patterns to elements, each element at most once, as many patterns as can be (augmenting paths)."""
    owner: dict[int, int] = {}

    def assign(number: int, tried: set[int]) -> bool:
        for at in fits[number]:
            if at in tried:
                continue
            tried.add(at)
            if at not in owner or assign(owner[at], tried):
                owner[at] = number
                return True
        return False

    for number in range(len(fits)):
        assign(number, set())
    return {number: at for at, number in owner.items()}


def _contains(patterns: Any, value: Any, place: str, out: Path | None) -> Iterator[str]:
    if not isinstance(value, list):
        yield _differs(place, patterns, value)
        return
    for pattern in patterns:
        if not any(_matches(pattern, each, out) for each in value):
            yield f"{place}: {_short(pattern)} is missing in {_short(value)}"


def _any(patterns: Any, value: Any, place: str, out: Path | None) -> Iterator[str]:
    if not any(_matches(pattern, value, out) for pattern in patterns):
        yield f"{place}: expected one of {_short(patterns)}, found {_short(value)}"


def _about(texts: Any, value: Any, place: str, _: Path | None) -> Iterator[str]:
    if not isinstance(value, str) or not any(text in value for text in texts):
        yield f"{place}: expected a text with one of {_short(texts)}, found {_short(value)}"


def _exactly(expected: Any, value: Any, place: str, _: Path | None) -> Iterator[str]:
    if not _equal(expected, value):
        yield _differs(place, expected, value)


def _file(wanted: Any, value: Any, place: str, out: Path | None) -> Iterator[str]:
    if out is None or not isinstance(value, str):
        yield f"{place}: expected the name of a file, found {_short(value)}"
        return
    path = out / value
    if not path.resolve().is_relative_to(out.resolve()):
        yield f"{place}: {value} leads out of the directory for files"
        return
    try:
        data = path.read_bytes()
    except OSError as error:
        yield f"{place}: the file {value} can't be read: {error.strerror}"
        return
    if len(data) != wanted["size"]:
        yield f"{place}: the file {value} has {len(data)} bytes, expected {wanted['size']}"
    elif "hex" in wanted and data.hex() != wanted["hex"]:
        yield f"{place}: the file {value} has {_short(data.hex())}, expected {_short(wanted['hex'])}"
    elif hashlib.sha256(data).hexdigest() != wanted["sha256"]:
        yield f"{place}: the file {value} has other bytes than expected; it begins {data[:32].hex()}"


_MATCHERS: Final = {
    "$set": _set,
    "$contains": _contains,
    "$any": _any,
    "$file": _file,
    "$about": _about,
    "$equal": _exactly,
}


def _differs(place: str, expected: Any, found: Any) -> str:
    return f"{place or 'the response'}: expected {_short(expected)}, found {_short(found)}"


def _wanted(expect: Json) -> str:
    codes = expect.get("codes")
    return f"{expect['result']} by {' or '.join(codes)}" if codes else str(expect["result"])


def _found(response: Json) -> str:
    """A response in a line."""
    if response["result"] == "rejected":
        return f"rejected by {response['code']} ({_short(response['message'])})"
    if response["result"] == "unsupported":
        return f"unsupported ({response['what']})"
    if response["result"] == "error":
        return f"error ({_short(response['message'])})"
    return "ok"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 60]} … {text[-50:]}"
