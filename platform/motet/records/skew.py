"""Skew: what the endpoint did otherwise than the same steps in one process do, field by field.

Numbers differ if they are further apart than 0.0001 of the larger of 1 and the logged one; one that only one side has
differs without measure. Of candidates that only one side has nothing else is compared.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motet.errors import DataError
from motet.recommend import Recommender
from motet.records.record import Record
from motet.records.replay import Logs, replay

TOLERANCE = 1e-4
_Found = tuple[str, np.ndarray, np.ndarray]
"""A field, and its values on both sides."""


@dataclass
class Field:
    """One field over all requests."""

    compared: int = 0
    differing: int = 0
    largest: float = 0.0
    """Largest difference."""
    first: str | None = None
    """The first request in which it differs."""

    def add(self, logged_N: np.ndarray, now_N: np.ndarray, request: str) -> None:
        """Compare values; NaN is none."""
        apart_N = np.abs(logged_N - now_N)
        apart_N = np.where(np.isnan(logged_N) & np.isnan(now_N), 0.0, np.nan_to_num(apart_N, nan=np.inf))
        differs_N = apart_N > TOLERANCE * np.maximum(1.0, np.nan_to_num(np.abs(logged_N)))
        self.compared += len(logged_N)
        self.differing += int(differs_N.sum())
        if differs_N.any():
            self.largest = max(self.largest, float(apart_N.max()))
            self.first = self.first or request


@dataclass
class Skew:
    """All fields."""

    requests: int = 0
    with_events: int = 0
    """Requests of users of whom the event log said something, or could have."""
    with_items: int = 0
    """Requests answered when the item log had entries."""
    fields: dict[str, Field] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    """Requests that were not compared, by reason."""

    @property
    def differs(self) -> bool:
        """Whether any field does."""
        return any(one.differing for one in self.fields.values())


def skew(rows: Sequence[dict[str, Any]], recommender_of: Callable[[str], Recommender | None], logs: Logs) -> Skew:
    """Ask logged requests again and compare.

    Args:
        rows: from `sample_rows`.
        recommender_of: gives the steps of a release, following no log; None if it is gone.
        logs: the event log and the item log.

    Raises:
        DataError: if no request can be asked again.
    """
    found = Skew()
    for logged, now in replay(rows, recommender_of, logs, found.left_out):
        found.requests += 1
        found.with_events += bool(logged.known_to)
        found.with_items += bool(logged.items_to)
        for name, logged_N, now_N in _fields(logged, now):
            found.fields.setdefault(name, Field()).add(logged_N, now_N, logged.request_id)
    found.left_out = +found.left_out
    if not found.requests:
        raise DataError(f"no logged request can be asked again; left out: {dict(found.left_out) or 'there is none'}")
    return found


def _fields(logged: Record, now: Record) -> Iterator[_Found]:
    """Yield each field with its values on both sides, of the candidates that both have in the same order."""
    yield "recognised", np.zeros(1), np.array([0.0 if logged.recognised == now.recognised else np.nan])
    every = np.union1d(logged.places_C, now.places_C)
    here, there = (np.where(np.isin(every, one.places_C), 0.0, np.nan) for one in (logged, now))
    yield "candidates", here, there
    common, rows, others = np.intersect1d(logged.places_C, now.places_C, return_indices=True)
    del common
    for name in ("fused", "values", "position", "propensity"):
        one_C, other_C = (np.asarray(getattr(one, f"{name}_C"), np.float64) for one in (logged, now))
        yield {"values": "value"}.get(name, name), one_C[rows], other_C[others]
    yield from _columns("source", logged.sources, logged.sources_CS[rows], now.sources, now.sources_CS[others])
    yield from _columns("raw score", logged.names, logged.raw_CT[rows], now.names, now.raw_CT[others])
    yield from _columns("score", logged.names, logged.scores_CT[rows], now.names, now.scores_CT[others])


def _columns(
    kind: str, names: tuple[str, ...], ours_CW: np.ndarray, others: tuple[str, ...], theirs_CW: np.ndarray
) -> Iterator[_Found]:
    missing_C = np.full(len(ours_CW), np.nan)
    for name in dict.fromkeys((*names, *others)):
        ours_C = ours_CW[:, names.index(name)] if name in names else missing_C
        theirs_C = theirs_CW[:, others.index(name)] if name in others else missing_C
        yield f"{kind} {name}", ours_C.astype(np.float64), theirs_C.astype(np.float64)
