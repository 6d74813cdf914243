"""Bootstrap intervals of ratios of sums over clusters, such as users whose events depend on each other.

A mean is the ratio of a sum to a count, so means over events are ratios too. Whole clusters are drawn with replacement
(Efron 1979; for clusters Davison and Hinkley 1997, section 3.8), so that a user with many events counts as one draw.

Letters: N rows, G clusters, R resamples.
"""

from collections.abc import Iterator

import numpy as np

RESAMPLES = 1000
_TAIL = 2.5
_BLOCK = 1 << 22
"""Numbers drawn at once."""


def resampled(clusters: int, seed: int, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """Yield draws of G clusters with replacement, int64 [rows, G] a block; R rows in all."""
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // clusters)
    for done in range(0, resamples, rows):
        yield generator.integers(clusters, size=(min(rows, resamples - done), clusters))


def ratio_interval(
    above_N: np.ndarray, below_N: np.ndarray, cluster_N: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of sum(above) / sum(below), or None if no resample has one.

    Args:
        above_N: what is summed above the line.
        below_N: what is summed below it; 1 each gives a mean.
        cluster_N: each row's cluster, any integers.
        seed: the same seed and values give the same interval.
        resamples: R.
    """
    _, place_N = np.unique(cluster_N, return_inverse=True)
    if not len(place_N):
        return None
    above_G, below_G = (np.bincount(place_N, values) for values in (above_N, below_N))
    ratios = []
    for draw_RG in resampled(len(above_G), seed, resamples):
        below_R = below_G[draw_RG].sum(1)
        ratios.append(above_G[draw_RG].sum(1)[below_R > 0] / below_R[below_R > 0])
    return interval(np.concatenate(ratios))


def interval(values_R: np.ndarray) -> tuple[float, float] | None:
    """Return the 2.5th and the 97.5th percentile of resampled figures; None without any."""
    if not len(values_R):
        return None
    low, high = np.percentile(values_R, [_TAIL, 100 - _TAIL])
    return float(low), float(high)
