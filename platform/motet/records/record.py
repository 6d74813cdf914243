"""One answer: the query and, as arrays, its C candidates with S sources and T scores."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.recommend.query import Query
from motet.recommend.trace import Numbers
from motet.retrieval.state import Candidates
from motet.surface_settings import Condition, Rule


@dataclass(frozen=True)
class Record:
    """An answer as it is logged; NaN is unknown."""

    request_id: str
    release: str
    moment_ms: int
    """When it was asked, milliseconds since 1970-01-01 UTC."""
    query: Query
    """What was asked; of a text only that there was one is kept."""
    surface: str
    level: str
    """How much of the graph answered: full, retrieval or popular."""
    recognised: str
    """How the user was recognised."""
    known_to: str | None
    """Position in the event log up to which the user's events were known; None if it was not looked at."""
    items_to: str | None
    """Position in the item log up to which the catalogue was known; None if it was not looked at."""
    sources: tuple[str, ...]
    names: tuple[str, ...]
    """The T scores."""
    places_C: np.ndarray
    """Places in the catalogue of the release, in fused order; below level full, of what is known."""
    fused_C: np.ndarray
    """Log-probability of being next, among the candidates."""
    sources_CS: np.ndarray
    """Score of each source, NaN where it did not list the item."""
    raw_CT: np.ndarray
    scores_CT: np.ndarray
    """Calibrated."""
    values_C: np.ndarray
    position_C: np.ndarray
    """Place in the list from 1; 0 if it was not shown."""
    propensity_C: np.ndarray
    """Probability with which the place showed this item; NaN if it was not shown, or below level full."""
    drawn_C: np.ndarray
    """Whether it was drawn to explore."""


def candidate_arrays(candidates: Candidates, numbers: Numbers) -> dict[str, Any]:
    """Return the arrays of a record at level full."""
    count = len(candidates.places_C)
    position_C, propensity_C, drawn_C = np.zeros(count, np.int16), np.full(count, np.nan), np.zeros(count, bool)
    position_C[numbers.rows_K] = np.arange(1, len(numbers.rows_K) + 1)
    propensity_C[numbers.rows_K], drawn_C[numbers.rows_K] = numbers.propensity_K, numbers.drawn_K
    return {
        "items_to": candidates.items_to,
        "sources": candidates.sources,
        "names": numbers.names,
        "places_C": candidates.places_C,
        "fused_C": candidates.fused_C,
        "sources_CS": candidates.scores_CS,
        "raw_CT": numbers.raw_CT,
        "scores_CT": numbers.scores_CT,
        "values_C": numbers.values_C,
        "position_C": position_C,
        "propensity_C": propensity_C,
        "drawn_C": drawn_C,
    }


def fallback_arrays(candidates: Candidates | None, shown_K: np.ndarray, values_K: Sequence[float]) -> dict[str, Any]:
    """Return the arrays of a record below level full.

    Args:
        candidates: what the Retriever found; None if it gave no answer.
        shown_K: places in the catalogue of what was shown, in its order.
        values_K: value of each.
    """
    places_C = candidates.places_C if candidates is not None else shown_K
    count = len(places_C)
    row_of = {int(place): row for row, place in enumerate(places_C)}
    rows_K = np.array([row_of[int(place)] for place in shown_K], np.int64)
    position_C, values_C = np.zeros(count, np.int16), np.full(count, np.nan)
    position_C[rows_K], values_C[rows_K] = np.arange(1, len(rows_K) + 1), values_K
    nothing_C0 = np.zeros((count, 0), np.float32)
    return {
        "items_to": candidates.items_to if candidates is not None else None,
        "sources": candidates.sources if candidates is not None else (),
        "names": (),
        "places_C": places_C,
        "fused_C": candidates.fused_C if candidates is not None else np.full(count, np.nan),
        "sources_CS": candidates.scores_CS if candidates is not None else nothing_C0,
        "raw_CT": nothing_C0,
        "scores_CT": nothing_C0,
        "values_C": values_C,
        "position_C": position_C,
        "propensity_C": np.full(count, np.nan),
        "drawn_C": np.zeros(count, bool),
    }


_AS_THEY_ARE = ("exclude_seen", "weights", "surface_weights", "attributes")


def query_to_json(query: Query) -> str:
    """Return what a query asks for besides user, history, surface and k, as JSON without its text."""
    asked: dict[str, Any] = {
        "exclude_seen": query.exclude_seen,
        "filters": {name: _condition(one) for name, one in query.filters.items()} or None,
        "allow": query.allow and list(query.allow),
        "deny": list(query.deny) or None,
        "weights": query.weights and dict(query.weights),
        "surface_weights": query.surface_weights and dict(query.surface_weights),
        "attributes": query.attributes and dict(query.attributes),
    }
    return json.dumps({name: value for name, value in asked.items() if value is not None})


def query_from_json(text: str) -> dict[str, Any]:
    """Return the arguments of `Query` that `query_to_json` wrote."""
    asked: dict[str, Any] = json.loads(text)
    filters: dict[str, Condition] = {
        name: Rule(**one) if isinstance(one, dict) else tuple(one) for name, one in asked.get("filters", {}).items()
    }
    found: dict[str, Any] = {"filters": filters}
    found |= {name: tuple(asked[name]) for name in ("allow", "deny") if name in asked}
    return found | {name: asked[name] for name in _AS_THEY_ARE if name in asked}


def _condition(one: Condition) -> Any:
    return one.model_dump(exclude_defaults=True) if isinstance(one, Rule) else list(one)
