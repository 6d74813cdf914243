"""What if a surface had other weights: the logged candidates in another order, by the scores that they had.

Both orders are those of the release's own ranking (value, caps, diversity) over the logged candidates, without what was
drawn to explore. So with the surface's own weights nothing changes. Whether people would have liked the other lists is
not said; `motet.evaluation.off_policy` says it of what exploration made possible.

Letters: R requests, K places of a list, C candidates, T scores.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import rankdata

from motet.errors import DataError, RequestError
from motet.evaluation.bootstrap import ratio_interval
from motet.ranking.value import values
from motet.recommend import Reranker
from motet.recommend.query import standing_weights
from motet.records.record import Record
from motet.records.table import to_query, to_record
from motet.retrieval.state import Candidates


@dataclass(frozen=True)
class Change:
    """The mean of a score over the lists: each request's mean counts once; the interval is of the difference."""

    before: float
    after: float
    low: float
    high: float


@dataclass
class WhatIf:
    """What other weights change."""

    requests: int
    lists_changed: float
    """Share of the lists that are not the same in the same order."""
    items_changed: float
    """Share of the shown items that leave their list."""
    overlap: float
    """Mean number of items that are in both lists of a request."""
    length: float
    """Mean length of a list."""
    rank_correlation: float | None
    """Spearman's, between the values of all candidates; mean over requests. None if no values could be ranked."""
    scores: dict[str, Change]
    left_out: Counter[str] = field(default_factory=Counter)
    """Requests that were not compared, by reason."""


@dataclass(frozen=True)
class _Pair:
    owner: str
    before_K: np.ndarray
    after_K: np.ndarray
    means_2T: np.ndarray
    correlation: float | None


def what_if(
    rows: Sequence[dict[str, Any]], reranker_of: Callable[[str], Reranker | None], weights: dict[str, float], seed: int
) -> WhatIf:
    """Return what weights change.

    Args:
        rows: of one surface, from `sample_rows`.
        reranker_of: gives the step of a release, which follows the item log; None if the release is gone.
        weights: by score; others keep those that the surface had.
        seed: of the bootstrap.

    Raises:
        RequestError: for a weight of what the release does not score.
        DataError: if no request can be compared.
    """
    pairs: list[_Pair] = []
    names: tuple[str, ...] = ()
    left_out = Counter[str]()
    for row in rows:
        reranker = reranker_of(row["release"])
        if reranker is None or (reason := _unfit(row)):
            left_out["its release is gone" if reranker is None else reason] += 1
            continue
        if any(one["item"] not in reranker.items.place_of for one in row["candidates"]):
            left_out["it had an item that neither its release nor the item log knows"] += 1
            continue
        record = to_record(row, reranker.items.places)
        if names not in ((), record.names):
            left_out["its release has other scores"] += 1
            continue
        names = record.names
        pairs.append(_compare(record, reranker, weights))
    if not pairs:
        raise DataError(f"no logged request can be compared; left out: {dict(left_out) or 'there is none'}")
    return _summed(pairs, names, left_out, seed)


def _unfit(row: dict[str, Any]) -> str:
    if row["level"] != "full":
        return f"answered at level {row['level']}"
    return "asked with weights of its own" if to_query(row).weights is not None else ""


def _compare(record: Record, reranker: Reranker, weights: dict[str, float]) -> _Pair:
    if not set(weights) <= set(reranker.recipe.weighable):
        wrong = sorted(set(weights) - set(reranker.recipe.weighable))[0]
        raise RequestError(f"--set {wrong}: no score of that name; this release has {reranker.recipe.weighable}")
    found = Candidates(record.places_C, record.fused_C, record.sources_CS, record.sources)
    scores = {name: record.scores_CT[:, column] for column, name in enumerate(record.names)}
    changed_C = values(scores, {**standing_weights(reranker.recipe, record.query), **weights})
    before_K, _ = reranker.pick(found, record.values_C, record.query)
    after_K, _ = reranker.pick(found, changed_C, record.query)
    means_2T = np.stack([record.scores_CT[rows].mean(0) for rows in (before_K, after_K)]).astype(np.float64)
    owner = record.query.user or record.request_id
    return _Pair(owner, before_K, after_K, means_2T, spearman(record.values_C, changed_C))


def spearman(one_C: np.ndarray, other_C: np.ndarray) -> float | None:
    """Return the rank correlation of two orders; None if either has no order."""
    one, other = (ranks - ranks.mean() for ranks in (rankdata(one_C), rankdata(other_C)))
    norm = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum() / norm) if norm > 0 else None


def _summed(pairs: Sequence[_Pair], names: tuple[str, ...], left_out: Counter[str], seed: int) -> WhatIf:
    lengths_R = np.array([len(one.before_K) for one in pairs])
    both_R = np.array([len(np.intersect1d(one.before_K, one.after_K)) for one in pairs])
    same_R = np.array([np.array_equal(one.before_K, one.after_K) for one in pairs])
    means_R2T = np.stack([one.means_2T for one in pairs])
    _, owner_R = np.unique([one.owner for one in pairs], return_inverse=True)
    correlations = [one.correlation for one in pairs if one.correlation is not None]
    changes = {}
    for column, name in enumerate(names):
        before_R, after_R = means_R2T[:, 0, column], means_R2T[:, 1, column]
        ends = ratio_interval(after_R - before_R, np.ones(len(pairs)), owner_R, seed)
        assert ends is not None
        changes[name] = Change(float(before_R.mean()), float(after_R.mean()), *ends)
    return WhatIf(
        requests=len(pairs),
        lists_changed=float(1 - same_R.mean()),
        items_changed=float(1 - both_R.sum() / max(lengths_R.sum(), 1)),
        overlap=float(both_R.mean()),
        length=float(lengths_R.mean()),
        rank_correlation=float(np.mean(correlations)) if correlations else None,
        scores=changes,
        left_out=left_out,
    )
