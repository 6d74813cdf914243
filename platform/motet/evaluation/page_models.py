"""The page's sections about what was learnt: tasks, another policy's worth, experts, training, fusion."""

from collections.abc import Mapping
from typing import Any

from motet.evaluation import plots
from motet.evaluation.figures import task_figures
from motet.evaluation.markup import DASH, Cell, interval, number, plot, section, table, text

_TASK = {
    "auc": "AUC",
    "logloss": "log loss",
    "accuracy": "accuracy at 0.5",
    "base_rate": "base rate",
    "ece": "calibration error",
    "rmse": "RMSE",
    "mae": "MAE",
    "deviance": "Poisson deviance",
    "kappa": "weighted kappa",
    "ndcg": "NDCG in slates",
}
_POLICIES = {
    "logged": "as logged",
    "ips": "IPS",
    "snips": "SNIPS",
    "clipped_ips": "clipped IPS",
    "dr": "doubly robust",
}
_FEATURES_SHOWN = 15
_ENOUGH = 100
"""Effective rows below which an off-policy estimate is called thin."""


def tasks(report: Mapping[str, Any]) -> str:
    """Writes the figures of each task, its calibration, and the reliability of probabilities."""
    entries = report.get("tasks") or {}
    if not entries:
        return ""
    figures = task_figures(entries)
    rows = [
        [Cell(task), Cell(entry.get("kind", DASH)), *(Cell(number(entry.get(name))) for name in figures)]
        for task, entry in entries.items()
    ]
    curves = [
        plot(plots.reliability_curve(entry["reliability"]), f"Reliability of {task}")
        for task, entry in entries.items()
        if entry.get("reliability")
    ]
    caption = "Over the rows whose label is known; compare an accuracy with the base rate, or with 1 minus it"
    heads = ("task", "kind", *(_TASK.get(name, name) for name in figures))
    return section("Tasks", table(caption, heads, rows), _calibrators(entries), *curves)


def _calibrators(entries: Mapping[str, Any]) -> str:
    """Writes which calibrator each task has, and the log losses that it was chosen by."""
    rows = []
    for task, entry in entries.items():
        if entry.get("calibrator"):
            losses = ", ".join(f"{kind} {number(loss)}" for kind, loss in (entry.get("tried") or {}).items())
            rows.append([Cell(task), Cell(entry["calibrator"]), Cell(losses or DASH)])
    caption = "Calibration; log loss on the later validation events, of kinds fitted on the earlier ones"
    return table(caption, ("task", "calibrator", "chosen by"), rows) if rows else ""


def off_policy(report: Mapping[str, Any]) -> str:
    """Writes what the release's own choice would have been worth, by task and estimate."""
    found = report.get("off_policy") or {}
    entries = found.get("tasks") or {}
    if not entries:
        return ""
    policy = (
        f"Policy: one item is shown, drawn evenly from the release's list of {found['k']}. Reward: the task's label of "
        "test events with a known propensity; the reward model of the doubly robust estimate is the task's own head. "
        "An estimate holds if the propensities are true, and if whoever logged the events could have shown every item "
        "of the lists; the mean weight is then near 1."
    )
    heads = ("task", *_POLICIES.values(), "rows", "in the lists", "mean weight", "effective rows")
    caption = "Mean reward [95 % bootstrap interval over users]"
    rows = [_policy_row(task, entry) for task, entry in entries.items()]
    return section("Off-policy", text("p", policy), table(caption, heads, rows))


def _policy_row(task: str, entry: Mapping[str, Any]) -> list[Cell]:
    means = [Cell(number(plots.mean_of(entry.get(name))), note=interval(entry.get(name))) for name in _POLICIES]
    effective = entry["effective_sample_size"]
    thin = effective < _ENOUGH
    last = Cell(f"{effective:,.0f}" + ", thin" * thin, "bad" * thin)
    return [Cell(task), *means, *(Cell(number(entry[name])) for name in ("rows", "matched", "mean_weight")), last]


def experts(report: Mapping[str, Any]) -> str:
    """Writes which experts each task listens to."""
    weights = report.get("experts") or {}
    caption = "Mean weight of each expert in each task's mixture, over the test events; of ple the last is its own"
    return section("Experts", plot(plots.expert_heat_map(weights), caption)) if weights else ""


def training(report: Mapping[str, Any]) -> str:
    """Writes the learning curves."""
    epochs = report.get("training") or []
    if not epochs:
        return ""
    seconds = sum(entry.get("seconds") or 0.0 for entry in epochs)
    line = text("p", f"{len(epochs)} epochs in {seconds:,.1f} seconds.")
    return section("Training", line, plot(plots.learning_curve(epochs), "Losses and validation by epoch"))


def fusion(report: Mapping[str, Any]) -> str:
    """Writes what each source adds to the fusion, and what the trees read."""
    found = report.get("fusion") or {}
    if not found:
        return ""
    gains = [[Cell(name), Cell(number(share))] for name, share in (found.get("importance") or {}).items()]
    parts = [text("p", f"NDCG@10 on validation, cross-fitted: {number(found['ndcg'])}."), _ablation(found)]
    if gains:
        parts.append(table("Share in the gain of the trees' splits", ("feature", "share"), gains[:_FEATURES_SHOWN]))
    return section("Fusion", *parts)


def _ablation(found: Mapping[str, Any]) -> str:
    """Writes the ablation: the fusion without each source, those first whose absence costs most."""
    without, whole = found.get("without") or {}, found["ndcg"]
    rows = [
        [Cell(name, "ours" * (name in found["chosen"])), Cell(number(ndcg)), Cell(number(whole - ndcg))]
        for name, ndcg in sorted(without.items(), key=lambda pair: pair[1])
    ]
    caption = "Ablation: NDCG@10 on validation without each source, and what the source adds; bold is used"
    return table(caption, ("source", "without it", "adds"), rows) if rows else ""
