"""The value function of a surface: the weighted sum of calibrated task scores."""

import numpy as np


def values(scores: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """Return the value of each candidate, float32 [C].

    Args:
        scores: calibrated score by task, [C] each.
        weights: weight by task; tasks without one count nothing.
    """
    first = next(iter(scores.values()))
    total_C = np.zeros(len(first), np.float64)
    for task, weight in weights.items():
        total_C += weight * scores[task].astype(np.float64)
    return total_C.astype(np.float32)
