"""The table of faults in docs/RELIABILITY.md, from what `make chaos` measured: `python bench/reliability.py`."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform")]

from motet.storage import read_json, write_atomic  # noqa: E402

FIGURES = ROOT / "bench" / "results" / "chaos.json"
PAGE = ROOT / "docs" / "RELIABILITY.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def table(lines: dict[str, Any]) -> str:
    """Return the lines of a Markdown table, one fault a row."""
    rows = ["| fault | injected | figures |", "|---|---|---|"]
    for one in lines.values():
        figures = "; ".join(f"{name}: {_shown(value)}" for name, value in one["figures"].items())
        rows.append(f"| {one['fault']}: {_cell(one['what'])} | {_cell(one['injected'])} | {_cell(figures)} |")
    return "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Put the figures between the marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_atomic(PAGE, f"{before}{BEGIN}{table(read_json(FIGURES))}{END}{after}")


if __name__ == "__main__":
    main()
