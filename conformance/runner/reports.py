"""All reports of a run, in one folder."""

from __future__ import annotations

import json
from pathlib import Path

from .report_badge import badge
from .report_html import matrix_page
from .report_json import results
from .report_junit import junit
from .run import Run

__all__ = ["write_reports"]


def write_reports(run: Run, folder: Path) -> None:
    """Write results.json, junit.xml, matrix.html and badge.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results(run), ensure_ascii=False, indent=1) + "\n"
    for name, content in {
        "results.json": text.encode("utf-8", "replace"),
        "junit.xml": junit(run),
        "matrix.html": matrix_page(run).encode("utf-8", "replace"),
        "badge.svg": badge(run).encode(),
    }.items():
        (folder / name).write_bytes(content)
