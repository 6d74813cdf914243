"""The plots of the report, each drawn as one SVG text without any state of matplotlib's own.

Names stay text in the SVG (a browser draws them), are never read as formulas, and hold only what prints.
"""

import warnings
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

OURS = "motet"
"""The name of our own system among the ranking systems."""

_INK, _OURS, _OTHERS, _RULE = "#22303c", "#0b6e99", "#a9b4bd", "#c9d1d8"
_COLOURS = ("#0b6e99", "#c2571a", "#4f8a3d", "#8a4fa3", "#b5952a", "#a33b4f", "#4a5a9c", "#6b6b6b")
_LONGEST = 28
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.prop_cycle": f"cycler('color', {list(_COLOURS)})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "motet",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def mean_of(figure: Any) -> float | None:
    """Gives the mean of a figure that is a number, None, or a dict with mean, low and high."""
    value = figure.get("mean") if isinstance(figure, Mapping) else figure
    return None if value is None else float(value)


def by_ndcg(systems: Mapping[str, Any]) -> list[str]:
    """Gives the systems' names: ours first, then by falling NDCG; systems without one come last."""
    values = {name: mean_of(figures.get("ndcg")) for name, figures in systems.items()}
    return sorted(values, key=lambda name: (name != OURS, values[name] is None, -(values[name] or 0.0)))


@rc_context(_STYLE)
def ndcg_bars(systems: Mapping[str, Any], k: int) -> str:
    """Draws each system's NDCG as a bar with its 95 % interval; ours is coloured.

    Args:
        systems: For each system its figures; those without `ndcg` are left out.
        k: The cut, for the label.

    Returns:
        The SVG, or "" if no system has an NDCG.
    """
    names = [name for name in by_ndcg(systems) if mean_of(systems[name].get("ndcg")) is not None][::-1]
    if not names:
        return ""
    means = [mean_of(systems[name]["ndcg"]) or 0.0 for name in names]
    reach = [_reach(systems[name]["ndcg"]) for name in names]
    figure, (axes,) = _figure(7.0, 0.9 + 0.36 * len(names))
    axes.barh(
        range(len(names)),
        means,
        xerr=list(zip(*reach, strict=True)),
        height=0.65,
        color=[_OURS if name == OURS else _OTHERS for name in names],
        error_kw={"ecolor": _INK, "elinewidth": 1, "capsize": 3},
    )
    axes.set_yticks(range(len(names)), [_label(name) for name in names])
    axes.set_xlim(left=0.0)
    axes.set_xlabel(f"NDCG@{k}, mean over users with 95 % interval")
    return _svg(figure)


@rc_context(_STYLE)
def coverage_scatter(systems: Mapping[str, Any], k: int) -> str:
    """Draws each system's NDCG over its catalogue coverage.

    Args:
        systems: For each system its figures; those without `ndcg` or `coverage` are left out.
        k: The cut, for the label.

    Returns:
        The SVG, or "" if no system has both figures.
    """
    points = _points(systems)
    if not points:
        return ""
    figure, (axes,) = _figure(7.0, 4.0)
    for name, (covered, ndcg) in points.items():
        colour, weight = (_OURS, "bold") if name == OURS else (_OTHERS, "normal")
        axes.scatter(covered, ndcg, s=48, color=colour, edgecolor=_INK, linewidth=0.6)
        axes.annotate(_label(name), (covered, ndcg), (6, 4), textcoords="offset points", weight=weight)
    axes.margins(x=0.18, y=0.15)
    axes.set_xlabel(f"share of the catalogue in the lists of {k}")
    axes.set_ylabel(f"NDCG@{k}")
    return _svg(figure)


