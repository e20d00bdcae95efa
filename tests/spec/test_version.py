"""The version of the format has one place, ``spec/VERSION``; everything that repeats it agrees."""

from __future__ import annotations

import re
from pathlib import Path

from pyckpt.format.version import MAJOR, SPEC_VERSION

SPEC = Path(__file__).resolve().parents[2] / "spec"
VERSION = (SPEC / "VERSION").read_text().strip()


def test_library_writes_the_version_of_the_text():
    assert SPEC_VERSION == VERSION
    assert VERSION.split(".")[0] == str(MAJOR)


def test_chapters_name_no_other_version():
    for chapter in SPEC.glob("*.md"):
        assert set(re.findall(r"\b\d+\.\d+-draft\b", chapter.read_text())) <= {VERSION}, chapter.name


def test_changelog_begins_with_it():
    assert re.search(r"^## (\S+)", (SPEC / "CHANGELOG.md").read_text(), re.MULTILINE).group(1) == VERSION
