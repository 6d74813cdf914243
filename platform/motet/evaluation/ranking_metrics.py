"""Metrics of ranked lists with binary gains, and how sure they are.

A list is scored for one user (`rank_metrics`) or for a batch of users (`rank_metrics_batch`), with the same
numbers. At a cut of k, for a user with n targets:

| key | formula |
|---|---|
| ndcg | sum of 1 / log2(place + 1) over the hits, divided by the same sum over the first min(k, n) places |
| hit | 1 if there is a hit, else 0 |
| recall | hits / n |
| recall_capped | hits / min(k, n) |
| mrr | 1 / place of the first hit, 0 without a hit |

A list may be shorter than k: the places that it lacks are misses. Where lists must be of one width, `EMPTY`
fills the places at the end.

Letters: U users, N ranked items, K places up to the cut, D discounted places, M targets of all users,
I items, R resamples.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from operator import index

import numpy as np
from numpy.typing import ArrayLike, NDArray

from motet.errors import EvaluationError

EMPTY = -1
"""The id of a place that holds no item."""

METRICS = ("ndcg", "hit", "recall", "recall_capped", "mrr")
"""The keys that `rank_metrics` gives, in its order."""

_TAIL = 2.5
_BLOCK = 2_000_000

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def rank_metrics(ranked: Sequence[int] | IntArray, targets: Collection[int], k: int = 10) -> dict[str, float]:
    """Scores the ranked list of one user.

    Args:
        ranked: N item ids, best first, every id once; may be empty.
        targets: The ids that the user took; at least one. A repeated id counts once.
        k: The cut, at least 1.

    Returns:
        The `METRICS`, each from 0 to 1.

    Raises:
        EvaluationError: k is under 1, there is no target, or an item is ranked twice.
    """
    ranked_1N = np.array([[index(item) for item in ranked]], dtype=np.int64)
    scores = rank_metrics_batch(ranked_1N, [targets], k)
    return {name: float(values_1[0]) for name, values_1 in scores.items()}


def rank_metrics_batch(
    ranked_UN: NDArray[np.integer], targets: Sequence[Collection[int]], k: int = 10
) -> dict[str, FloatArray]:
    """Scores the ranked lists of many users at once.

    Args:
        ranked_UN: Item ids from 0 on, best first, every id once a row; `EMPTY` where a list has no item.
        targets: For each of the U users the ids that the user took; at least one each.
        k: The cut, at least 1.

    Returns:
        The `METRICS`, each an array of U values from 0 to 1.

    Raises:
        EvaluationError: k is under 1, there is not one row for each user, a user has no target, or an item
            is ranked twice for a user.
    """
    if k < 1:
        raise EvaluationError(f"k = {k} is no cut: give at least 1, such as 10")
    _check_lists(ranked_UN, len(targets))
    wanted = [{index(item) for item in row} for row in targets]
    wanted_U = np.array([len(row) for row in wanted], dtype=np.int64)
    if not wanted_U.all():
        raise EvaluationError(f"targets[{wanted_U.argmin()}] is empty: leave users without a target out")
    return _scores(_hits(ranked_UN[:, :k], wanted, wanted_U), wanted_U, k)


def _check_lists(ranked_UN: NDArray[np.integer], users: int) -> None:
    if ranked_UN.ndim != 2 or len(ranked_UN) != users or ranked_UN.dtype.kind not in "iu":
        found = f"{ranked_UN.dtype} {ranked_UN.shape}"
        raise EvaluationError(f"ranked_UN is {found} for {users} users: give item ids, one row a user")
    sorted_UN = np.sort(ranked_UN, axis=1)
    twice_UN = (sorted_UN[:, 1:] == sorted_UN[:, :-1]) & (sorted_UN[:, 1:] != EMPTY)
    if twice_UN.any():
        row, place = np.argwhere(twice_UN)[0]
        item = sorted_UN[row, place]
        raise EvaluationError(f"list {row} ranks item {item} twice: keep only its first place")


def _hits(ranked_UK: NDArray[np.integer], wanted: list[set[int]], wanted_U: IntArray) -> BoolArray:
    """Marks the ranked items that are targets of the row's user."""
    targets_M = np.array([item for row in wanted for item in row], dtype=np.int64)
    both = np.concatenate([ranked_UK.astype(np.int64).ravel(), targets_M])
    ids, codes = np.unique(both, return_inverse=True)
    rows_U = np.arange(len(wanted), dtype=np.int64) * len(ids)
    codes_UK = codes[: ranked_UK.size].reshape(ranked_UK.shape) + rows_U[:, None]
    codes_M = codes[ranked_UK.size :] + np.repeat(rows_U, wanted_U)
    hits_UK: BoolArray = np.isin(codes_UK, codes_M) & (ranked_UK != EMPTY)
    return hits_UK


