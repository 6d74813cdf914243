"""How a list came about: scores of every candidate at every stage, and what kept it out."""

from dataclasses import dataclass

import numpy as np

from motet.ranking.exploration import Explored
from motet.recommend.query import Item
from motet.retrieval.state import Candidates


@dataclass(frozen=True)
class Weighed:
    """Scores and values of C candidates."""

    raw: dict[str, np.ndarray]
    """Scores before calibration; of the retrieval task the log-probability."""
    scores: dict[str, np.ndarray]
    """Calibrated scores."""
    weights: dict[str, float]
    """Weight of each score that counts."""
    values_C: np.ndarray
    """Weighted sum of the calibrated scores."""


@dataclass(frozen=True)
class Traced:
    """One candidate on its way to the list, or out of it."""

    item: str
    sources: dict[str, float]
    """Score of each source that listed it."""
    fused: float
    """Log-probability of being next, by fusion; the fused rank is the place in the trace from 1."""
    raw: dict[str, float]
    """Scores before calibration."""
    scores: dict[str, float]
    """Calibrated scores."""
    contributions: dict[str, float]
    """Weight times calibrated score."""
    value: float
    """Sum of the contributions."""
    rank: int
    """Place from 1 in the order of values."""
    place: int | None
    """Place from 1 in the list; None if it is not in it."""
    because: str | None
    """What kept it out of the list; None if it is in it."""


@dataclass(frozen=True)
class Numbers:
    """What a record keeps of C ranked candidates with T scores, of which K are shown."""

    names: tuple[str, ...]
    """The scores."""
    raw_CT: np.ndarray
    """Before calibration, float32; of the retrieval task the log-probability."""
    scores_CT: np.ndarray
    """Calibrated, float32."""
    values_C: np.ndarray
    rows_K: np.ndarray
    """Rows of the candidates that are shown, in the order of the list."""
    propensity_K: np.ndarray
    """Probability with which the place shows this item."""
    drawn_K: np.ndarray
    """Whether the item was drawn to explore."""

    @classmethod
    def of(cls, weighed: Weighed, list_: Explored) -> "Numbers":
        """Put the arrays of a ranking together."""
        raw_CT, scores_CT = (
            np.stack(list(kind.values()), 1).astype(np.float32) for kind in (weighed.raw, weighed.scores)
        )
        return cls(
            tuple(weighed.scores), raw_CT, scores_CT, weighed.values_C, list_.rows_K, list_.propensity_K, list_.drawn_K
        )


@dataclass(frozen=True)
class Ranked:
    """The Reranker's answer."""

    items: list[Item]
    capped: dict[str, int]
    """Candidates that each cap refused."""
    trace: list[Traced] | None = None
    """All candidates in fused order, if they were asked for."""
    numbers: Numbers | None = None
    """What a record keeps of them, if the query is recorded."""
    release: str = ""
    """The release that ranked them, where several are served side by side."""


def trace_candidates(
    ids: list[str],
    candidates: Candidates,
    weighed: Weighed,
    rows: np.ndarray,
    stopped: dict[int, str],
    pushed: frozenset[int] = frozenset(),
) -> list[Traced]:
    """Return the trace of all candidates, in fused order.

    Args:
        ids: item ids by place.
        candidates: what the Retriever found.
        weighed: their scores.
        rows: those in the list, in its order.
        stopped: those that a cap refused, with its category.
        pushed: those whose place something drawn has taken.
    """
    rank_C = value_ranks(weighed.values_C)
    places = {int(row): number for number, row in enumerate(rows, 1)}
    traced = []
    for row, place in enumerate(candidates.places_C):
        raw, scores = (
            {name: _number(one[row]) for name, one in kind.items()} for kind in (weighed.raw, weighed.scores)
        )
        shown, rank = places.get(row), int(rank_C[row])
        because = None if shown else kept_out(row, rank, len(rows), stopped, pushed)
        traced.append(
            Traced(
                item=ids[int(place)],
                sources={name: _number(score) for name, score in candidates.source_scores(row).items()},
                fused=_number(candidates.fused_C[row]),
                raw=raw,
                scores=scores,
                contributions={name: _number(w * weighed.scores[name][row]) for name, w in weighed.weights.items()},
                value=_number(weighed.values_C[row]),
                rank=rank,
                place=shown,
                because=because,
            )
        )
    return traced


def value_ranks(values_C: np.ndarray) -> np.ndarray:
    """Return each candidate's place from 1 in the order of values, ties by row."""
    rank_C = np.empty(len(values_C), np.int64)
    rank_C[np.argsort(-values_C, kind="stable")] = np.arange(1, len(values_C) + 1)
    return rank_C


def kept_out(row: int, rank: int, shown: int, stopped: dict[int, str], pushed: frozenset[int] = frozenset()) -> str:
    """Return what kept a candidate out of a list: exploration, a cap, its rank by value, or diversity."""
    if row in pushed:
        return "exploration"
    if row in stopped:
        return f"cap of {stopped[row]}"
    return "value" if rank > shown else "diversity"


def _number(value: float) -> float:
    return round(float(value), 6)
