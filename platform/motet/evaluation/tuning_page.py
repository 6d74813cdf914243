"""A search's report as a page, and its trials as a table of a terminal."""

from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from rich.console import Console
from rich.table import Table

from motet.evaluation import markup, plots
from motet.evaluation.tuning import AS_IT_STANDS

Report = Mapping[str, Any]
_WIDTH = 100


def print_search(report: Report) -> None:
    """Print trials, front and best trial to standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(_WIDTH, 16 * len(heads(report))))
    table = Table(*heads(report), title=f"trials of {report['recipe']}, by {report['select_by']} on validation")
    for row in ordered(report):
        table.add_row(*cells(report, row))
    console.print(table)
    console.print(front_line(report), markup=False, highlight=False)
    for row in report["trials"]:
        if row["said"]:
            console.print(f"trial {row['number']}: {row['said']}", markup=False, highlight=False)


def heads(report: Report) -> list[str]:
    """Return the heads of the table."""
    return ["trial", *report["settings"], *report["metrics"], "epochs", "s", "ended"]


def ordered(report: Report) -> list[dict[str, Any]]:
    """Return the trials, the best first; those without the metric come last."""
    sign = 1 if report["metrics"][report["select_by"]] == "larger" else -1
    trials: list[dict[str, Any]] = report["trials"]
    values = [row["metrics"].get(report["select_by"]) for row in trials]
    places = sorted(range(len(trials)), key=lambda place: (values[place] is None, -sign * (values[place] or 0.0)))
    return [trials[place] for place in places]


def cells(report: Report, row: Mapping[str, Any]) -> list[str]:
    """Return a row of the table; a star marks the front."""
    star = f" {markup.STAR}" if row["number"] in report["front"] else ""
    settings = [str(row["settings"].get(name, markup.DASH)) for name in report["settings"]]
    figures = [markup.number(row["metrics"].get(name)) for name in report["metrics"]]
    epochs = f"{row['best_epoch'] or markup.DASH} of {row['epochs']}"
    return [f"{name_of(row)}{star}", *settings, *figures, epochs, f"{row['seconds']:.0f}", row["state"]]


def name_of(row: Mapping[str, Any]) -> str:
    """Return how a trial is called."""
    return "recipe" if row["number"] == AS_IT_STANDS else str(row["number"])


def front_line(report: Report) -> str:
    """Return which trials no other beats in all metrics."""
    names = [name_of(row) for row in report["trials"] if row["number"] in report["front"]]
    wanted = ", ".join(f"{name} ({direction} is better)" for name, direction in report["metrics"].items())
    return f"{markup.STAR} on the Pareto front over {wanted}: {', '.join(names) or 'none'}"


def render_page(report: Report) -> str:
    """Return a whole HTML document: front, table, plots."""
    title = f"Search for the settings of {report['recipe']}"
    looks = {True: "best", False: ""}
    rows = [
        [markup.Cell(cell, looks[row["number"] == report["best"]]) for cell in cells(report, row)]
        for row in ordered(report)
    ]
    parts = [
        markup.text("p", front_line(report)),
        markup.plot(front_plot(report), "Each trial at its best epoch; those on the front are joined"),
        markup.table(f"Trials, by {report['select_by']} on validation", heads(report), rows),
        *(markup.text("p", f"Trial {row['number']}: {row['said']}") for row in report["trials"] if row["said"]),
    ]
    return markup.document(title, f"{markup.text('h1', title)}\n{markup.section('Trials', *parts)}")


@rc_context(plots._STYLE)
def front_plot(report: Report) -> str:
    """Draw the trials in a panel for each metric against the one that is searched for.

    Returns:
        The SVG, or "" if fewer than two metrics have values.
    """
    wanted = report["select_by"]
    others = [name for name in report["metrics"] if name != wanted]
    trials = [row for row in report["trials"] if len(row["metrics"]) == len(report["metrics"])]
    if not others or not trials:
        return ""
    figure, panels = plots._figure(4.4 * len(others), 3.8, columns=len(others))
    for panel, other in zip(panels, others, strict=True):
        joined = []
        for row in trials:
            point = (row["metrics"][other], row["metrics"][wanted])
            on_front = row["number"] in report["front"]
            joined += [point] * on_front
            colour = plots._OURS if on_front else plots._OTHERS
            panel.scatter(*point, s=40, color=colour, edgecolor=plots._INK, linewidth=0.6, zorder=2)
            panel.annotate(name_of(row), point, (5, 4), textcoords="offset points", fontsize=8)
        panel.plot(*zip(*sorted(joined), strict=True), color=plots._RULE, zorder=1)
        panel.margins(0.12)
        panel.set_xlabel(f"{plots._label(other)}, {report['metrics'][other]} is better")
        panel.set_ylabel(f"{plots._label(wanted)}, {report['metrics'][wanted]} is better")
    return plots._svg(figure)
