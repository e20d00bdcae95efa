"""Pages that need nothing but themselves: one style for all, for phones and for the dark."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from .suite import Requirement

__all__ = ["marked_up", "page", "requirement_button", "requirement_texts"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #5b636b; --paper: #fff; --field: #f3f5f7; --line: #d5dadf;
  --pass: #17692d; --fail: #b42318; --warn: #7a5200; --note: #0b5c8a; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --dim: #9aa4ae; --paper: #14171a; --field: #1f2429;
  --line: #343b42; --pass: #5fcf80; --fail: #ff8a7a; --warn: #e3b341; --note: #6cbdf0; --link: #8ab4f8; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 7.5rem; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
p { margin: .25rem 0; } a { color: var(--link); } .dim { color: var(--dim); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
summary:focus-visible { outline-offset: -3px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
.pass { color: var(--pass); } .fail, .crash, .timeout, .xpass { color: var(--fail); font-weight: 600; }
.warn, .xfail { color: var(--warn); } .remark { color: var(--note); } .skip { color: var(--dim); }
form { position: sticky; top: 0; background: var(--paper); padding: .5rem 0; border-bottom: 1px solid var(--line);
  display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; z-index: 1; }
input, select, button { font: inherit; color: inherit; background: var(--field); border: 1px solid var(--line);
  border-radius: .5rem; padding: .4rem .6rem; min-height: 2.75rem; max-width: 100%; }
input { flex: 1 1 12rem; min-width: 0; }
details { border-bottom: 1px solid var(--line); } details details { margin-left: .5rem; }
summary { padding: .5rem 0; cursor: pointer; min-height: 2.75rem; }
summary .outcome { display: inline-block; min-width: 4.5rem; }
summary .title { display: block; color: var(--dim); font-size: .9rem; }
.case { content-visibility: auto; contain-intrinsic-size: auto 5.5rem; }
.area > summary { font-weight: 600; }
.body { padding: 0 0 .75rem; }
pre { background: var(--field); padding: .5rem; border-radius: .5rem; margin: .5rem 0; white-space: pre-wrap;
  font-size: .85rem; }
.ids { display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0; }
.ids button { font-size: .85rem; cursor: pointer; }
[popover] { background: var(--paper); color: var(--ink); border: 1px solid var(--line); border-radius: .75rem;
  padding: 1rem; max-width: min(40rem, 92vw); margin: .75rem 0; }
[popover]:popover-open { margin: auto; max-height: 90vh; }
::backdrop { background: #0005; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
[hidden] { display: none !important; }
"""

_SCRIPT = """
const form = document.querySelector('form');
const texts = new Map([...document.querySelectorAll('.case')].map(one => [one, one.textContent.toLowerCase()]));
const opened = new Map([...document.querySelectorAll('.area')].map(area => [area, area.open]));
function apply() {
  const text = form.text.value.toLowerCase().trim(), outcomes = form.outcome.value, profile = form.profile.value;
  let shown = 0;
  for (const area of document.querySelectorAll('.area')) {
    let here = 0;
    for (const one of area.querySelectorAll('.case')) {
      one.hidden = !(texts.get(one).includes(text) && (!outcomes || outcomes.split(' ').includes(one.dataset.outcome))
        && (!profile || one.dataset.profile === profile));
      here += one.hidden ? 0 : 1;
    }
    area.hidden = here === 0;
    area.open = text || outcomes || profile ? here > 0 : opened.get(area);
    shown += here;
  }
  document.querySelector('output').textContent = shown + ' shown';
}
if (form) {
  form.hidden = false;
  if (document.getElementById(location.hash.slice(1))) form.outcome.value = '';
  form.addEventListener('input', apply);
  form.addEventListener('submit', event => event.preventDefault());
  apply();
}
"""


def page(title: str, body: str) -> str:
    """A whole page."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def marked_up(text: str) -> str:
    """Text of the specification with its bold words and its code."""
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", found)


def requirement_button(name: str) -> str:
    """What shows the text of a requirement when it is tapped."""
    return f'<button popovertarget="r-{name}">{name}</button>'


def requirement_texts(requirements: Iterable[Requirement]) -> str:
    """The texts that the buttons show; where a browser has no popovers they stand at the end of the page."""
    return "\n".join(
        f'<div popover id="r-{each.id}"><strong>{each.id}</strong><p>{marked_up(each.text)}</p>'
        f'<p class="dim">{escape(", ".join(each.roles))} · verify={each.verify}'
        f"{f' · error={each.error}' if each.error else ''}</p></div>"
        for each in requirements
    )
