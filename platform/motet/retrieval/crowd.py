"""What many take, whoever asks: lately, ever, and among people who are alike in an attribute.

popularity           counts of events (or liked ones) that halve with age
popularity_all       counts of all events
popularity_segment   log lift of the item among people with one of the user's categories, mean over these

All answer as of the moment of asking (see `trends`).
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from motet.retrieval.index import Scored
from motet.retrieval.sources import Answer, DenseAnswer, scores_at
from motet.retrieval.state import UserState
from motet.retrieval.trends import Trends

_PRIOR_EVENTS = 20.0
_KEPT_ANSWERS = 16


@dataclass(frozen=True)
class PopularityAnswer:
    """The same scores for everyone who asks at a moment."""

    order_I: np.ndarray
    scores_I: np.ndarray

    def best(self, k: int, allowed_I: np.ndarray) -> Scored:
        """Return the most popular of the allowed ones; items that came since the release are last."""
        places = self.order_I[allowed_I[self.order_I]][:k]
        if len(places) < k and len(allowed_I) > len(self.order_I):
            late = len(self.order_I) + np.flatnonzero(allowed_I[len(self.order_I) :])
            places = np.append(places, late[: k - len(places)])
        return places, scores_at(self.scores_I, places)

    def of(self, places_C: np.ndarray) -> np.ndarray:
        """Look the scores up."""
        return scores_at(self.scores_I, places_C)


class PopularitySource:
    """`popularity` or `popularity_all`.

    Args:
        trends: the counts.
        half_life_days: age at which an event counts half; None counts all alike.
        liked: liked events only.
    """

    def __init__(self, trends: Trends, half_life_days: float | None = None, liked: bool = False) -> None:
        self.trends, self.half_life_days, self.liked = trends, half_life_days, liked
        self._answers: OrderedDict[int, PopularityAnswer] = OrderedDict()

    def ask(self, user: UserState) -> Answer | None:
        """Answer everyone."""
        moment = self.trends.last_ms if user.asked_ms is None else user.asked_ms
        key = self.trends.bins if moment >= self.trends.last_ms else self.trends.bin_of(moment)
        if key not in self._answers:
            scores_I = self.trends.decayed(moment, self.half_life_days, self.liked)
            order_I = np.lexsort((np.arange(len(scores_I)), -scores_I))
            self._answers[key] = PopularityAnswer(order_I, scores_I)
            if len(self._answers) > _KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return self._answers[key]


class SegmentSource:
    """`popularity_segment`: sparse counts [slots, I] of how often people of each category met each item."""

    def __init__(self, counts: sp.csr_matrix) -> None:
        self.counts = counts
        total_I = np.asarray(counts.sum(0)).ravel()
        self.share_I = total_I / max(total_I.sum(), 1.0)
        self.total_L = np.asarray(counts.sum(1)).ravel()

    def ask(self, user: UserState) -> Answer | None:
        """Answer people with a category that has events."""
        slots = [slot for slot in user.slots if slot < len(self.total_L) and self.total_L[slot] > 0]
        if not slots:
            return None
        lifts = []
        for slot in slots:
            expected_I = self.share_I * self.total_L[slot]
            counts_I = np.asarray(self.counts[slot].todense()).ravel()
            lifts.append(np.log((counts_I + _PRIOR_EVENTS) / (expected_I + _PRIOR_EVENTS)))
        return DenseAnswer(np.mean(lifts, 0).astype(np.float32))
