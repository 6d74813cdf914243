"""The Pareto front: the points that no other point beats in one metric without losing in another."""

from collections.abc import Sequence

import numpy as np


def front(points: Sequence[Sequence[float]], larger_is_better: Sequence[bool]) -> list[bool]:
    """Return for each point whether it is on the front; equal points are on it together.

    Args:
        points: N points of M finite metrics.
        larger_is_better: M directions.
    """
    if not points:
        return []
    values_NM = np.asarray(points, np.float64) * np.where(larger_is_better, 1.0, -1.0)
    no_worse_NN = (values_NM[:, None] >= values_NM[None]).all(-1)
    better_NN = (values_NM[:, None] > values_NM[None]).any(-1)
    beaten_N = np.asarray((no_worse_NN & better_NN).any(0))
    return [not beaten for beaten in beaten_N]
