"""Two releases on the same test users: the difference of each metric with its paired bootstrap interval.

Whole users are drawn with replacement, the same for both releases, so what is hard for both cancels out (Efron and
Tibshirani 1993, chapter 8; Sakai, SIGIR 2006). A difference whose 95 % interval holds 0 is within noise.

Letters: N events, U rows, R resamples.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from motet.data.parquet import read_parquet
from motet.errors import EvaluationError
from motet.evaluation.bootstrap import RESAMPLES, interval, resampled
from motet.evaluation.per_user import ROWS_NAME
from motet.evaluation.ranking_metrics import METRICS
from motet.evaluation.report import JSON_NAME
from motet.kinds import scored_kind
from motet.storage import read_json

_TASK_RESAMPLES = 200
_Values = dict[str, float | None]


@dataclass(frozen=True)
class Difference:
    """A metric of both releases: `mean` is first - second, within [low, high]."""

    metric: str
    first: float
    second: float
    mean: float
    low: float
    high: float
    larger_is_better: bool = True

    @property
    def verdict(self) -> str:
        """`first`, `second` (which is better), or `within noise`."""
        if self.low <= 0 <= self.high:
            return "within noise"
        return "first" if (self.mean > 0) == self.larger_is_better else "second"


def compare(first: Path, second: Path, seed: int = 42, resamples: int = RESAMPLES) -> list[Difference]:
    """Return the differences between two releases.

    Args:
        first: folder with report.json and rows.parquet.
        second: that of the other release.
        seed: of the bootstrap.
        resamples: of the ranking metrics; of tasks it is 200 at most.

    Raises:
        EvaluationError: they were not asked the same: another protocol, other data, other users or events.
    """
    reports = [read_json(folder / JSON_NAME) for folder in (first, second)]
    _require_same_terms(*reports)
    tables = [_rows(folder) for folder in (first, second)]
    _require_same_events(*tables)
    _, owner_U = np.unique(tables[0].column("user").to_pylist(), return_inverse=True)
    found = [_of_ranking(metric, tables, owner_U, seed, resamples) for metric in METRICS]
    for name, about in reports[0]["tasks"].items():
        if f"label:{name}" in tables[0].column_names and _same_labels(name, tables):
            task = _Task(name, about["kind"], tables, owner_U)
            found += task.differences(seed, min(resamples, _TASK_RESAMPLES))
    return found


def _require_same_terms(one: dict[str, Any], other: dict[str, Any]) -> None:
    terms = {
        "protocol": [report["protocol"] for report in (one, other)],
        "length of lists": [report["ranking"]["k"] for report in (one, other)],
    }
    terms |= {f"number of {name}": [r["counts"][name] for r in (one, other)] for name in one.get("counts", {})}
    for name, (mine, theirs) in terms.items():
        if mine != theirs:
            raise EvaluationError(
                f"the releases were not evaluated alike: the first one's {name} is {mine!r}, the second one's "
                f"{theirs!r}; compare releases of one split of the same data"
            )


def _rows(folder: Path) -> pa.Table:
    if not (folder / ROWS_NAME).is_file():
        raise EvaluationError(f"{folder} has no {ROWS_NAME}: the release is older than this; run the pipeline again")
    return read_parquet(folder / ROWS_NAME)


def _require_same_events(one: pa.Table, other: pa.Table) -> None:
    asked = [list(zip(table.column("user").to_pylist(), table.column("asked").to_pylist(), strict=True))
             for table in (one, other)]  # fmt: skip
    if asked[0] == asked[1]:
        return
    lost = sorted({user for user, _ in set(asked[0]) ^ set(asked[1])})
    raise EvaluationError(
        f"the releases were asked about other events of {len(lost)} users, such as {lost[0]!r}; "
        "compare releases of one split of the same data"
    )


def _same_labels(name: str, tables: list[pa.Table]) -> bool:
    """Whether both releases predicted the same labels; a score that only one has, or that changed, is left out."""
    if any(f"label:{name}" not in table.column_names for table in tables):
        return False
    one, other = (_flat(table, f"label:{name}") for table in tables)
    return bool(np.array_equal(one, other, equal_nan=True))


def _flat(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False))


def _of_ranking(metric: str, tables: list[pa.Table], owner_U: np.ndarray, seed: int, resamples: int) -> Difference:
    """Return the difference of a metric's mean over the ranked rows."""
    both = [np.array(table.column(metric).to_pylist(), np.float64) for table in tables]
    kept_U = ~np.isnan(both[0]) & ~np.isnan(both[1])
    _, cluster_U = np.unique(owner_U[kept_U], return_inverse=True)
    count_G = np.bincount(cluster_U)
    gap_G = np.bincount(cluster_U, (both[0] - both[1])[kept_U])
    gaps = [gap_G[draw].sum(1) / count_G[draw].sum(1) for draw in resampled(len(count_G), seed, resamples)]
    low, high = interval(np.concatenate(gaps)) or (0.0, 0.0)
    one, other = (float(values[kept_U].mean()) for values in both)
    return Difference(metric, one, other, one - other, low, high)


