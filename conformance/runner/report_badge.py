"""``badge.svg``: a run in one line."""

from __future__ import annotations

from html import escape

from .run import Run
from .suite import PROFILES

__all__ = ["badge", "badge_text"]

_WIDE = 60
_GOOD, _BAD, _LABEL = "#1a7f37", "#b42318", "#3d444d"
_STEP = 6.6
_PAD = 10


def badge_text(run: Run) -> str:
    """Passed of all that ran, per claimed profile; in sum if that would be too long."""
    counts = {profile: run.counts(profile) for profile in PROFILES if profile in run.plan.hello.profiles}
    ran = {name: each.total() - each["skip"] for name, each in counts.items() if each.total() > each["skip"]}
    texts = [f"{name} {counts[name]['pass']}/{total}" for name, total in ran.items()]
    joined = ", ".join(texts)
    if len(joined) <= _WIDE:
        return joined or "nothing ran"
    return f"{len(ran)} profiles {sum(counts[name]['pass'] for name in ran)}/{sum(ran.values())}"


def badge(run: Run) -> str:
    """The badge as SVG, drawn with fonts that are there."""
    label, message = f"SCF {run.plan.index.spec.partition('-')[0]}", badge_text(run)
    left, right = (round(len(text) * _STEP + 2 * _PAD) for text in (label, message))
    colour = _GOOD if run.ok else _BAD
    said, width = escape(f"{label}: {message}"), left + right
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="22" role="img" aria-label="{said}">
<title>{said}</title>
<clipPath id="round"><rect width="{width}" height="22" rx="4"/></clipPath>
<g clip-path="url(#round)">
<rect width="{left}" height="22" fill="{_LABEL}"/>
<rect x="{left}" width="{right}" height="22" fill="{colour}"/>
</g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
{_text(label, 0, left)}
{_text(message, left, right)}
</g>
</svg>
"""


def _text(text: str, begin: int, width: int) -> str:
    """A text in the middle of its field, as wide as planned in every font."""
    middle, length = begin + width / 2, width - 2 * _PAD
    return f'<text x="{middle:g}" y="15" textLength="{length}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
