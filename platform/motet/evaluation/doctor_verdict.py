"""What a task's figures mean, and the recipe's setting to change. `RULES` is the whole of it, one rule a row.

reading           when
helps             the interval of the gain is above 0, and all seeds agree in its sign
hurts             it is below 0, and they agree
not told apart    it holds 0, or the seeds disagree
unknown           the held-out rows give no metric
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HELPS, HURTS, UNSURE, UNKNOWN = "helps", "hurts", "not told apart", "unknown"
CONFLICT = -0.05
"""Mean cosine of two tasks' gradients from which on they pull apart."""
WEAK_PULL = 0.1
"""Share of the strongest task's gradient below which a task is drowned."""
_CHOICE = 0.5
_MOST_BOOST = 10.0
_SURGERY = ("pcgrad", "cagrad")


@dataclass(frozen=True)
class Conflict:
    """The other task whose gradient stands worst to this one's."""

    other: str
    cosine: float
    negative: float
    lowest: str | None


@dataclass(frozen=True)
class Choice:
    """The epoch that is best for a task by its own metric on validation, and the one that was kept."""

    best: int
    best_value: float
    kept: int
    kept_value: float

    @property
    def lost(self) -> float:
        """How much of its own metric the task lost by the choice."""
        return abs(self.best_value - self.kept_value)


@dataclass(frozen=True)
class Facts:
    """All that the rules look at."""

    task: str
    place: int
    """In the recipe's list of tasks."""
    scored: bool
    metric: str
    gain: float | None
    low: float | None
    high: float | None
    gains: Sequence[float]
    users: int
    settings: Mapping[str, Any]
    """By their names in the recipe, such as `model.balance`, and `weight` of the task."""
    conflict: Conflict | None = None
    strongest: str | None = None
    pull: float | None = None
    """Norm of this task's gradient as a share of the strongest task's."""
    choice: Choice | None = None
    rising: bool = False
    """Whether the last epoch there was is the best."""
    dead: Sequence[str] = ()
    state: str | None = None
    """Of the task's gate: uniform, one-hot, mixes or one expert."""
    weak: Mapping[str, float] | None = None
    """The slices on which the interval is below 0, with their gains."""


def reading(facts: Facts) -> str:
    """Return what the gain says; see the top of this module."""
    if facts.gain is None or facts.low is None or facts.high is None:
        return UNKNOWN
    agree = all(one > 0 for one in facts.gains) or all(one < 0 for one in facts.gains)
    if not agree:
        return UNSURE
    return HELPS if facts.low > 0 else HURTS if facts.high < 0 else UNSURE


@dataclass(frozen=True)
class Rule:
    """One row: for which readings it is asked, when it holds, what it says and what it would set."""

    name: str
    readings: tuple[str, ...]
    holds: Callable[[Facts], bool]
    said: Callable[[Facts], str]
    setting: Callable[[Facts], tuple[str, Any] | None]


def _apart(facts: Facts) -> bool:
    return facts.conflict is not None and facts.conflict.cosine <= CONFLICT


def _drowned(facts: Facts) -> bool:
    return facts.pull is not None and facts.pull < WEAK_PULL and facts.strongest != facts.task


def _badly_chosen(facts: Facts) -> bool:
    choice = facts.choice
    if choice is None or choice.best == choice.kept or not choice.lost:
        return False
    return facts.gain is not None and choice.lost >= _CHOICE * abs(facts.gain)


def _collapsed(facts: Facts) -> bool:
    return facts.scored and (bool(facts.dead) or facts.state in ("uniform", "one-hot"))


def _one_network(facts: Facts) -> bool:
    return facts.scored and facts.settings["model.experts"] == "shared_bottom"


def _no_cause(facts: Facts) -> bool:
    return not any(cause(facts) for cause in (_apart, _drowned, _badly_chosen, _collapsed, _one_network))


def _weak_on(name: str) -> Callable[[Facts], bool]:
    return lambda facts: name in (facts.weak or {})


def _say_apart(facts: Facts) -> str:
    assert facts.conflict is not None
    one = facts.conflict
    where = f", most in the {one.lowest}" if one.lowest else ""
    return (
        f"its gradients and those of {one.other} point apart (cosine {one.cosine:+.2f}, negative in "
        f"{one.negative:.0%} of the batches{where})"
    )


def _mend_apart(facts: Facts) -> tuple[str, Any] | None:
    """Return surgery first, then experts of their own; after both, only a recipe of its own is left."""
    if facts.settings["model.balance"] not in _SURGERY:
        return "model.balance", "cagrad"
    return ("model.experts", "ple") if facts.scored and facts.settings["model.experts"] != "ple" else None


def _say_drowned(facts: Facts) -> str:
    pull = facts.pull or 0.0
    return f"its pull on what is shared is {'under 1%' if pull < 0.01 else f'{pull:.0%}'} of that of {facts.strongest}"


