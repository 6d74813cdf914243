"""The report as one HTML page that needs nothing else: no script, no font, no address.

Each section is a small function from the report to HTML, "" if the report lacks it; `_SECTIONS` orders them.
Every string goes through `html.escape` in one of `_text`, `_table` and `_plot`.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from motet.evaluation import plots

_DASH = "\N{EN DASH}"
_STAR = "\N{BLACK STAR}"
_CUT_METRICS = ("ndcg", "hit", "recall", "recall_capped", "mrr")
_RANKING = {
    "ndcg": "NDCG",
    "hit": "hit rate",
    "recall": "recall",
    "recall_capped": "recall (capped)",
    "mrr": "MRR",
    "coverage": "coverage",
    "diversity": "diversity",
    "novelty": "novelty (bits)",
}
_TASK = {
    "auc": "AUC",
    "logloss": "log loss",
    "accuracy": "accuracy at 0.5",
    "base_rate": "base rate",
    "ece": "calibration error",
    "rmse": "RMSE",
    "mae": "MAE",
    "rows": "rows",
}
_FEATURES_SHOWN = 15
_LEDGER = ("read", "kept", "quarantined", "merged")
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
class _Cell:
    """A cell of a table: its raw text, CSS classes that say how it looks, and a small raw note below."""

    text: str
    look: str = ""
    note: str = ""


def render(report: Mapping[str, Any]) -> str:
    """Writes the page.

    Args:
        report: The sections as in `report`; a section that is missing or empty is left out.

    Returns:
        A whole HTML document.
    """
    title = f"Evaluation of {report.get('recipe', 'a recommender')}"
    body = [_text("h1", title), *(section(report) for section in _SECTIONS)]
    return _PAGE.format(
        title=escape(title), policy=_POLICY, style=_STYLE, body="\n".join(part for part in body if part)
    )


def _facts(report: Mapping[str, Any]) -> str:
    names = {"recipe": "Recipe", "protocol": "Protocol", "created": "Created"}
    return "\n".join(_text("p", f"{label}: {report[key]}") for key, label in names.items() if report.get(key))


def _counts(report: Mapping[str, Any]) -> str:
    counts = report.get("counts") or {}
    rows = [[_Cell(name.replace("_", " ")), _Cell(_number(value))] for name, value in counts.items()]
    return _section("Data", _table("What the figures rest on", ("", "count"), rows)) if rows else ""


def _ledger(report: Mapping[str, Any]) -> str:
    rows = [_ledger_row(name, entry) for name, entry in (report.get("ledger") or {}).items()]
    caption = "Every row that was read is kept, quarantined with a reason, or merged into another"
    return _section("Row ledger", _table(caption, ("table", *_LEDGER, "reasons"), rows)) if rows else ""


def _ledger_row(name: str, entry: Mapping[str, Any]) -> list[_Cell]:
    reasons = sorted((entry.get("reasons") or {}).items(), key=lambda pair: (-pair[1], pair[0]))
    words = [f"{reason}: {_number(count)}" for reason, count in reasons]
    missing = entry.get("read", 0) - sum(entry.get(part, 0) for part in _LEDGER[1:])
    if missing:
        words.append(f"{_number(missing)} rows unaccounted for")
    last = _Cell(", ".join(words) or _DASH, "words bad" if missing else "words")
    return [_Cell(name), *(_Cell(_number(entry.get(part))) for part in _LEDGER), last]


def _ranking(report: Mapping[str, Any]) -> str:
    return _ranking_part(report.get("ranking") or {}, "Ranking")


def _ranking_of_new_users(report: Mapping[str, Any]) -> str:
    return _ranking_part(report.get("ranking_new_users") or {}, "Ranking of users without a history")


def _ranking_part(ranking: Mapping[str, Any], title: str) -> str:
    systems, k = ranking.get("systems") or {}, ranking.get("k", 10)
    if not systems:
        return ""
    parts = [
        _ranking_table(systems, k),
        _differences(ranking.get("differences") or {}, k),
        _plot(plots.ndcg_bars(systems, k), f"NDCG@{k} of each system"),
        _plot(plots.coverage_scatter(systems, k), f"NDCG@{k} against catalogue coverage"),
    ]
    return _section(title, *parts)


def _ranking_table(systems: Mapping[str, Any], k: int) -> str:
    metrics = [name for name in _RANKING if any(name in figures for figures in systems.values())]
    best = {name: _best(plots.mean_of(figures.get(name)) for figures in systems.values()) for name in metrics}
    heads = (f"{_RANKING[name]}@{k}" if name in _CUT_METRICS else _RANKING[name] for name in metrics)
    rows = [
        [_Cell(name, "ours" * (name == plots.OURS))]
        + [_ranking_cell(systems[name].get(metric), best[metric], name == plots.OURS) for metric in metrics]
        for name in plots.by_ndcg(systems)
    ]
    caption = f"Mean over users [95 % interval]; {_STAR} marks the highest of a column, bold is ours"
    return _table(caption, ("system", *heads), rows)


def _best(values: Iterable[float | None]) -> float | None:
    """Gives the highest value, None if there are not two to compare."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) > 1 else None


def _ranking_cell(figure: Any, best: float | None, ours: bool) -> _Cell:
    leads = best is not None and plots.mean_of(figure) == best
    looks = [look for look, holds in (("ours", ours), ("best", leads)) if holds]
    shown = _number(plots.mean_of(figure)) + f" {_STAR}" * leads
    return _Cell(shown, " ".join(looks), _interval(figure))


