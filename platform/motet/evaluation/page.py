"""The report as one HTML page that needs nothing else: no script, no font, no address.

Each section is a small function from the report to HTML, "" if the report lacks it; `_SECTIONS` orders them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from motet.evaluation import page_models, page_ranking
from motet.evaluation.markup import DASH, Cell, document, number, section, table, text

_LEDGER = ("read", "kept", "quarantined", "merged")


def render(report: Mapping[str, Any]) -> str:
    """Writes the page.

    Args:
        report: The sections as in `report`; a section that is missing or empty is left out.

    Returns:
        A whole HTML document.
    """
    title = f"Evaluation of {report.get('recipe', 'a recommender')}"
    body = [text("h1", title), *(part(report) for part in _SECTIONS)]
    return document(title, "\n".join(part for part in body if part))


def _facts(report: Mapping[str, Any]) -> str:
    names = {"recipe": "Recipe", "protocol": "Protocol", "created": "Created"}
    return "\n".join(text("p", f"{label}: {report[key]}") for key, label in names.items() if report.get(key))


def _counts(report: Mapping[str, Any]) -> str:
    counts = report.get("counts") or {}
    rows = [[Cell(name.replace("_", " ")), Cell(number(value))] for name, value in counts.items()]
    return section("Data", table("What the figures rest on", ("", "count"), rows)) if rows else ""


def _ledger(report: Mapping[str, Any]) -> str:
    rows = [_ledger_row(name, entry) for name, entry in (report.get("ledger") or {}).items()]
    caption = "Every row that was read is kept, quarantined with a reason, merged into another, or of a removed item"
    return section("Row ledger", table(caption, ("table", *_LEDGER, "reasons"), rows)) if rows else ""


def _ledger_row(name: str, entry: Mapping[str, Any]) -> list[Cell]:
    reasons = sorted((entry.get("reasons") or {}).items(), key=lambda pair: (-pair[1], pair[0]))
    words = [f"{reason}: {number(count)}" for reason, count in reasons]
    if removed := entry.get("removed", 0):
        words.append(f"removed by the item log: {number(removed)}")
    missing = entry.get("read", 0) - removed - sum(entry.get(part, 0) for part in _LEDGER[1:])
    if missing:
        words.append(f"{number(missing)} rows unaccounted for")
    last = Cell(", ".join(words) or DASH, "words bad" if missing else "words")
    return [Cell(name), *(Cell(number(entry.get(part))) for part in _LEDGER), last]


def _index(report: Mapping[str, Any]) -> str:
    index = report.get("index") or {}
    if not index:
        return ""
    floor = index.get("floor")
    recalls = [(name, index[name]) for name in index if name.startswith("recall@") and index[name] is not None]
    words = [f"{name} against exact search {number(value)}" for name, value in recalls]
    short = floor is not None and any(value < floor for _, value in recalls)
    if floor is not None:
        words.append(f"{'UNDER' if short else 'at or above'} the floor of {number(floor)}")
    line = f"Kind {index.get('kind', 'unknown')}: {', '.join(words)}."
    return section("Index", text("p", line, "bad" * short))


def _stages(report: Mapping[str, Any]) -> str:
    stages = report.get("stages") or {}
    rows = [[Cell(name), Cell(f"{seconds:,.1f}")] for name, seconds in stages.items()]
    total = [[Cell("all", "ours"), Cell(f"{sum(stages.values()):,.1f}", "ours")]]
    return section("Stages", table("Wall time", ("stage", "seconds"), rows + total)) if rows else ""


_SECTIONS: tuple[Callable[[Mapping[str, Any]], str], ...] = (
    _facts,
    _counts,
    _ledger,
    page_ranking.ranking,
    page_ranking.ranking_of_new_users,
    page_ranking.ranking_of_cold_items,
    page_ranking.peers,
    page_ranking.slices,
    page_models.tasks,
    page_models.off_policy,
    page_models.experts,
    page_models.training,
    page_models.fusion,
    _index,
    _stages,
)
