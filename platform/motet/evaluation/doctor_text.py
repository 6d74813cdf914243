"""The doctor's report as plain text for a terminal: tables with aligned columns, the verdict last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]
Table = list[list[str]]
"""The heads, then the rows."""

_DASH = "-"


def render_text(report: Report) -> str:
    """Return the whole report; a part that has nothing to show is left out."""
    parts = [f"{report['recipe']}, run {report['run']}: {report['words']}"]
    for title, table in tables(report):
        parts.append(f"{title}\n{aligned(table)}")
    parts += filter(None, ["\n".join(_skipped(report)), "Verdict\n" + "\n".join(verdict_lines(report))])
    return "\n\n".join(parts)


def tables(report: Report) -> Iterable[tuple[str, Table]]:
    """Yield (title, table) of each part of the report that has rows."""
    for title, make in _TABLES:
        table = make(report)
        if len(table) > 1:
            yield title, table


def aligned(table: Table) -> str:
    """Return the rows on lines, the first column to the left and the others to the right."""
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    lines = (
        [
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(_pairs(row, widths))
        ]
        for row in table
    )
    return "\n".join("  " + "  ".join(line).rstrip() for line in lines)


def _pairs(row: Sequence[str], widths: Sequence[int]) -> list[tuple[str, int]]:
    return list(zip(row, widths, strict=True))


def number(value: float | None, sign: bool = False) -> str:
    """Write a number with four digits, with its sign if wanted; a dash for None."""
    if value is None:
        return _DASH
    return f"{value:+.4f}" if sign else f"{value:.4f}"


def interval(entry: Mapping[str, Any]) -> str:
    """Write the interval of a gain."""
    ends = entry["low"], entry["high"]
    return _DASH if None in ends else f"[{number(ends[0], sign=True)}, {number(ends[1], sign=True)}]"


def _comparison(report: Report) -> Table:
    heads = ["task", "metric", "together", "alone", "gain", "95 % interval", "users", "reading"]
    return [heads] + [
        [name, one["metric"], number(one["together"]), number(one["alone"]), number(one["gain"], sign=True),
         interval(one), f"{one['users']:,}", one["verdict"]["reading"]]
        for name, one in report["tasks"].items()
    ]  # fmt: skip


def _seeds(report: Report) -> Table:
    seeds = report["seeds"]
    if len(seeds) < 2:
        return [[]]
    rows = [[name, *(number(gain, sign=True) for gain in one["gains"])] for name, one in report["tasks"].items()
            if len(one["gains"]) == len(seeds)]  # fmt: skip
    return [["task", *(f"seed {seed}" for seed in seeds)], *rows]


def _gradients(report: Report) -> Table:
    heads = ["tasks", "cosine", f"negative of {report['gradients']['batches']}", "lowest in"]
    return [heads] + [
        [" and ".join(pair["tasks"]), f"{pair['cosine']:+.3f}", f"{pair['negative']:.0%}", pair["lowest"] or _DASH]
        for pair in report["gradients"]["pairs"]
        if pair["cosine"] is not None
    ]


def _experts(report: Report) -> Table:
    dead = {(one["layer"], one["expert"]) for one in report["experts"]["dead"]}
    return [["gate", "layer", "weights", "entropy", "state"]] + [
        [gate["task"], str(gate["layer"] + 1), _weights(gate, dead),
         _DASH if gate["entropy"] is None else f"{gate['entropy']:.2f}", gate["state"]]
        for gate in report["experts"]["gates"]
    ]  # fmt: skip


def _weights(gate: Mapping[str, Any], dead: set[tuple[int, str]]) -> str:
    words = [f"{name} {weight:.2f}" + " (dead)" * ((gate["layer"], name) in dead) for name, weight in
             gate["experts"].items()]  # fmt: skip
    return ", ".join(words)


def _training(report: Report) -> Table:
    epochs = report["training"]["together"]
    if not epochs:
        return [[]]
    kept = kept_epoch(epochs)
    pulls = report["gradients"]["pulls"]
    strongest = max(pulls.values(), default=0.0) or 1.0
    heads = ["task", "loss: first epoch", f"kept ({kept['epoch']})", f"last ({epochs[-1]['epoch']})", "alone, kept"]
    table = [[*heads, "weight: first", "last", "pull"]]
    for name, first in epochs[0]["losses"].items():
        alone = report["training"]["alone"].get(name)
        table.append(
            [name, number(first), number(kept["losses"][name]), number(epochs[-1]["losses"][name]),
             number(kept_epoch(alone)["losses"][name]) if alone else _DASH, number(epochs[0]["weights"][name]),
             number(epochs[-1]["weights"][name]), f"{pulls[name] / strongest:.0%}" if name in pulls else _DASH]
        )  # fmt: skip
    return table


def kept_epoch(epochs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the latest epoch that was the best so far."""
    return max((row for row in epochs if row["best"]), key=lambda row: int(row["epoch"]), default=epochs[-1])


def _slices(report: Report) -> Table:
    return [["slice", "task", "metric", "together", "alone", "gain", "95 % interval", "rows"]] + [
        [name, task, entry["metric"], number(one["together"]), number(one["alone"]), number(one["gain"], sign=True),
         interval(one), f"{one['rows']:,}"]
        for name in slice_names(report)
        for task, entry in report["tasks"].items()
        if (one := entry["slices"].get(name)) is not None and one["gain"] is not None
    ]  # fmt: skip


def slice_names(report: Report) -> list[str]:
    """Return the slices of all tasks, in order."""
    return list(dict.fromkeys(name for entry in report["tasks"].values() for name in entry["slices"]))


def _skipped(report: Report) -> list[str]:
    words = [f"{name}: {why}" for name, why in report["skipped"].items()]
    if report["experts"]["kind"] == "shared_bottom":
        words.append("Experts: model.experts is shared_bottom, so there are no gates and nothing to see.")
    return words


def verdict_lines(report: Report) -> list[str]:
    """Return the verdict of each task: its headline, then one line for each advice."""
    lines = []
    for entry in report["tasks"].values():
        lines.append(f"  {entry['verdict']['headline']}.")
        for advice in entry["verdict"]["advice"]:
            lines.append(f"    - {advice['said']}" + (f": try --set {advice['setting']}" if advice["setting"] else ""))
    if len(report["seeds"]) == 1:
        lines.append("  One seed: the intervals are over users and know nothing of the luck of training; see --seeds.")
    return lines


_TABLES: tuple[tuple[str, Callable[[Report], Table]], ...] = (
    ("Together against alone, on held-out rows (a gain above 0: together is better)", _comparison),
    ("Gains by seed", _seeds),
    ("Gradients of the tasks over what they share, in batches of training", _gradients),
    ("Experts: mean weight in each gate; entropy 0 is one expert, 1 all alike", _experts),
    ("Losses and weights over the epochs; pull is the gradient's norm against the strongest task's", _training),
    ("Slices", _slices),
)
