"""Diversity by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), and caps by category."""

import numpy as np

from motet.ranking.caps import Caps


def select(values_C: np.ndarray, unit_CD: np.ndarray, k: int, strength: float, caps: Caps | None = None) -> np.ndarray:
    """Return the rows of k candidates in the order to show, int64; fewer if caps leave fewer.

    Each next item maximises (1 - strength) * value - strength * largest cosine to those chosen (0 if it is negative),
    with values scaled to [0, 1] among the candidates, over those that the caps still admit.

    Args:
        values_C: value of each candidate.
        unit_CD: unit vectors.
        k: how many.
        strength: 0 orders by value alone, ties by row.
        caps: most items of one value of a category; none if None.
    """
    order_C = np.argsort(-values_C, kind="stable")
    caps = caps or Caps({}, {})
    if strength == 0 or len(order_C) <= 1:
        return np.array(caps.fill(order_C.tolist(), k), np.int64)
    span = float(values_C.max() - values_C.min()) or 1.0
    gain_C = (1 - strength) * (values_C - values_C.min()) / span
    closest_C = np.full(len(values_C), -1.0)
    open_C = np.ones(len(values_C), bool)
    chosen: list[int] = []
    while len(chosen) < k and open_C.any():
        score_C = gain_C - (strength * closest_C.clip(min=0) if chosen else 0.0)
        row = int(np.argmax(np.where(open_C, score_C, -np.inf)))
        open_C[row] = False
        if caps.admits(row):
            caps.take(row)
            chosen.append(row)
            closest_C = np.maximum(closest_C, unit_CD @ unit_CD[row])
    return np.array(chosen, np.int64)
