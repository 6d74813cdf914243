"""The doctor's report as one HTML page that can be read alone, with the look of the evaluation's report.

The section by itself is `section`; `render_page` makes a whole document of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from motet.evaluation import markup, plots
from motet.evaluation.doctor_text import Report, Table, kept_epoch, tables

_LOOKS = {"helps": "best", "hurts": "bad"}


def render_page(report: Report) -> str:
    """Return a whole HTML document."""
    title = f"Do the tasks of {report['recipe']} help each other?"
    return markup.document(title, f"{markup.text('h1', title)}\n{section(report)}")


def section(report: Report) -> str:
    """Return the report as a section of a page: verdict first, then plots and tables."""
    parts = [
        markup.text("p", f"Run {report['run']}: {report['words']}"),
        *(_verdict(entry["verdict"]) for entry in report["tasks"].values()),
        *(markup.text("p", f"{name}: {why}") for name, why in report["skipped"].items()),
        markup.plot(gain_plot(report["tasks"]), "Gain of training together in units of the interval's half width"),
        markup.plot(loss_plot(report["training"]), "Training loss by epoch: together, and alone dashed"),
        markup.plot(weight_plot(report["training"]["together"]), "Weight of each task's loss by epoch"),
        markup.plot(gate_plot(report["experts"]["gates"]), "Mean weight of each expert in each gate"),
        *(_table(title, table) for title, table in tables(report)),
    ]
    if report["experts"]["kind"] == "shared_bottom":
        parts.append(markup.text("p", "Experts: model.experts is shared_bottom, so there are no gates to look at."))
    return markup.section("Together against alone", *parts)


def _verdict(found: Mapping[str, Any]) -> str:
    lines = [markup.text("p", f"{found['headline']}.", _LOOKS.get(found["reading"], ""))]
    for advice in found["advice"]:
        setting = f" Try {advice['setting']}." if advice["setting"] else ""
        lines.append(markup.text("p", f"{advice['rule']}: {advice['said']}.{setting}"))
    return "\n".join(lines)


def _table(title: str, table: Table) -> str:
    return markup.table(title, table[0], [[markup.Cell(cell) for cell in row] for row in table[1:]])


@rc_context(plots._STYLE)
def gain_plot(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw each task's gain with its interval, divided by the interval's half width, as metrics have no common unit.

    Args:
        tasks: of the report.

    Returns:
        The SVG, or "" if no task has an interval.
    """
    scaled = {name: _scaled(one) for name, one in tasks.items() if one["low"] is not None and one["high"] > one["low"]}
    if not scaled:
        return ""
    names = list(scaled)[::-1]
    figure, (axes,) = plots._figure(7.0, 0.9 + 0.36 * len(names))
    axes.axvline(0.0, color=plots._RULE)
    for place, name in enumerate(names):
        gain, low, high = scaled[name]
        colour = plots._COLOURS[2] if low > 0 else plots._COLOURS[5] if high < 0 else plots._OTHERS
        axes.errorbar(gain, place, xerr=[[gain - low], [high - gain]], fmt="o", color=colour, capsize=3)
    axes.set_yticks(range(len(names)), [plots._label(f"{name} ({tasks[name]['metric']})") for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel("hurts    |    helps")
    return plots._svg(figure)


def _scaled(entry: Mapping[str, Any]) -> tuple[float, float, float]:
    low, high = min(entry["low"], entry["gain"]), max(entry["high"], entry["gain"])
    half = (high - low) / 2
    return entry["gain"] / half, low / half, high / half


@rc_context(plots._STYLE)
def loss_plot(training: Mapping[str, Any]) -> str:
    """Draw each task's training loss by epoch, together and alone.

    Args:
        training: the epochs `together`, and `alone` by task.

    Returns:
        The SVG, or "" if there is no epoch.
    """
    together, alone = training["together"], training["alone"]
    if not together:
        return ""
    names = list(together[0]["losses"])
    figure, panels = plots._figure(3.2 * len(names), 2.8, columns=len(names))
    for panel, name in zip(panels, names, strict=True):
        for epochs, style, label in ((together, "-", "together"), (alone.get(name, ()), "--", "alone")):
            if epochs:
                _line(panel, epochs, "losses", name, linestyle=style, label=label, color=plots._OURS)
                kept = kept_epoch(epochs)
                panel.plot(kept["epoch"], kept["losses"][name], marker="o", color=plots._INK)
        panel.set(xlabel="epoch", title=plots._label(name))
        panel.legend(fontsize=8)
    return plots._svg(figure)


@rc_context(plots._STYLE)
def weight_plot(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Draw the mean weight of each task's loss by epoch; "" if there is no epoch."""
    if not epochs:
        return ""
    figure, (axes,) = plots._figure(4.8, 2.8)
    for name in epochs[0]["weights"]:
        _line(axes, epochs, "weights", name, label=plots._label(name), marker="o", markersize=3.5)
    axes.set(xlabel="epoch", ylabel="weight")
    axes.legend(fontsize=8)
    return plots._svg(figure)


def _line(axes: Any, epochs: Sequence[Mapping[str, Any]], kind: str, name: str, **look: Any) -> None:
    axes.plot([row["epoch"] for row in epochs], [row[kind][name] for row in epochs], **look)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


@rc_context(plots._STYLE)
def gate_plot(gates: Sequence[Mapping[str, Any]]) -> str:
    """Draw the mean weights of each gate as one bar in parts; "" if there are no gates."""
    if not gates:
        return ""
    figure, (axes,) = plots._figure(7.0, 0.9 + 0.36 * len(gates))
    for place, gate in enumerate(reversed(gates)):
        left = 0.0
        for number, (name, weight) in enumerate(gate["experts"].items()):
            axes.barh(place, weight, left=left, color=plots._COLOURS[number % len(plots._COLOURS)], edgecolor="white")
            if weight > 0.12:
                axes.text(left + weight / 2, place, plots._label(name), ha="center", va="center", fontsize=7, color="w")
            left += weight
    names = [plots._label(f"{gate['task']}, layer {gate['layer'] + 1}") for gate in reversed(gates)]
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0.0, 1.0), xlabel="mean weight")
    return plots._svg(figure)