def _scores(hits_UK: BoolArray, wanted_U: IntArray, k: int) -> dict[str, FloatArray]:
    """Turns marks of hits into the `METRICS` of each user."""
    ideal_U = np.minimum(wanted_U, k)
    width = hits_UK.shape[1]
    depth = max(1, width, int(ideal_U.max(initial=0)))
    hits_UD = np.pad(hits_UK, ((0, 0), (0, depth - width)))
    discount_D = 1.0 / np.log2(np.arange(2, depth + 2))
    found_U = hits_UD.sum(axis=1)
    # cumsum adds in the same order on both sides, so a perfect list gives exactly 1.
    gain_U = np.cumsum(hits_UD * discount_D, axis=1)[:, -1]
    return {
        "ndcg": gain_U / np.cumsum(discount_D)[ideal_U - 1],
        "hit": (found_U > 0).astype(np.float64),
        "recall": found_U / wanted_U,
        "recall_capped": found_U / ideal_U,
        "mrr": np.where(found_U > 0, 1.0 / (hits_UD.argmax(axis=1) + 1), 0.0),
    }


def coverage(lists_at_k: Iterable[Sequence[int] | IntArray], catalogue: int) -> float:
    """Gives the share of the catalogue that is in at least one list.

    Args:
        lists_at_k: The item ids shown to each user, already cut at k; `EMPTY` is passed over.
        catalogue: How many items could have been shown, at least 1.

    Returns:
        A share from 0 to 1.

    Raises:
        EvaluationError: The catalogue is under 1, or smaller than the number of items in the lists.
    """
    shown = {index(item) for items in lists_at_k for item in items} - {EMPTY}
    if catalogue < 1 or len(shown) > catalogue:
        raise EvaluationError(
            f"catalogue = {catalogue}, but the lists hold {len(shown)} items: give the size of all of it"
        )
    return len(shown) / catalogue


def self_information(popularity_I: ArrayLike) -> FloatArray:
    """Gives how much of a surprise each item is, from how often it was taken.

    Args:
        popularity_I: How often each of the I items was taken, at least 0.

    Returns:
        -log2((count + 1) / (total + I)) of each item, in bits, shape (I,).

    Raises:
        EvaluationError: The counts are not one finite number from 0 on for each item.
    """
    counts_I = np.asarray(popularity_I, dtype=np.float64)
    if counts_I.ndim != 1 or not counts_I.size:
        raise EvaluationError(f"popularity_I has the shape {counts_I.shape}: give one count an item, shape (I,)")
    wrong_I = ~np.isfinite(counts_I) | (counts_I < 0)
    if wrong_I.any():
        raise EvaluationError(f"popularity_I[{wrong_I.argmax()}] = {counts_I[wrong_I][0]} is no count: give 0 or more")
    bits_I: FloatArray = -np.log2((counts_I + 1.0) / (counts_I.sum() + counts_I.size))
    return bits_I


def novelty(list_at_k: Sequence[int] | IntArray, popularity_I: ArrayLike) -> float:
    """Gives the mean self-information of the items in a list.

    For many lists take `self_information` once and index it.

    Args:
        list_at_k: Item ids that index popularity_I; `EMPTY` is passed over.
        popularity_I: How often each of the I items was taken, at least 0.

    Returns:
        The mean in bits, at least 0; 0 for a list without items.

    Raises:
        EvaluationError: As in `self_information`, or an id is outside the catalogue.
    """
    bits_I = self_information(popularity_I)
    items = _items(list_at_k, bits_I.size)
    return float(bits_I[items].mean()) if items else 0.0


