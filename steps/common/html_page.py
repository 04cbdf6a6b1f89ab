"""Pages of reports: one file each, without scripts and requests, in light and dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*")

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --text: #222; --dim: #555; --line: #ddd; --back: #fff; --bar: #4878a8;
  --mark: #cfe8cf }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #ddd; --dim: #999; --line: #444; --back: #161616; --bar: #6a9bcb;
    --mark: #24512a }}
  /* The curves are drawn on white. */
  svg {{ filter: invert(.9) hue-rotate(180deg) }}
}}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem;
  padding: 0 1rem; color: var(--text); background: var(--back) }}
h1 {{ font-size: 1.35rem }} h2 {{ font-size: 1.05rem; margin-top: 2rem }}
svg {{ width: 100%; height: auto }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line) }}
th {{ font-weight: 600; color: var(--dim); white-space: nowrap }}
td {{ overflow-wrap: anywhere }} .text {{ white-space: pre-wrap; overflow-wrap: anywhere }}
.number {{ white-space: nowrap }}
dl {{ display: flex; flex-wrap: wrap; gap: .4rem 2.2rem }}
dt, .dim {{ color: var(--dim); font-size: .85rem }} dd {{ margin: 0; font-size: 1.15rem }}
.bar {{ display: inline-block; height: .8rem; background: var(--bar) }}
mark {{ background: var(--mark); color: inherit }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The page with a heading and the parts, which are HTML, below it."""
    return _PAGE.format(title=escape(title), body="\n".join(parts))


def facts(values: Mapping[str, str]) -> str:
    """A line of names, each with its value below; texts, not HTML."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in values.items()
    )
    return f"<dl>{items}</dl>"


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A heading with a table of texts below it; nothing without rows."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>\n" for row in rows)
    return f"<h2>{escape(title)}</h2>\n<table><tr>{head}</tr>\n{body}</table>"


def _cell(text: str) -> str:
    # A long text in the next column would break a number in two.
    kind = "number" if _NUMBER.fullmatch(text) else "text"
    return f'<td class="{kind}">{escape(text)}</td>'


def with_section(text: str, name: str, parts: Sequence[str]) -> str:
    """A page with a named section of parts at its end, in place of an earlier one of that name."""
    mark, end = f'<section id="{name}">', "</section>"
    before, found, after = text.partition(mark)
    if not found:
        before, _, after = text.rpartition("</html>")
        after = f"</html>{after}"
    else:
        _, _, after = after.partition(end)
    body = "\n".join(parts)
    return f"{before}{mark}\n{body}\n{end}{after}"


def body_of(text: str) -> str:
    """What stands below the heading of a page that `page` wrote, to put it on another one."""
    _, _, below = text.partition("</h1>")
    return below.rpartition("</html>")[0].strip()