class _Task:
    """A score's events: what both releases said, what came, and whose they are."""

    def __init__(self, name: str, kind: str, tables: list[pa.Table], owner_U: np.ndarray) -> None:
        self.name, self.rules = name, scored_kind(kind)
        lengths_U = tables[0].column(f"label:{name}").combine_chunks().value_lengths().to_numpy()
        self.label_N = _flat(tables[0], f"label:{name}")
        self.said = [_flat(table, f"predicted:{name}") for table in tables]
        slate_N = _flat(tables[0], f"slate:{name}").astype(np.int64)
        row_N = np.repeat(np.arange(len(lengths_U)), lengths_U)
        _, place_N = np.unique(row_N * (slate_N.max(initial=0) + 1) + slate_N, return_inverse=True)
        self.slate_N = np.where(slate_N < 0, -1, place_N)
        user_N = np.repeat(owner_U, lengths_U)
        ends_G = np.cumsum(np.bincount(user_N, minlength=owner_U.max() + 1))
        self.events = np.split(np.argsort(user_N, kind="stable"), ends_G[:-1])

    def differences(self, seed: int, resamples: int) -> list[Difference]:
        """Return the differences of the figures that the known labels can give."""
        whole = self._values(np.arange(len(self.label_N)), self.slate_N)
        draws = [
            self._values(*self._drawn(draw_G))
            for draw_RG in resampled(len(self.events), seed, resamples)
            for draw_G in draw_RG
        ]
        found = []
        for figure, larger in self.rules.figures.items():
            ends = interval(np.array([gap for draw in draws if (gap := _gap(draw, figure)) is not None]))
            gap, (one, other) = _gap(whole, figure), (release[figure] for release in whole)
            if gap is not None and ends is not None and one is not None and other is not None:
                found.append(Difference(f"{self.name} {figure}", one, other, gap, *ends, larger))
        return found

    def _drawn(self, draw_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the events of drawn users, and their slates: those of a user drawn twice are other slates."""
        events = [self.events[user] for user in draw_G]
        rows = np.concatenate(events)
        turn_N = np.repeat(np.arange(len(events)), [len(one) for one in events])
        slates_N = self.slate_N[rows]
        return rows, np.where(slates_N < 0, -1, turn_N * (len(self.slate_N) + 1) + slates_N)

    def _values(self, rows: np.ndarray, slates: np.ndarray) -> list[_Values]:
        """Return the figures of both releases over some events; None where the labels can't give one."""
        reports = [self.rules.report(said_N[rows], self.label_N[rows], slates) for said_N in self.said]
        return [{name: _number(report[name]) for name in self.rules.figures} for report in reports]


def _number(value: Any) -> float | None:
    return value if isinstance(value, float) else None


def _gap(releases: list[_Values], figure: str) -> float | None:
    one, other = (release[figure] for release in releases)
    return None if one is None or other is None else one - other


def conclusion(differences: list[Difference], first: str, second: str) -> str:
    """Return in words which release ranks better by NDCG, or that the difference is within noise."""
    ndcg = next(one for one in differences if one.metric == "ndcg")
    ends = f"[{ndcg.low:+.4f}, {ndcg.high:+.4f}]"
    size = f"NDCG {ndcg.first:.4f} against {ndcg.second:.4f}, difference {ndcg.mean:+.4f} {ends}"
    if ndcg.verdict == "within noise":
        return f"within noise: {size}"
    return f"{first if ndcg.verdict == 'first' else second} is better: {size}"
