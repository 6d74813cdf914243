"""A user's events, and what they say of the user: `OF_USER` after each of them, or from all others."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

OF_USER = ("offset", "spread", "events", "mood")
MOOD = OF_USER.index("mood")
LOG_SCALE = 6.0
SHRINK_USER = 3.0
_SHRINK_MOOD, _DECAY, _USUAL_VARIANCE = 1.5, 0.8, 0.7


@dataclass(frozen=True)
class UserEvents:
    """A user's events: places, residuals (zero if unknown), and 1 where the label is known."""

    items_S: np.ndarray
    residual_ST: np.ndarray
    known_ST: np.ndarray

    def of(self, part: slice) -> "UserEvents":
        """Return some of the events."""
        return UserEvents(self.items_S[part], self.residual_ST[part], self.known_ST[part])


def before(values: np.ndarray) -> np.ndarray:
    """Return the sums over the first 0, 1, ... rows."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), values.cumsum(0)])


def running(events: UserEvents) -> np.ndarray:
    """Return OF_USER after 0, 1, ... S events, [S + 1, T, 4]."""
    residual_ST, known_ST = events.residual_ST, events.known_ST
    count_PT, sum_PT, square_PT = map(before, (known_ST, residual_ST, residual_ST**2))
    return _of_user(count_PT, sum_PT, square_PT, _mood(events))


def without_own(events: UserEvents) -> np.ndarray:
    """Return OF_USER of each event from all others, the mood from those before it, [S, T, 4]."""
    residual_ST, known_ST = events.residual_ST, events.known_ST
    count_ST, sum_ST, square_ST = (one.sum(0) - one for one in (known_ST, residual_ST, residual_ST**2))
    return _of_user(count_ST, sum_ST, square_ST, _mood(events)[:-1])


def _of_user(count_PT: np.ndarray, sum_PT: np.ndarray, square_PT: np.ndarray, mood_PT: np.ndarray) -> np.ndarray:
    """Return OF_USER from counts and sums of residuals and of their squares."""
    offset_PT = sum_PT / (count_PT + SHRINK_USER)
    variance_PT = (np.maximum(square_PT, 0) + SHRINK_USER * _USUAL_VARIANCE) / (count_PT + SHRINK_USER)
    columns = [offset_PT, np.sqrt(variance_PT), np.log1p(np.maximum(count_PT, 0)) / LOG_SCALE, mood_PT]
    return np.stack(columns, -1).astype(np.float32)


def _mood(events: UserEvents) -> np.ndarray:
    """Return the decayed means after 0, 1, ... S events, [S + 1, T]."""

    def decayed(values_ST: np.ndarray) -> np.ndarray:
        rows_ST = lfilter([1.0], [1.0, -_DECAY], values_ST, axis=0) if len(values_ST) else values_ST
        return np.concatenate([np.zeros((1, values_ST.shape[1])), rows_ST])

    return np.asarray(decayed(events.residual_ST) / (decayed(events.known_ST) + _SHRINK_MOOD))
