"""Diversity by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)."""

import numpy as np


def select(values_C: np.ndarray, unit_CD: np.ndarray, k: int, strength: float) -> np.ndarray:
    """Return the rows of k candidates in the order to show, int64.

    Each next item maximises (1 - strength) * value - strength * largest cosine to those chosen (0 if it is negative),
    with values scaled to [0, 1] among the candidates.

    Args:
        values_C: value of each candidate.
        unit_CD: unit vectors.
        k: how many.
        strength: 0 orders by value alone, ties by row.
    """
    order_C = np.argsort(-values_C, kind="stable")
    if strength == 0 or len(order_C) <= 1:
        return order_C[:k]
    span = float(values_C.max() - values_C.min()) or 1.0
    gain_C = (1 - strength) * (values_C - values_C.min()) / span
    closest_C = np.full(len(values_C), -1.0)
    chosen: list[int] = []
    for _ in range(min(k, len(values_C))):
        score_C = gain_C - (strength * closest_C.clip(min=0) if chosen else 0.0)
        score_C[chosen] = -np.inf
        chosen.append(int(np.argmax(score_C)))
        closest_C = np.maximum(closest_C, unit_CD @ unit_CD[chosen[-1]])
    return np.array(chosen, np.int64)