def _mend_drowned(facts: Facts) -> tuple[str, Any] | None:
    if facts.settings["model.balance"] in ("static", *_SURGERY):
        boost = min(_MOST_BOOST, 1 / max(facts.pull or 0.0, 1e-9))
        return f"tasks.{facts.place}.weight", float(f"{facts.settings['weight'] * boost:.2g}")
    return ("model.balance", "gradnorm") if facts.settings["model.balance"] != "gradnorm" else None


def _say_choice(facts: Facts) -> str:
    assert facts.choice is not None
    one, by = facts.choice, facts.settings["train.select_by"]
    return (
        f"on validation its epoch {one.best} is best ({facts.metric} {one.best_value:.4f}), the run kept epoch "
        f"{one.kept} by {by} ({one.kept_value:.4f})"
    )


def _say_collapsed(facts: Facts) -> str:
    dead = [f"{', '.join(facts.dead)} used by no gate"] if facts.dead else []
    gate = {"uniform": ["its gate gives all experts alike"], "one-hot": ["its gate takes one expert"]}
    return "; ".join(dead + gate.get(facts.state or "", []))


def _mend_collapsed(facts: Facts) -> tuple[str, Any] | None:
    count = facts.settings["model.num_experts"]
    if facts.settings["model.experts"] == "mmoe" and facts.state in ("uniform", "one-hot"):
        return "model.experts", "ple"
    return ("model.num_experts", max(1, count - len(facts.dead))) if facts.dead and count > 1 else None


def _say_gap(facts: Facts) -> str:
    if len(facts.gains) > 1 and not (min(facts.gains) > 0 or max(facts.gains) < 0):
        return f"the seeds disagree: gains from {min(facts.gains):+.4f} to {max(facts.gains):+.4f}"
    if facts.low == facts.high == 0:
        return "both ways give the same figure, whichever users are drawn"
    half = ((facts.high or 0.0) - (facts.low or 0.0)) / 2
    return f"{facts.users:,} held-out users show a difference of about {half:.4f} and more"


RULES: tuple[Rule, ...] = (
    Rule("choice of epoch", (HURTS, UNSURE), _badly_chosen, _say_choice,
         lambda facts: ("train.select_by", f"{facts.task}.{facts.metric}")),
    Rule("conflict", (HURTS,), _apart, _say_apart, _mend_apart),
    Rule("drowned", (HURTS,), _drowned, _say_drowned, _mend_drowned),
    Rule("collapsed experts", (HURTS, UNSURE), _collapsed, _say_collapsed, _mend_collapsed),
    Rule("one network for all", (HURTS,), _one_network, lambda _: "all tasks share one bottom",
         lambda _: ("model.experts", "mmoe")),
    Rule("no cause seen", (HURTS,), _no_cause,
         lambda _: "gradients, experts and the choice of epoch show no cause; the tasks may lack room",
         lambda facts: ("model.dim", 2 * facts.settings["model.dim"])),
    Rule("too few to tell", (UNSURE,), lambda _: True, _say_gap, lambda _: None),
    Rule("still rising", (HELPS, HURTS, UNSURE), lambda facts: facts.rising,
         lambda facts: "the last epoch was the best: neither way of training was done",
         lambda facts: ("train.epochs", 2 * facts.settings["train.epochs"])),
    Rule("worse on cold items", (HELPS, UNSURE), _weak_on("cold items"),
         lambda facts: f"it loses {-(facts.weak or {})['cold items']:.4f} on items without a training event",
         lambda facts: ("model.id_dropout", min(0.9, round(2 * facts.settings["model.id_dropout"] + 0.1, 2)))),
)  # fmt: skip

_HEADLINES = {
    HELPS: "{task} gains {size} {metric} {interval} from training together: keep it here",
    HURTS: "{task} loses {size} {metric} {interval} to training alone",
    UNSURE: "{task} is not told apart from training alone ({size} {metric} {interval})",
    UNKNOWN: "{task} has too few held-out labels to judge",
}


def verdict(facts: Facts) -> dict[str, Any]:
    """Return `reading`, the `headline`, and the `advice`: for each rule that holds its name, words and setting."""
    found = reading(facts)
    size = f"{facts.gain or 0.0:+.4f}" if found == UNSURE else f"{abs(facts.gain or 0.0):.4f}"
    ends = (facts.low, facts.high)
    interval = "" if None in ends else f"[{ends[0]:+.4f}, {ends[1]:+.4f}]"
    headline = _HEADLINES[found].format(task=facts.task, size=size, metric=facts.metric, interval=interval)
    rules = [rule for rule in RULES if found in rule.readings and rule.holds(facts)]
    return {"reading": found, "headline": headline, "advice": [_advice(rule, facts) for rule in rules]}


def _advice(rule: Rule, facts: Facts) -> dict[str, Any]:
    setting = rule.setting(facts)
    said = rule.said(facts)
    if setting is None:
        own = "; train it from a recipe of its own" if rule.name == "conflict" else ""
        return {"rule": rule.name, "said": said + own, "setting": None}
    name, value = setting
    return {"rule": rule.name, "said": said, "setting": f"{name}={value}"}
