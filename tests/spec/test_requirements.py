"""The lint passes on the specification, and catches each kind of mistake on chapters made up for it."""

from __future__ import annotations

import json

import codec_example
import pytest
import requirements as tool

from pyckpt.errors import PyckptError

BLOCK = """\
> **SCF-TEST-001**: A reader **MUST** refuse a cat.
> `reader · since 1.0 · error=root.schema · verify=case`
>
> *Intent:* cats are no checkpoints.
"""


def findings_of(text: str, chapter: str = "05-test.md") -> list[str]:
    return [finding.message for finding in tool.extract({chapter: text})[1]]


def test_specification_has_no_findings(spec, capsys):
    status = tool.main(["--check", "--spec", str(spec)])
    assert status == 0, capsys.readouterr().out


def test_example_of_the_codecs_chapter_is_current():
    assert codec_example.main(["--check"]) == 0


def test_block_is_extracted_whole():
    (requirement,), findings = tool.extract({"05-test.md": "# 5\n\n" + BLOCK})
    assert findings == []
    assert requirement == tool.Requirement(
        id="SCF-TEST-001",
        chapter="05-test.md",
        roles=("reader",),
        keyword="MUST",
        text="A reader **MUST** refuse a cat.",
        intent="cats are no checkpoints.",
        error="root.schema",
        verify="case",
        since="1.0",
    )
    assert json.loads(tool.render([requirement]))[0]["roles"] == ["reader"]


def test_blocks_are_sorted_by_id_over_chapters():
    other = BLOCK.replace("TEST-001", "AREA-002")
    found, findings = tool.extract({"05-a.md": BLOCK, "06-b.md": other})
    assert not findings
    assert [requirement.id for requirement in found] == ["SCF-AREA-002", "SCF-TEST-001"]


def test_text_over_several_lines_and_two_roles():
    block = BLOCK.replace("refuse a cat.", "refuse\n> a cat.").replace("`reader ·", "`reader, writer ·")
    (requirement,), findings = tool.extract({"05-test.md": block})
    assert findings == []
    assert requirement.text == "A reader **MUST** refuse a cat."
    assert requirement.roles == ("reader", "writer")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("**MUST** refuse", "refuses", "exactly one bold keyword"),
        ("**MUST** refuse", "**MUST** refuse and **SHOULD** log", "exactly one bold keyword"),
        ("**MUST** refuse", "MUST refuse", "exactly one bold keyword"),
        ("**MUST** refuse", "**SHALL** refuse", "exactly one bold keyword"),
        ("a cat", "a cat; it MAY purr", "exactly one bold keyword"),
        ("cats are", "cats MUST be", "the intent explains"),
        ("SCF-TEST-001", "SCF-TEST-1", "no requirement names a keyword or an ID"),
        ("SCF-TEST-001", "SCF-T-0001", "no requirement names a keyword or an ID"),
        ("**SCF-TEST-001**:", "SCF-TEST-001:", "no requirement names a keyword or an ID"),
        ("reader ·", "cat ·", "unknown role 'cat'"),
        ("since 1.0 · ", "", "no line of roles"),
        ("since 1.0", "since", "no since"),
        (" · verify=case", "", "no verify"),
        ("verify=case", "verify=maybe", "verify=maybe"),
        ("verify=case", "verify=case · colour=red", "unknown, empty or repeated mark"),
        (" · error=root.schema", "", "a refusal names its error"),
        ("error=root.schema", "error=", "unknown, empty or repeated mark"),
        ("*Intent:* cats are no checkpoints.", "", "no intent"),
        (">\n> *Intent:*", "> *Intent:*", "no intent"),
    ],
)
def test_mistakes_in_a_block_are_found(old, new, message):
    assert old in BLOCK
    found = findings_of(BLOCK.replace(old, new, 1))
    assert any(message in text for text in found), found


