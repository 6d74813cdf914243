"""Exploration: with a share e of the requests, some places of the list go to candidates that would not be shown.

The candidates beyond the list are dealt to the places like cards, in the order of their values; each place draws one of
its hand by the softmax of value / temperature. So no item is drawn twice, draws do not depend on each other, and the
probability that a place j shows an item x, over all that the hash of a request's id may decide, is

    e x softmax of the hand of j at x      if x is in it
    1 - e                                  if the list without exploration has x there
    1                                      for what stands at a place that is not explored

Under caps only those are dealt that fit beside the list and beside whatever the other places draw.

All is decided by the request's id: asked again under the same one, the same is drawn.

Letters: C candidates, K places of the list.
"""

from dataclasses import dataclass

import numpy as np

from motet.data.hashing import uniform
from motet.ranking.caps import Caps
from motet.surface_settings import Exploration

EXPLORE = "explore"
"""The source of an item that was drawn."""


@dataclass(frozen=True)
class Explored:
    """A list of K."""

    rows_K: np.ndarray
    """Rows of the candidates, in the order to show."""
    propensity_K: np.ndarray
    """Probability with which the place shows this item."""
    drawn_K: np.ndarray
    """Whether the item was drawn."""

    @classmethod
    def nothing(cls, rows_K: np.ndarray) -> "Explored":
        """Return a list in which nothing is drawn."""
        return cls(rows_K, np.ones(len(rows_K)), np.zeros(len(rows_K), bool))


def explored_places(settings: Exploration, length: int) -> np.ndarray:
    """Return the places from 0 of a list that are explored, in their order."""
    count = min(settings.slots, length)
    if settings.places == "last":
        return np.arange(length - count, length)
    return ((np.arange(count) + 0.5) * length / max(count, 1)).astype(np.int64)


def hands(places: np.ndarray, rest: np.ndarray, values_C: np.ndarray, caps: Caps) -> list[tuple[int, np.ndarray]]:
    """Return (place, the rows that may be drawn for it) of every place that gets any.

    Args:
        places: of the list, from 0.
        rest: rows of the candidates beyond the list.
        values_C: value of each candidate.
        caps: with the list taken; what could not stand beside it, or beside what other places draw, is not dealt.
    """
    dealt: list[list[int]] = [[] for _ in places]
    for number, row in enumerate(rest[np.argsort(-values_C[rest], kind="stable")].tolist()):
        if caps.reserve(row, hand := number % len(places)):
            dealt[hand].append(row)
    return [(int(place), np.array(hand)) for place, hand in zip(places, dealt, strict=True) if hand]


def chances(hand: np.ndarray, values_C: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probability of each row of a hand: the softmax of value / temperature."""
    scaled = values_C[hand].astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return np.asarray(weights / weights.sum())


def explore(rows_K: np.ndarray, values_C: np.ndarray, settings: Exploration, request: str, caps: Caps) -> Explored:
    """Return a list with what is drawn into it, and the probability of each item at its place.

    Args:
        rows_K: the list without exploration.
        values_C: value of each candidate.
        settings: of the surface.
        request: the request's id, which decides all.
        caps: of the surface, with nothing taken.
    """
    found = Explored(rows_K.copy(), np.ones(len(rows_K)), np.zeros(len(rows_K), bool))
    places, explores = explored_places(settings, len(rows_K)), uniform(request, EXPLORE) < settings.share
    rest = np.setdiff1d(np.arange(len(values_C)), rows_K)
    for row in rows_K.tolist():
        caps.take(row)
    for place, hand in hands(places, rest, values_C, caps):
        found.propensity_K[place] = 1 - settings.share
        if explores:
            chance = chances(hand, values_C, settings.temperature)
            below = np.searchsorted(chance.cumsum(), uniform(request, str(place)), side="right")
            drawn = min(int(below), len(hand) - 1)
            found.rows_K[place], found.drawn_K[place] = hand[drawn], True
            found.propensity_K[place] = settings.share * chance[drawn]
    return found
