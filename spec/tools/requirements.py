"""Extracts every requirement of the specification to ``requirements.json`` and checks how the requirements are written.

    python spec/tools/requirements.py           # check, then write spec/requirements.json and the IDs that the registry
                                                # of error codes lists
    python spec/tools/requirements.py --check   # check, and fail if one of these is stale

All findings are printed at once, one a line; the exit status is 1 if there are any.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from case_coverage import case_problems
from registry import load_registry, parse_tables, registry_problems

__all__ = [
    "Finding",
    "Requirement",
    "code_problems",
    "dangling_sections",
    "extract",
    "lint",
    "main",
    "render",
    "with_ids",
]

SPEC = Path(__file__).resolve().parent.parent
NORMATIVE = frozenset(f"{number:02d}" for number in range(2, 19))
"""Chapters by number in which a keyword outside a block is a mistake."""
ROLES = frozenset({"reader", "writer", "committer", "collector", "store", "all"})
VERIFY = frozenset({"case", "inspect", "none"})

_ID = re.compile(r"SCF-[A-Z]{2,8}-[0-9]{3}")
_FIRST = re.compile(r"^> \*\*(SCF-[A-Z]{2,8}-[0-9]{3})\*\*: (.+)$")
_LIKE_ID = re.compile(r"\bSCF-[A-Za-z0-9-]*[0-9][A-Za-z0-9-]*")
_WORD = re.compile(r"(?:\*\*)?\b(?:MUST|SHALL|SHOULD|MAY|REQUIRED)\b(?: NOT\b)?(?:\*\*)?")
_KEYWORD = re.compile(r"\*\*(MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\*\*")
_SECTION = re.compile(r"^##+ ([0-9]+\.[0-9]+) ")
_SECTION_NAMED = re.compile(r"\bsections? ([0-9]+\.[0-9]+)\b")
_SINCE = re.compile(r"since ([0-9]+\.[0-9]+)")
_CODE = re.compile(r"[a-z]+\.[a-z_]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One block."""

    id: str
    chapter: str
    roles: tuple[str, ...]
    keyword: str
    text: str
    intent: str
    error: str | None
    verify: str
    since: str


@dataclass(frozen=True, slots=True)
class _Page:
    """A chapter cut into its block quotes and the lines around them, fenced code left out."""

    quotes: tuple[tuple[int, tuple[str, ...]], ...]
    prose: tuple[tuple[int, str], ...]


def _cut(text: str) -> _Page:
    quotes: list[tuple[int, tuple[str, ...]]] = []
    prose: list[tuple[int, str]] = []
    fence, defining, block = "", False, []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if not fence and line.startswith(">"):
            block.append(line)
            continue
        if block:
            quotes.append((number - len(block), tuple(block)))
            block = []
        mark = line.lstrip()[:3]
        if mark in {"```", "~~~"} and fence in {"", mark}:
            fence = "" if fence else mark
        elif not fence:
            if line.startswith("#"):
                defining = "keyword" in line.lower()
            prose.append((number, "" if defining else line))
    return _Page(tuple(quotes), tuple(prose))


def _parse_marks(line: str, place: str) -> tuple[dict[str, str], tuple[str, ...], list[Finding]]:
    """The second line: roles, then since, error and verify in any order."""
    if not (line.startswith("`") and line.endswith("`") and len(line) > 2):
        return {}, (), [Finding(place, "the line of roles, since, error and verify is missing or not in code ticks")]
    first, *rest = (part.strip() for part in line[1:-1].split(" · "))
    roles = tuple(role.strip() for role in first.split(","))
    findings = [Finding(place, f"unknown role {role!r}") for role in roles if role not in ROLES]
    marks: dict[str, str] = {}
    for part in rest:
        since = _SINCE.fullmatch(part)
        name, _, value = ("since", "", since[1]) if since else part.partition("=")
        if name not in {"since", "error", "verify"} or not value or name in marks:
            findings.append(Finding(place, f"unknown, empty or repeated mark {part!r}"))
        else:
            marks[name] = value
    findings += [Finding(place, f"no {name}") for name in ("since", "verify") if name not in marks]
    if marks.get("verify", "case") not in VERIFY:
        findings.append(Finding(place, f"verify={marks['verify']} is none of {', '.join(sorted(VERIFY))}"))
    return marks, roles, findings