def _points(systems: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Gives (coverage, NDCG) of each system that has both."""
    points = {}
    for name, figures in systems.items():
        covered, ndcg = mean_of(figures.get("coverage")), mean_of(figures.get("ndcg"))
        if covered is not None and ndcg is not None:
            points[name] = (covered, ndcg)
    return points


@rc_context(_STYLE)
def reliability_curve(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draws the share that came true over the probability that was said, and the rows of each bin.

    Args:
        bins: What `kinds.metrics.reliability` gives.

    Returns:
        The SVG, or "" if all bins are empty.
    """
    full = [entry for entry in bins if entry["count"]]
    if not full:
        return ""
    figure, (above, below) = _figure(4.2, 4.6, rows=2, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    above.plot([0, 1], [0, 1], color=_RULE, linestyle="--", label="perfect")
    said, came = [entry["prediction"] for entry in full], [entry["label"] for entry in full]
    above.plot(said, came, color=_OURS, marker="o", markersize=4, label="model")
    above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that came true")
    above.legend(loc="upper left")
    lows, counts = [entry["low"] for entry in full], [entry["count"] for entry in full]
    widths = [entry["high"] - entry["low"] for entry in full]
    below.bar(lows, counts, widths, align="edge", color=_OTHERS, edgecolor="white")
    below.set(xlabel="probability that was said", ylabel="rows")
    return _svg(figure)


@rc_context(_STYLE)
def learning_curve(training: Sequence[Mapping[str, Any]]) -> str:
    """Draws the training losses by task and the validation metrics, epoch by epoch.

    Args:
        training: One entry an epoch with `epoch`, `loss`, `losses` by task and `validation` by metric.

    Returns:
        The SVG, or "" if there is no figure to draw.
    """
    losses = [{"all tasks": entry.get("loss")} | entry.get("losses", {}) for entry in training]
    panels = [("training loss", losses), ("validation", [entry.get("validation", {}) for entry in training])]
    curves = [(title, _curves(training, values)) for title, values in panels]
    curves = [(title, lines) for title, lines in curves if lines]
    if not curves:
        return ""
    figure, axes = _figure(8.4, 3.4, columns=len(curves))
    for panel, (title, lines) in zip(axes, curves, strict=True):
        for points in lines.values():
            panel.plot(*zip(*points, strict=True), marker="o", markersize=3.5)
        panel.set(xlabel="epoch", ylabel=title)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend(panel.lines, [_label(name) for name in lines], fontsize=8)
    return _svg(figure)


@rc_context(_STYLE)
def expert_heat_map(weights: Mapping[str, Sequence[float]]) -> str:
    """Draws the weight of each expert in each task's mixture: a task a row, darker is more.

    Args:
        weights: For each task one weight an expert, as many for all tasks; a row sums to 1.

    Returns:
        The SVG, or "" without a task.
    """
    if not weights:
        return ""
    rows = [list(row) for row in weights.values()]
    figure, (axes,) = _figure(1.8 + 0.75 * len(rows[0]), 0.9 + 0.42 * len(rows))
    axes.pcolormesh(rows, cmap="Blues", vmin=0.0, vmax=1.0, edgecolors="white", linewidth=1.0)
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            ink = "white" if value > 0.6 else _INK
            axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=ink)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], [_label(name) for name in weights])
    axes.set_xticks([one + 0.5 for one in range(len(rows[0]))], [str(one + 1) for one in range(len(rows[0]))])
    axes.invert_yaxis()
    axes.set_xlabel("expert")
    return _svg(figure)


def _curves(
    training: Sequence[Mapping[str, Any]], values: Sequence[Mapping[str, Any]]
) -> dict[str, list[tuple[int, float]]]:
    """Gives for each name its points (epoch, value), without the epochs that lack it."""
    names = dict.fromkeys(name for entry in values for name in entry)
    epochs = [int(entry["epoch"]) for entry in training]
    lines = {
        name: [
            (epoch, float(entry[name]))
            for epoch, entry in zip(epochs, values, strict=True)
            if entry.get(name) is not None
        ]
        for name in names
    }
    return {name: points for name, points in lines.items() if points}


def _reach(figure: Any) -> tuple[float, float]:
    """Gives how far the interval reaches below and above the mean; 0 where there is none."""
    mean = mean_of(figure) or 0.0
    ends = figure if isinstance(figure, Mapping) else {}
    low, high = ends.get("low"), ends.get("high")
    return max(0.0, mean - (mean if low is None else low)), max(0.0, (mean if high is None else high) - mean)


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, list[Axes]]:
    """Makes a figure (in inches) with its panels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **grid).flat)


def _label(name: str) -> str:
    clean = "".join(letter if letter.isprintable() else "?" for letter in name)
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _svg(figure: Figure) -> str:
    """Writes a figure as SVG, the same figure as the same text; its letters need no font on this machine."""
    buffer = StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return buffer.getvalue()
