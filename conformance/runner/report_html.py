"""``matrix.html``: the cases and their outcomes, by area, for people."""

from __future__ import annotations

from collections import Counter
from html import escape
from itertools import groupby

from .outcome import FAILURES, OUTCOMES, Outcome, Result
from .page import page, requirement_button, requirement_texts
from .report_badge import badge_text
from .run import Run
from .suite import PROFILES

__all__ = ["matrix_page"]


def matrix_page(run: Run) -> str:
    """The page."""
    hello = run.plan.hello
    title = f"{hello.name} {hello.version}: SCF {run.plan.index.spec}"
    areas = [(area, list(results)) for area, results in groupby(run.results, key=lambda result: result.case.area)]
    used = {name for result in run.results for name in result.case.requirements}
    said = "conforms in what it claims" if run.ok else "does not conform"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="{"pass" if run.ok else "fail"}">{said}: {escape(badge_text(run))}</p>',
        f'<p class="dim">{run.started:%Y-%m-%d %H:%M} UTC, {run.seconds:.0f} s</p>',
        *(f'<p class="fail">{escape(problem)}</p>' for problem in run.problems),
        _summary(run),
        _form(run),
        *(_area(area, results) for area, results in areas),
        "<h2>Requirements</h2>",
        '<p class="dim">Tap the name of a requirement at a case to read it.</p>',
        requirement_texts(each for name, each in run.plan.index.requirements.items() if name in used),
    ]
    return page(title, "\n".join(parts))


def _summary(run: Run) -> str:
    shown = [outcome for outcome in OUTCOMES if run.counts()[outcome]]
    head = "".join(f'<th scope="col">{name}</th>' for name in ("profile", "cases", *shown))
    rows = [_row(profile, run.counts(profile), shown) for profile in PROFILES if run.counts(profile)]
    rows.append(_row("all", run.counts(), shown))
    return (
        f'<div class="wide" role="region" aria-label="Numbers" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(name: str, counts: Counter[Outcome], shown: list[Outcome]) -> str:
    cells = "".join(f'<td class="{each}">{counts[each] or ""}</td>' for each in shown)
    return f'<tr><th scope="row">{name}</th><td>{counts.total()}</td>{cells}</tr>'


def _form(run: Run) -> str:
    counts = run.counts()
    outcomes = "".join(f'<option value="{each}">{each} {counts[each]}</option>' for each in OUTCOMES if counts[each])
    failed = sum(counts[each] for each in FAILURES)
    failures = [each for each in OUTCOMES if each in FAILURES]
    chosen = f'<option value="{" ".join(failures)}" selected>all failures {failed}</option>' if failed else ""
    profiles = "".join(f"<option>{each}</option>" for each in PROFILES if run.counts(each))
    return (
        '<form hidden role="search" aria-label="Filter cases">'
        '<input name="text" type="search" placeholder="id, title, requirement" aria-label="Text of the case">'
        '<output class="dim" aria-live="polite"></output>'
        f'<select name="outcome" aria-label="Outcome"><option value="">all outcomes</option>{chosen}{outcomes}</select>'
        f'<select name="profile" aria-label="Profile"><option value="">all profiles</option>{profiles}</select></form>'
    )


def _area(area: str, results: list[Result]) -> str:
    counts = Counter(result.outcome for result in results)
    said = ", ".join(f'<span class="{each}">{counts[each]} {each}</span>' for each in OUTCOMES if counts[each])
    opened = " open" if any(result.failed for result in results) else ""
    cases = "\n".join(_case(result) for result in results)
    return f'<details class="area"{opened}><summary>{escape(area)}: {said}</summary>\n{cases}\n</details>'


def _case(result: Result) -> str:
    case, verdict = result.case, result.verdict
    facts = [case.record["kind"], f"profile {case.profile}", f"level {result.level}", f"{result.seconds:.2f} s"]
    if verdict.memory is not None:
        facts.append(f"peak memory +{verdict.memory / 2**20:.1f} MiB")
    if verdict.runs > 1:
        facts.append(f"{verdict.runs} disturbed runs")
    parts = [f'<p class="dim">{escape(", ".join(facts))}</p>']
    if "fault" in case.record:
        parts.append(f"<p>Fault: {escape(case.record['fault'])}</p>")
    if verdict.reason:
        parts.append(f'<p class="{result.outcome}">{escape(verdict.reason)}</p>')
    if verdict.details:
        parts.append(f"<pre>{escape(chr(10).join(verdict.details))}</pre>")
    if verdict.stderr.strip():
        parts.append(f"<pre>{escape(verdict.stderr.strip())}</pre>")
    parts.append(f'<div class="ids">{"".join(requirement_button(name) for name in case.requirements)}</div>')
    return (
        f'<details class="case" id="{case.id}" data-outcome="{result.outcome}" data-profile="{case.profile}">'
        f'<summary><span class="outcome {result.outcome}">{result.outcome}</span> '
        f'<code>{case.id}</code> <span class="title">{escape(case.title)}</span></summary>'
        f'<div class="body">{"".join(parts)}</div></details>'
    )