def _parse_block(chapter: str, at: int, lines: Sequence[str]) -> tuple[Requirement | None, list[Finding]]:
    place = f"{chapter}:{at}"
    first = _FIRST.match(lines[0])
    if not first:
        if any(_WORD.search(line) or _LIKE_ID.search(line) for line in lines):
            return None, [Finding(place, "a quote that is no requirement names a keyword or an ID; its first line is "
                                         "`> **SCF-AREA-000**: text`")]
        return None, []
    name = first[1]
    place = f"{place} {name}"
    body = [line[1:].strip() for line in lines]
    body[0] = first[2].strip()
    marks_at = next((i for i, line in enumerate(body) if line.startswith("`") and "since " in line), None)
    if marks_at is None:
        return None, [Finding(place, "no line of roles, since, error and verify")]
    text = " ".join(line for line in body[:marks_at] if line)
    intent = " ".join(line for line in body[marks_at + 1 :] if line)
    marks, roles, findings = _parse_marks(body[marks_at], place)
    keywords = _KEYWORD.findall(text)
    if len(_WORD.findall(text)) != 1 or len(keywords) != 1:
        found = ", ".join(_WORD.findall(text)) or "none"
        findings.append(Finding(place, f"a block has exactly one bold keyword of MUST, MUST NOT, SHOULD, SHOULD NOT, "
                                       f"MAY; found: {found}"))
    if _WORD.search(intent):
        findings.append(Finding(place, "the intent explains and holds no keyword"))
    if not intent.startswith("*Intent:* ") or body[marks_at + 1 : marks_at + 2] != [""]:
        findings.append(Finding(place, "no intent: after the marks come `>` and `> *Intent:* …`"))
    if re.search(r"\*\*MUST\*\* refuse", text) and "error" not in marks:
        findings.append(Finding(place, "a refusal names its error=code"))
    if findings:
        return None, findings
    return (
        Requirement(
            id=name, chapter=chapter, roles=roles, keyword=keywords[0], text=text,
            intent=intent.removeprefix("*Intent:* "), error=marks.get("error"), verify=marks["verify"],
            since=marks["since"],
        ),
        [],
    )  # fmt: skip


def extract(chapters: Mapping[str, str]) -> tuple[list[Requirement], list[Finding]]:
    """All well-formed requirements of the chapters (file name -> text) by ID, and what is wrong with the rest."""
    requirements: list[Requirement] = []
    findings: list[Finding] = []
    defined: dict[str, str] = {}
    mentioned: list[tuple[str, str]] = []
    for chapter, text in sorted(chapters.items()):
        page = _cut(text)
        for at, lines in page.quotes:
            requirement, problems = _parse_block(chapter, at, lines)
            findings += problems
            first = _FIRST.match(lines[0])
            if first:
                if first[1] in defined:
                    findings.append(Finding(f"{chapter}:{at}", f"{first[1]} is already defined at {defined[first[1]]}"))
                    continue
                defined[first[1]] = f"{chapter}:{at}"
            if requirement:
                requirements.append(requirement)
            mentioned += [(f"{chapter}:{at}", text) for line in lines for text in _LIKE_ID.findall(line)]
        findings += _stray_keywords(chapter, page)
        mentioned += [(f"{chapter}:{at}", text) for at, line in page.prose for text in _LIKE_ID.findall(line)]
    for place, text in mentioned:
        if not _ID.fullmatch(text):
            findings.append(Finding(place, f"{text} is no ID; an ID is SCF-AREA-000"))
        elif text not in defined:
            findings.append(Finding(place, f"{text} is not defined anywhere"))
    return sorted(requirements, key=lambda requirement: requirement.id), findings


def _stray_keywords(chapter: str, page: _Page) -> Iterator[Finding]:
    if chapter[:2] not in NORMATIVE:
        return
    for at, line in page.prose:
        for word in _WORD.findall(line):
            yield Finding(f"{chapter}:{at}", f"the keyword {word} stands outside a requirement block")


def dangling_sections(chapters: Mapping[str, str]) -> Iterator[Finding]:
    """References such as `section 6.1` to sections that no chapter has."""
    lines = [(chapter, at, line) for chapter, text in chapters.items() for at, line in enumerate(text.split("\n"), 1)]
    present = {match[1] for _, _, line in lines if (match := _SECTION.match(line))}
    for chapter, at, line in lines:
        for number in _SECTION_NAMED.findall(line):
            if number not in present:
                yield Finding(f"{chapter}:{at}", f"there is no section {number}")