def _differences(differences: Mapping[str, Any], k: int) -> str:
    rows = [
        [_Cell(name), _Cell(_number(entry["mean"]), note=_interval(entry)), _Cell(_verdict(entry))]
        for name, entry in differences.items()
    ]
    caption = f"NDCG@{k} of {plots.OURS} minus that of the other system, paired by user [95 % interval]"
    return _table(caption, ("against", "difference", "reading"), rows) if rows else ""


def _verdict(difference: Mapping[str, Any]) -> str:
    if difference["low"] > 0:
        return "ahead"
    return "behind" if difference["high"] < 0 else "not told apart"


def _tasks(report: Mapping[str, Any]) -> str:
    tasks = report.get("tasks") or {}
    if not tasks:
        return ""
    figures = [name for name in _TASK if any(name in entry for entry in tasks.values())]
    rows = [
        [_Cell(task), _Cell(entry.get("kind", _DASH)), *(_Cell(_number(entry.get(name))) for name in figures)]
        for task, entry in tasks.items()
    ]
    curves = [
        _plot(plots.reliability_curve(entry["reliability"]), f"Reliability of {task}")
        for task, entry in tasks.items()
        if entry.get("kind") == "binary" and entry.get("reliability")
    ]
    caption = "Over the rows whose label is known; compare an accuracy with the base rate, or with 1 minus it"
    heads = ("task", "kind", *(_TASK[name] for name in figures))
    return _section("Tasks", _table(caption, heads, rows), *curves)


def _training(report: Mapping[str, Any]) -> str:
    training = report.get("training") or []
    if not training:
        return ""
    seconds = sum(entry.get("seconds") or 0.0 for entry in training)
    line = _text("p", f"{len(training)} epochs in {seconds:,.1f} seconds.")
    return _section("Training", line, _plot(plots.learning_curve(training), "Losses and validation by epoch"))


def _index(report: Mapping[str, Any]) -> str:
    index = report.get("index") or {}
    if not index:
        return ""
    floor = index.get("floor")
    recalls = [(name, index[name]) for name in index if name.startswith("recall@") and index[name] is not None]
    words = [f"{name} against exact search {_number(value)}" for name, value in recalls]
    short = floor is not None and any(value < floor for _, value in recalls)
    if floor is not None:
        words.append(f"{'UNDER' if short else 'at or above'} the floor of {_number(floor)}")
    line = f"Kind {index.get('kind', 'unknown')}: {', '.join(words)}."
    return _section("Index", _text("p", line, "bad" * short))


def _fusion(report: Mapping[str, Any]) -> str:
    fusion = report.get("fusion") or {}
    without, whole = fusion.get("without") or {}, fusion.get("ndcg")
    adds = [
        [_Cell(name, "ours" * (name in fusion["chosen"])), _Cell(_number(whole - ndcg))]
        for name, ndcg in without.items()
    ]
    gains = [[_Cell(name), _Cell(_number(share))] for name, share in (fusion.get("importance") or {}).items()]
    tables = [
        adds and _table("NDCG@10 on validation with it less that without it; bold is used", ("source", "adds"), adds),
        gains and _table("Share in the gain of the trees' splits", ("feature", "share"), gains[:_FEATURES_SHOWN]),
    ]
    line = _text("p", f"NDCG@10 on validation, cross-fitted: {_number(whole)}.") if fusion else ""
    return _section("Fusion", line, *(table for table in tables if table)) if fusion else ""


def _stages(report: Mapping[str, Any]) -> str:
    stages = report.get("stages") or {}
    rows = [[_Cell(name), _Cell(f"{seconds:,.1f}")] for name, seconds in stages.items()]
    total = [[_Cell("all", "ours"), _Cell(f"{sum(stages.values()):,.1f}", "ours")]]
    return _section("Stages", _table("Wall time", ("stage", "seconds"), rows + total)) if rows else ""


_SECTIONS: tuple[Callable[[Mapping[str, Any]], str], ...] = (
    _facts,
    _counts,
    _ledger,
    _ranking,
    _ranking_of_new_users,
    _tasks,
    _training,
    _fusion,
    _index,
    _stages,
)


def _number(value: float | None) -> str:
    """Writes a count with separators, another number with four digits, an unknown one as a dash."""
    if value is None:
        return _DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def _interval(figure: Any) -> str:
    """Writes the interval of a figure, "" if it has none."""
    ends = [figure.get("low"), figure.get("high")] if isinstance(figure, Mapping) else [None]
    return "" if None in ends else f"[{', '.join(map(_number, ends))}]"


def _section(title: str, *parts: str) -> str:
    return "\n".join(["<section>", _text("h2", title), *(part for part in parts if part), "</section>"])


def _text(tag: str, text: str, look: str = "", note: str = "") -> str:
    style = f' class="{escape(look)}"' if look else ""
    below = f" <small>{escape(note)}</small>" if note else ""
    return f"<{tag}{style}>{escape(text)}{below}</{tag}>"


def _table(caption: str, heads: Iterable[str], rows: Sequence[Sequence[_Cell]]) -> str:
    head = "".join(_text("th", name, "words" * (name == "reasons")) for name in heads)
    lines = ("".join(_text("td", cell.text, cell.look, cell.note) for cell in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    inside = f"{_text('caption', caption)}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table>{inside}</table></div>'


def _plot(svg: str, caption: str) -> str:
    """Puts an SVG into the page as a picture of its own, so that its ids and styles stay inside."""
    if not svg:
        return ""
    source = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
    picture = f'<img src="{source}" alt="{escape(caption)}">'
    return f"<figure>{picture}{_text('figcaption', caption)}</figure>"
