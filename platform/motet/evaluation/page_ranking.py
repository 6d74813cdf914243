"""The page's sections about lists: how each system ranks, and what is ahead of what."""

from collections.abc import Iterable, Mapping
from typing import Any

from motet.evaluation import plots
from motet.evaluation.markup import STAR, Cell, interval, number, plot, section, table, text

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


def ranking(report: Mapping[str, Any]) -> str:
    """Writes how the systems rank for the users that the protocol ranks for."""
    return _ranking_part(report.get("ranking") or {}, "Ranking")


def ranking_of_new_users(report: Mapping[str, Any]) -> str:
    """Writes how they rank for users without a history."""
    return _ranking_part(report.get("ranking_new_users") or {}, "Ranking of users without a history")


def ranking_of_cold_items(report: Mapping[str, Any]) -> str:
    """Writes how they rank cold items for those who took one."""
    ranking = report.get("ranking_cold_items") or {}
    if not ranking:
        return ""
    words = (
        f"{number(ranking['items'])} of the items ({ranking['share']:.1%}) have at most "
        f"{ranking['most_events']} events; they alone are ranked here, for {number(ranking['lists'])} questions."
    )
    return _ranking_part(ranking, "Ranking of cold items", text("p", words))


def peers(report: Mapping[str, Any]) -> str:
    """Writes how other libraries do on the same rows."""
    found = report.get("peers") or {}
    if not found:
        return ""
    return section("Other libraries, same rows", _ranking_table(found["systems"], found["k"]))


def slices(report: Mapping[str, Any]) -> str:
    """Writes how lists and tasks do for some items and some users by themselves."""
    found = report.get("slices") or {}
    if not found:
        return ""
    entries = list(found.values())
    systems = list(dict.fromkeys(name for entry in entries for name in entry["ndcg"]))
    scores = [(name, next(iter(figures))) for name, figures in entries[0]["tasks"].items()]
    rows = [_slice_row(name, entry, systems, scores) for name, entry in found.items()]
    heads = ("slice", "events", "lists", *(f"NDCG, {name}" for name in systems), *(f"{n} {m}" for n, m in scores))
    caption = "NDCG of lists with a target of the slice, other targets counting as none [95 % interval]; tasks by event"
    return section("Slices", table(caption, heads, rows))


def _slice_row(name: str, entry: Mapping[str, Any], systems: list[str], scores: list[tuple[str, str]]) -> list[Cell]:
    counts = [Cell(number(entry[key])) for key in ("events", "lists")]
    ndcg = [entry["ndcg"].get(system) for system in systems]
    tasks = [Cell(number(entry["tasks"].get(score, {}).get(metric))) for score, metric in scores]
    return [Cell(name), *counts, *(Cell(number(plots.mean_of(one)), note=interval(one)) for one in ndcg), *tasks]


def _ranking_part(ranking: Mapping[str, Any], title: str, *first: str) -> str:
    systems, k = ranking.get("systems") or {}, ranking.get("k", 10)
    if not systems:
        return ""
    parts = [
        *first,
        _ranking_table(systems, k),
        _differences(ranking.get("differences") or {}, k),
        plot(plots.ndcg_bars(systems, k), f"NDCG@{k} of each system"),
        plot(plots.coverage_scatter(systems, k), f"NDCG@{k} against catalogue coverage"),
    ]
    return section(title, *parts)


def _ranking_table(systems: Mapping[str, Any], k: int) -> str:
    metrics = [name for name in _RANKING if any(name in figures for figures in systems.values())]
    best = {name: _best(plots.mean_of(figures.get(name)) for figures in systems.values()) for name in metrics}
    heads = (f"{_RANKING[name]}@{k}" if name in _CUT_METRICS else _RANKING[name] for name in metrics)
    rows = [
        [Cell(name, "ours" * (name == plots.OURS))]
        + [_ranking_cell(systems[name].get(metric), best[metric], name == plots.OURS) for metric in metrics]
        for name in plots.by_ndcg(systems)
    ]
    caption = f"Mean over users [95 % interval]; {STAR} marks the highest of a column, bold is ours"
    return table(caption, ("system", *heads), rows)


def _best(values: Iterable[float | None]) -> float | None:
    """Gives the highest value, None if there are not two to compare."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) > 1 else None


def _ranking_cell(figure: Any, best: float | None, ours: bool) -> Cell:
    leads = best is not None and plots.mean_of(figure) == best
    looks = [look for look, holds in (("ours", ours), ("best", leads)) if holds]
    shown = number(plots.mean_of(figure)) + f" {STAR}" * leads
    return Cell(shown, " ".join(looks), interval(figure))


def _differences(differences: Mapping[str, Any], k: int) -> str:
    rows = [
        [Cell(name), Cell(number(entry["mean"]), note=interval(entry)), Cell(verdict(entry))]
        for name, entry in differences.items()
    ]
    caption = f"NDCG@{k} of {plots.OURS} minus that of the other system, paired by user [95 % interval]"
    return table(caption, ("against", "difference", "reading"), rows) if rows else ""


def verdict(difference: Mapping[str, Any]) -> str:
    """Reads a difference by its interval."""
    if difference["low"] > 0:
        return "ahead"
    return "behind" if difference["high"] < 0 else "not told apart"