def test_keyword_outside_a_block_is_found():
    for word in ("MUST", "**MUST NOT**", "SHALL", "SHOULD", "MAY", "REQUIRED"):
        assert findings_of(f"A reader {word} not be a cat.\n") != [], word
    assert findings_of("A reader must not be a cat. MUSTER, MAYBE.\n") == []


def test_keywords_in_code_in_definitions_and_in_other_chapters_are_allowed():
    assert findings_of("```\nMUST\n> MUST\n```\n") == []
    assert findings_of("## 2.1 Keywords\n\nMUST and MAY are as in BCP 14.\n") == []
    assert findings_of("## 2.1 Keywords\n\n## 2.2 Other\n\nMUST.\n") != []
    assert findings_of("A reader MUST read.\n", chapter="01-introduction.md") == []


def test_ids_are_used_once_and_exist():
    assert any("already defined" in text for text in findings_of(BLOCK + "\n" + BLOCK))
    assert any("not defined" in text for text in findings_of("See SCF-TEST-777.\n"))
    assert any("no ID" in text for text in findings_of("See SCF-TEST-7.\n"))
    assert findings_of("See SCF-TEST-001.\n\n" + BLOCK) == []


def test_error_codes_agree_with_registry_and_library():
    found, _ = tool.extract({"05-test.md": BLOCK})

    def messages(registry, code):
        return [finding.message for finding in tool.code_problems(found, registry, code)]

    assert messages(["root.schema"], ["root.schema"]) == []
    assert any("is not in" in text for text in messages(["root.digest"], ["root.digest"]))
    assert any("is missing" in text for text in messages(["root.schema"], ["root.schema", "root.digest"]))
    assert any("unknown to" in text for text in messages(["root.schema", "root.digest"], ["root.schema"]))


def test_codes_of_the_library_are_all_read():
    subclasses = PyckptError.__subclasses__()
    assert sorted(tool.library_codes()) == sorted(code for subclass in subclasses for code in subclass.codes)


def test_references_to_sections_exist():
    chapters = {"05-a.md": "## 5.1 Cats\n\nSee section 5.1.\n", "06-b.md": "See section 5.2 (sections 5.1 to 5.2).\n"}
    assert [finding.message for finding in tool.dangling_sections(chapters)] == ["there is no section 5.2"]


@pytest.fixture
def small_spec(tmp_path):
    (tmp_path / "05-test.md").write_text(BLOCK)
    (tmp_path / "registries").mkdir()
    rows = "".join(f"| `{code}` | any | - |\n" for code in tool.library_codes())
    header = "| code | phase | requirement ids |\n| --- | --- | --- |\n"
    (tmp_path / "registries" / "error-codes.md").write_text(header + rows)
    return tmp_path


def test_written_files_are_current_until_a_chapter_changes(small_spec, capsys):
    arguments = ["--spec", str(small_spec)]
    assert tool.main(["--check", *arguments]) == 1
    assert tool.main(arguments) == 0
    assert "| `root.schema` | any | SCF-TEST-001 |\n" in (small_spec / "registries" / "error-codes.md").read_text()
    assert tool.main(["--check", *arguments]) == 0
    (small_spec / "05-test.md").write_text(BLOCK.replace("cats are", "a cat is"))
    assert tool.main(["--check", *arguments]) == 1
    assert "stale" in capsys.readouterr().out


def test_all_findings_are_printed_and_nothing_is_written(small_spec, capsys):
    (small_spec / "05-test.md").write_text(BLOCK.replace("**MUST**", "must") + "\nMUST.\n")
    (small_spec / "registries" / "cats.md").write_text("| name | sound |\n| --- | --- |\n| tom | |\n| tom | meow |\n")
    assert tool.main(["--spec", str(small_spec)]) == 1
    out = capsys.readouterr().out
    for part in ("exactly one", "outside a requirement block", "empty cell", "given twice"):
        assert part in out
    assert not (small_spec / "requirements.json").exists()
