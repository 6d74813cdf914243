"""What the report's page is made of: text, tables and pictures as HTML, every string escaped.

Each function returns HTML; raw text goes in only through `text`, `table` and `plot`, which escape it.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

DASH = "\N{EN DASH}"
STAR = "\N{BLACK STAR}"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22303c; background: #fff;
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #c9d1d8; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; }
caption { text-align: left; color: #56646f; padding-bottom: .3rem; white-space: nowrap; }
small { display: block; font-weight: normal; color: #56646f; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #e3e8ec; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, td.words, th.words { text-align: left; } td.words { white-space: normal; }
.ours { font-weight: bold; } .best { background: #e2f1e4; } .bad { color: #a3242f; font-weight: bold; }
figure { display: inline-block; margin: 1rem 1rem 1rem 0; vertical-align: top; }
figcaption { color: #56646f; }
img { max-width: 100%; height: auto; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its raw text, CSS classes that say how it looks, and a small raw note below."""

    text: str
    look: str = ""
    note: str = ""


def document(title: str, body: str) -> str:
    """Return a whole HTML document around the body."""
    return _PAGE.format(title=escape(title), policy=_POLICY, style=_STYLE, body=body)


def number(value: float | None) -> str:
    """Writes a count with separators, another number with four digits, an unknown one as a dash."""
    if value is None:
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def interval(figure: Any) -> str:
    """Writes the interval of a figure, "" if it has none."""
    ends = [figure.get("low"), figure.get("high")] if isinstance(figure, Mapping) else [None]
    return "" if None in ends else f"[{', '.join(map(number, ends))}]"


def section(title: str, *parts: str) -> str:
    """Puts a heading over the parts that are not empty."""
    return "\n".join(["<section>", text("h2", title), *(part for part in parts if part), "</section>"])


def text(tag: str, words: str, look: str = "", note: str = "") -> str:
    """Writes raw words between tags, with classes that say how they look and a small note below."""
    style = f' class="{escape(look)}"' if look else ""
    below = f" <small>{escape(note)}</small>" if note else ""
    return f"<{tag}{style}>{escape(words)}{below}</{tag}>"


def table(caption: str, heads: Iterable[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Writes a table; it scrolls by itself where it is wider than the page."""
    head = "".join(text("th", name, "words" * (name == "reasons")) for name in heads)
    lines = ("".join(text("td", cell.text, cell.look, cell.note) for cell in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    inside = f"{text('caption', caption)}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table>{inside}</table></div>'


def plot(svg: str, caption: str) -> str:
    """Puts an SVG into the page as a picture of its own, so that its ids and styles stay inside."""
    if not svg:
        return ""
    source = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
    picture = f'<img src="{source}" alt="{escape(caption)}">'
    return f"<figure>{picture}{text('figcaption', caption)}</figure>"