def code_problems(requirements: Sequence[Requirement], registry: Sequence[str], code: Sequence[str]) -> list[Finding]:
    """Disagreements about error codes between the requirements, the registry and the library."""
    known, place = set(registry), "registries/error-codes.md"
    findings = [
        Finding(f"{requirement.chapter} {requirement.id}", f"error={requirement.error} is not in {place}")
        for requirement in requirements
        if requirement.error is not None and requirement.error not in known
    ]
    findings += [Finding(place, f"{name!r} is no error code") for name in registry if not _CODE.fullmatch(name)]
    findings += [Finding(place, f"{name} of pyckpt.errors is missing") for name in sorted(set(code) - known)]
    findings += [Finding(place, f"{name} is unknown to pyckpt.errors") for name in sorted(known - set(code))]
    return findings


def library_codes() -> tuple[str, ...]:
    """Every code that the library's errors carry, read from its text: a tool for the text needs no working library."""
    tree = ast.parse((SPEC.parent / "pyckpt" / "errors.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    values = [
        node.value
        for each in classes
        for node in each.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "codes"
    ]
    return tuple(code for value in values for code in ast.literal_eval(value))


def lint(spec: Path) -> tuple[list[Requirement], list[Finding]]:
    """Requirements of a specification's folder and everything that is wrong in it."""
    pages = {path.name: path.read_text(encoding="utf-8") for path in sorted(spec.glob("[0-9][0-9]-*.md"))}
    requirements, findings = extract(pages)
    findings += dangling_sections(pages)
    registries = sorted((spec / "registries").glob("*.md"))
    for path in registries:
        if path.stem != "README":
            found = registry_problems(path.read_text(encoding="utf-8"))
            findings += [Finding(f"registries/{path.name}:{line}", message) for line, message in found]
    codes = spec / "registries" / "error-codes.md"
    try:
        findings += code_problems(requirements, tuple(load_registry(codes)), library_codes())
    except FileNotFoundError:
        findings.append(Finding("registries/error-codes.md", "is missing"))
    except ValueError as error:
        findings.append(Finding("registries/error-codes.md", f"cannot be used: {error}".replace("\n", "; ")))
    return requirements, findings


def render(requirements: Sequence[Requirement]) -> str:
    """The text of ``requirements.json``."""
    return json.dumps([asdict(requirement) for requirement in requirements], indent=1, ensure_ascii=False) + "\n"


def with_ids(registry: str, requirements: Sequence[Requirement]) -> str:
    """The text of the registry of error codes with the last cell of each row set to the requirements that name it."""
    uses: dict[str, list[str]] = {}
    for requirement in requirements:
        uses.setdefault(requirement.error or "", []).append(requirement.id)
    lines = registry.split("\n")
    for table in parse_tables(registry):
        if table.columns[-1] == "requirement ids":
            for at, cells in table.rows:
                head = lines[at - 1].rstrip().removesuffix("|").rpartition("|")[0]
                lines[at - 1] = f"{head}| {', '.join(uses.get(cells[0], ['-']))} |"
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the check; returns the exit status."""
    parser = argparse.ArgumentParser(description="Check the requirements of the specification and extract them.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if requirements.json is stale")
    parser.add_argument("--spec", type=Path, default=SPEC, help="folder of the specification")
    options = parser.parse_args(arguments)
    requirements, findings = lint(options.spec)
    made = {options.spec / "requirements.json": render(requirements)}
    codes = options.spec / "registries" / "error-codes.md"
    if not findings:
        made[codes] = with_ids(codes.read_text(encoding="utf-8"), requirements)
    if options.check:
        findings += [
            Finding(path.name, "is stale; run python spec/tools/requirements.py")
            for path, text in made.items()
            if not path.exists() or path.read_text(encoding="utf-8") != text
        ]
        if options.spec == SPEC:
            findings += [Finding("conformance/cases", problem) for problem in case_problems(requirements)]
    for finding in findings:
        print(finding)
    if findings:
        print(f"{len(findings)} findings in {len(requirements)} requirements", file=sys.stderr)
        return 1
    for path, text in made.items() if not options.check else ():
        path.write_text(text, encoding="utf-8")
    print(f"{len(requirements)} requirements, no findings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