def diversity(list_at_k: Sequence[int] | IntArray, attributes: Sequence[Collection[str]]) -> float:
    """Gives how different the items of a list are: the mean of 1 - Jaccard over all pairs.

    Two items without attributes count as the same (similarity 1): nothing tells them apart, and a catalogue
    with gaps must not look diverse for its gaps.

    Args:
        list_at_k: Item ids that index `attributes`; `EMPTY` is passed over.
        attributes: For each item the names of its attributes, such as its genres.

    Returns:
        A mean from 0 (all alike) to 1 (nothing shared); 0 for a list with fewer than two items.

    Raises:
        EvaluationError: An id is outside the catalogue.
    """
    sets = [frozenset(attributes[item]) for item in _items(list_at_k, len(attributes))]
    distances = [1.0 - _jaccard(one, other) for one, other in combinations(sets, 2)]
    return sum(distances) / len(distances) if distances else 0.0


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def bootstrap_interval(values_U: ArrayLike, seed: int = 42, resamples: int = 1000) -> tuple[float, float]:
    """Gives the 95 % percentile bootstrap interval of a mean over users.

    Args:
        values_U: One finite value a user.
        seed: The same seed and values give the same interval.
        resamples: How many times U users are drawn with replacement, at least 1.

    Returns:
        The lower and the upper end, in the unit of the values.

    Raises:
        EvaluationError: There is no value, a value is not finite, or resamples is under 1.
    """
    values = _values("values_U", values_U)
    if resamples < 1:
        raise EvaluationError(f"resamples = {resamples} draws nothing: give at least 1, such as 1000")
    low, high = np.percentile(_resampled_means(values, seed, resamples), [_TAIL, 100 - _TAIL])
    return float(low), float(high)


def paired_bootstrap(
    ours_U: ArrayLike, theirs_U: ArrayLike, seed: int = 42, resamples: int = 1000
) -> tuple[float, float, float]:
    """Gives the mean difference of two systems over the same users, with its 95 % interval.

    Args:
        ours_U: One finite value a user.
        theirs_U: The other system's value of the same users, in the same order.
        seed: The same seed and values give the same interval.
        resamples: How many times U users are drawn with replacement, at least 1.

    Returns:
        The mean of ours - theirs, and the lower and the upper end of its interval.

    Raises:
        EvaluationError: The two differ in length, or as in `bootstrap_interval`.
    """
    ours, theirs = _values("ours_U", ours_U), _values("theirs_U", theirs_U)
    if ours.shape != theirs.shape:
        raise EvaluationError(f"ours_U has {ours.size} users, theirs_U {theirs.size}: give the same users in one order")
    low, high = bootstrap_interval(ours - theirs, seed, resamples)
    return float((ours - theirs).mean()), low, high


def _resampled_means(values_U: FloatArray, seed: int, resamples: int) -> FloatArray:
    """Draws R means, in blocks so that the memory stays small with many users."""
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // values_U.size)
    sizes = [(min(rows, resamples - done), values_U.size) for done in range(0, resamples, rows)]
    draws = (generator.integers(values_U.size, size=size) for size in sizes)
    return np.concatenate([values_U[draw].mean(axis=1) for draw in draws])


def _values(name: str, values: ArrayLike) -> FloatArray:
    values_U = np.asarray(values, dtype=np.float64)
    if values_U.ndim != 1 or not values_U.size:
        raise EvaluationError(f"{name} has the shape {values_U.shape}: give one value a user, at least one")
    broken = int((~np.isfinite(values_U)).sum())
    if broken:
        raise EvaluationError(f"{broken} of {values_U.size} {name} are not finite: leave such users out")
    return values_U


def _items(items: Sequence[int] | IntArray, catalogue: int) -> list[int]:
    """Gives the ids of a list without its empty places; each must be inside the catalogue."""
    kept = [index(item) for item in items if item != EMPTY]
    outside = [item for item in kept if not 0 <= item < catalogue]
    if outside:
        raise EvaluationError(f"item {outside[0]} is not in the catalogue: give 0 to {catalogue - 1}")
    return kept
