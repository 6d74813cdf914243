"""The report's figures as tables of a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from motet.evaluation.comparison import Difference
from motet.evaluation.figures import task_figures
from motet.evaluation.plots import by_ndcg, mean_of
from motet.evaluation.ranking_metrics import METRICS

_WIDTH = 100


def print_report(report: Mapping[str, Any]) -> None:
    """Print protocol, ranking and tasks of a report to standard output."""
    console = Console(width=max(_WIDTH, Console().width))
    console.print(report["protocol"], markup=False, highlight=False)
    console.print(ranking_table(report["ranking"]))
    if cold := report.get("ranking_cold_items"):
        table = ranking_table(cold)
        table.title = f"among {cold['items']:,} cold items ({cold['share']:.1%} of all): {table.title}"
        console.print(table)
    if report.get("tasks"):
        console.print(task_table(report["tasks"]))


def ranking_table(ranking: Mapping[str, Any]) -> Table:
    """Return one row a system: its metrics and coverage."""
    columns = (*METRICS, "coverage")
    table = Table("system", *columns, title=f"lists of {ranking['k']}, {ranking['users']:,} lists a system")
    for name in by_ndcg(ranking["systems"]):
        figures = ranking["systems"][name]
        table.add_row(name, *(_shown(mean_of(figures.get(column))) for column in columns))
    return table


def task_table(tasks: Mapping[str, Any]) -> Table:
    """Return one row a task with the figures that its kind has."""
    columns = task_figures(tasks)
    table = Table("task", "kind", *columns)
    for name, entry in tasks.items():
        table.add_row(name, entry["kind"], *(_shown(entry.get(column)) for column in columns))
    return table


def difference_table(differences: Sequence[Difference], first: str, second: str) -> Table:
    """Return one row a metric of two releases; `first` and `second` are their ids."""
    table = Table("metric", "first", "second", "difference", "95 % interval", "better")
    table.title = f"first: {first}, second: {second}; whole users resampled, paired"
    for one in differences:
        ends = f"{one.low:+.4f} to {one.high:+.4f}"
        table.add_row(one.metric, f"{one.first:.4f}", f"{one.second:.4f}", f"{one.mean:+.4f}", ends, one.verdict)
    return table


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
