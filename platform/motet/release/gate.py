"""The gate: what a release must not be worse at than the one that is served, and than what is popular.

Guarded are NDCG, the figures by which each task's kind tells two releases apart, and both by slice: cold items, cold
users, head and tail. An item that is suddenly in many lists is told too, since that is what made-up users who push one
reach. Two reports are compared if they were made under one protocol. A figure of a slice is only judged
if both rest on `release.least_rows` lists or rows, since few of them differ by chance; so is the relative fall that is
allowed for it a larger one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from motet.kinds import scored_kind
from motet.settings import ReleaseSettings

OURS, POPULAR = "motet", ("popularity", "popularity_all")
_UNFAIR = 10.0
SLICES = ("cold items", "cold users", "head items", "tail items")


@dataclass(frozen=True)
class Figure:
    """One guarded figure: its value, whether larger is better, and how many lists or rows it rests on."""

    value: float
    larger_is_better: bool
    rows: int
    of_slice: bool = False

    def least(self, drop: float) -> float:
        """Return the worst value that a relative fall allows."""
        return self.value * (1 - drop) if self.larger_is_better else self.value * (1 + drop)

    def is_worse_than(self, limit: float) -> bool:
        """Return whether it is beyond a limit."""
        return self.value < limit if self.larger_is_better else self.value > limit


def guarded(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures of a report that are guarded, by a name that says which."""
    return dict(_guarded(report))


def _guarded(report: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    ranking = report["ranking"]
    yield "NDCG", Figure(ranking["systems"][OURS]["ndcg"]["mean"], True, ranking.get("lists", 0))
    for name, entry in (report.get("tasks") or {}).items():
        yield from _of_task(name, entry["kind"], entry)
    kinds = {name: entry["kind"] for name, entry in (report.get("tasks") or {}).items()}
    for name, entry in (report.get("slices") or {}).items():
        if name not in SLICES:
            continue
        if OURS in entry["ndcg"]:
            yield f"NDCG, {name}", Figure(entry["ndcg"][OURS]["mean"], True, entry["lists"], True)
        for score, figures in entry["tasks"].items():
            for key, figure in _of_task(score, kinds[score], figures):
                yield f"{key}, {name}", Figure(figure.value, figure.larger_is_better, figure.rows, True)


def _of_task(name: str, kind: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    for metric, larger in scored_kind(kind).figures.items():
        if isinstance(value := entry.get(metric), float):
            yield f"{name} {metric}", Figure(value, larger, int(entry["rows"]))


def refusals(new: Mapping[str, Any], old: Mapping[str, Any] | None, settings: ReleaseSettings) -> list[str]:
    """Return what keeps a release from being published, each with the figures and the setting that would let it pass.

    Args:
        new: its report.
        old: the report of the current release; None if there is none, or it cannot be read.
        settings: the recipe's.
    """
    found = list(_below_popularity(new, settings))
    if old is not None and _terms(new) == _terms(old):
        found += _below_current(guarded(new), guarded(old), settings)
        found += _pushed(new, old, settings)
    return found


def _pushed(new: Mapping[str, Any], old: Mapping[str, Any], settings: ReleaseSettings) -> Iterator[str]:
    """Yield what is said of items that are in many more lists than before, the most exposed first.

    In a small catalogue an item may be in many lists by chance: what is judged is above ten times its fair share.
    """
    if not (new.get("exposure") and old.get("exposure")):
        return
    fair = new["ranking"]["k"] / max(1, new["exposure"]["items"])
    for item, share in new["exposure"]["shares"].items():
        before = old["exposure"]["shares"].get(item, 0.0)
        allowed = max(settings.least_exposure, _UNFAIR * fair, before * settings.max_exposure_growth)
        if share > allowed:
            yield (
                f"item {item} is in {share:.1%} of the lists, of the current release's in {before:.1%}, and "
                f"release.max_exposure_growth allows {allowed:.1%}; was it pushed by made-up users?"
            )


def _terms(report: Mapping[str, Any]) -> tuple[str, int]:
    return report["protocol"], report["ranking"]["k"]


def _below_popularity(new: Mapping[str, Any], settings: ReleaseSettings) -> Iterator[str]:
    systems, share = new["ranking"]["systems"], settings.max_below_popularity
    name = next((one for one in POPULAR if one in systems), None)
    if name is None:
        return
    ours, popular = (systems[one]["ndcg"]["mean"] for one in (OURS, name))
    if ours < popular * (1 - share):
        yield (
            f"NDCG {ours:.4f} is below that of {name}, {popular:.4f}, and release.max_below_popularity allows "
            f"{popular * (1 - share):.4f}"
        )


def _below_current(new: Mapping[str, Figure], old: Mapping[str, Figure], settings: ReleaseSettings) -> Iterator[str]:
    for name in (one for one in new if one in old):
        ours, theirs = new[name], old[name]
        if ours.of_slice and min(ours.rows, theirs.rows) < settings.least_rows:
            continue
        setting = "max_slice_drop" if ours.of_slice else "max_drop"
        limit = theirs.least(getattr(settings, setting))
        if ours.is_worse_than(limit):
            has = f"{name} {ours.value:.4f}, the current one has {theirs.value:.4f}"
            yield f"{has} and release.{setting} allows {limit:.4f}"
