"""Ranking metrics against numbers worked out by hand, ir-measures, closed forms and their own properties."""

from itertools import pairwise
from math import log2, sqrt

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import EvaluationError
from motet.evaluation import ranking_metrics
from motet.evaluation.ranking_metrics import (
    EMPTY,
    METRICS,
    bootstrap_interval,
    coverage,
    diversity,
    novelty,
    paired_bootstrap,
    rank_metrics,
    rank_metrics_batch,
    self_information,
)


def test_hand_computed_list() -> None:
    # places 1..5 hold 7, 3, 9, 1, 4; targets 3, 4, 8; k = 5, so hits at places 2 and 5, ideal = min(5, 3) = 3
    # DCG  = 1/log2(3) + 1/log2(6)             = 0.630930 + 0.386853 = 1.017783
    # IDCG = 1/log2(2) + 1/log2(3) + 1/log2(4) = 1 + 0.630930 + 0.5  = 2.130930
    # NDCG = 1.017783 / 2.130930 = 0.477624
    expected = {"ndcg": 0.477624, "hit": 1.0, "recall": 2 / 3, "recall_capped": 2 / 3, "mrr": 0.5}
    assert rank_metrics([7, 3, 9, 1, 4], {3, 4, 8}, k=5) == pytest.approx(expected, abs=1e-6)


def test_cut_caps_the_ideal_and_the_capped_recall() -> None:
    # k = 2 of 4 targets, one hit at place 2 (the hit at place 3 is behind the cut)
    # NDCG = (1/log2 3) / (1 + 1/log2 3) = 0.630930 / 1.630930 = 0.386853; recall 1/4, capped 1/2
    expected = {"ndcg": 0.386853, "hit": 1.0, "recall": 0.25, "recall_capped": 0.5, "mrr": 0.5}
    assert rank_metrics([5, 1, 2], [1, 2, 3, 4], k=2) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("targets", [3, 7, 10, 25])
def test_perfect_list_is_exactly_one(targets: int) -> None:
    scores = rank_metrics(range(30), range(targets))
    assert scores["ndcg"] == scores["hit"] == scores["recall_capped"] == scores["mrr"] == 1.0
    assert scores["recall"] == min(10, targets) / targets


def test_list_without_hits_and_empty_list_are_zero() -> None:
    zeros = dict.fromkeys(METRICS, 0.0)
    for ranked in ([1, 2, 3], [], [EMPTY, EMPTY]):
        assert rank_metrics(ranked, {9}) == zeros


def test_short_list_is_measured_against_the_full_ideal() -> None:
    # one place, one hit, two targets: NDCG@10 = 1 / (1 + 1/log2 3) = 0.613147
    assert rank_metrics([4], {4, 5})["ndcg"] == pytest.approx(1 / (1 + 1 / log2(3)))


def test_repeated_target_counts_once() -> None:
    assert rank_metrics([1, 2], [2, 2]) == rank_metrics(np.array([1, 2]), {2})


def _random_lists(seed: int) -> tuple[np.ndarray, list[set[int]]]:
    generator = np.random.default_rng(seed)
    ranked_UN = np.array([generator.permutation(60)[:20] for _ in range(40)])
    targets = [set(generator.permutation(60)[: generator.integers(1, 25)].tolist()) for _ in range(40)]
    return ranked_UN, targets


@pytest.mark.parametrize("k", [1, 3, 10, 20])
def test_agrees_with_ir_measures(k: int) -> None:
    ranked_UN, targets = _random_lists(seed=k)
    qrels = [ir_measures.Qrel(str(user), str(item), 1) for user, row in enumerate(targets) for item in row]
    run = [
        ir_measures.ScoredDoc(str(user), str(item), float(-place))
        for user, row in enumerate(ranked_UN)
        for place, item in enumerate(row)
    ]
    names = {"ndcg": "nDCG", "hit": "Success", "recall": "R", "mrr": "RR"}
    measures = {name: ir_measures.parse_measure(f"{theirs}@{k}") for name, theirs in names.items()}
    ours = rank_metrics_batch(ranked_UN, targets, k)
    rows = ir_measures.iter_calc(measures.values(), qrels, run)
    found = {(row.measure, row.query_id): row.value for row in rows}
    assert len(found) == 4 * 40
    for name, measure in measures.items():
        theirs_U = [found[measure, str(user)] for user in range(40)]
        np.testing.assert_allclose(ours[name], theirs_U, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("k", [1, 7, 50])
def test_batch_equals_one_by_one(k: int) -> None:
    ranked_UN, targets = _random_lists(seed=5)
    ranked_UN[3, 4:] = EMPTY
    ranked_UN[9] = EMPTY
    batch = rank_metrics_batch(ranked_UN, targets, k)
    for user, (row, wanted) in enumerate(zip(ranked_UN, targets, strict=True)):
        single = rank_metrics(row[row != EMPTY], wanted, k)
        assert single == {name: values_U[user] for name, values_U in batch.items()}


def test_empty_place_is_never_a_hit() -> None:
    assert rank_metrics_batch(np.array([[EMPTY, 1]]), [{EMPTY, 1}])["recall"].tolist() == [0.5]


def test_empty_batch_gives_empty_arrays() -> None:
    scores = rank_metrics_batch(np.empty((0, 10), dtype=np.int64), [])
    assert [values_U.shape for values_U in scores.values()] == [(0,)] * len(METRICS)


def test_large_ids_stay_apart() -> None:
    # both ids are the same float64
    assert rank_metrics([2**60 + 1], {2**60})["hit"] == 0.0


@pytest.mark.parametrize(
    ("ranked", "targets", "k", "message"),
    [
        ([1], {1}, 0, "k = 0 is no cut: give at least 1"),
        ([1], {1}, -3, "k = -3"),
        ([1], set(), 10, r"targets\[0\] is empty: leave users without a target out"),
        ([4, 7, 4], {1}, 10, "ranks item 4 twice: keep only its first place"),
    ],
)
def test_wrong_input_is_named(ranked: list[int], targets: set[int], k: int, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        rank_metrics(ranked, targets, k)


def test_wrong_batches_are_named() -> None:
    with pytest.raises(EvaluationError, match=r"targets\[1\] is empty"):
        rank_metrics_batch(np.array([[1], [2]]), [{1}, set()])
    with pytest.raises(EvaluationError, match="list 1 ranks item 3 twice"):
        rank_metrics_batch(np.array([[1, 2, EMPTY, EMPTY], [3, 2, 3, EMPTY]]), [{1}, {1}])
    with pytest.raises(EvaluationError, match=r"\(2, 1\) for 1 users: give item ids, one row a user"):
        rank_metrics_batch(np.array([[1], [2]]), [{1}])
    with pytest.raises(EvaluationError, match="float64"):
        rank_metrics_batch(np.array([[1.5]]), [{1}])


_items = st.integers(0, 40)
_lists = st.lists(_items, unique=True, max_size=30)
_targets = st.sets(_items, min_size=1)
_cuts = st.integers(1, 35)


@given(_lists, _targets, _cuts)
def test_every_metric_is_from_zero_to_one(ranked: list[int], targets: set[int], k: int) -> None:
    scores = rank_metrics(ranked, targets, k)
    assert tuple(scores) == METRICS
    assert all(0.0 <= value <= 1.0 for value in scores.values())
    assert scores["recall"] <= scores["recall_capped"]
    assert (scores["hit"] == 1.0) == (scores["mrr"] > 0.0) == (scores["ndcg"] > 0.0)


@given(_lists, _targets, _cuts, st.data())
def test_adding_a_hit_never_lowers(ranked: list[int], targets: set[int], k: int, data: st.DataObject) -> None:
    misses = [place for place, item in enumerate(ranked) if item not in targets]
    unused = sorted(targets - set(ranked))
    if not misses or not unused:
        return
    better = list(ranked)
    better[data.draw(st.sampled_from(misses))] = data.draw(st.sampled_from(unused))
    before, after = rank_metrics(ranked, targets, k), rank_metrics(better, targets, k)
    assert all(after[name] >= before[name] for name in METRICS)


@given(_lists, _targets)
def test_a_deeper_cut_never_lowers_hit_recall_and_mrr(ranked: list[int], targets: set[int]) -> None:
    for before, after in pairwise(rank_metrics(ranked, targets, k) for k in range(1, 32)):
        assert all(after[name] >= before[name] for name in ("hit", "recall", "mrr"))


def test_coverage_by_hand() -> None:
    # items 1, 2, 3 and 5 of 8 are shown
    assert coverage([[1, 2], np.array([2, 3, EMPTY]), [5]], catalogue=8) == 0.5
    assert (coverage([], catalogue=8), coverage([range(8)], catalogue=8)) == (0.0, 1.0)


@pytest.mark.parametrize("catalogue", [0, -1, 2])
def test_coverage_needs_the_whole_catalogue(catalogue: int) -> None:
    with pytest.raises(EvaluationError, match=f"catalogue = {catalogue}, but the lists hold 3 items"):
        coverage([[0, 1, 2]], catalogue)


def test_novelty_by_hand() -> None:
    # counts 3, 1, 0, 0: total 4 + catalogue 4 = 8, so p = 4/8, 2/8, 1/8, 1/8 and the bits are 1, 2, 3, 3
    counts_I = [3, 1, 0, 0]
    assert self_information(counts_I).tolist() == [1.0, 2.0, 3.0, 3.0]
    assert novelty([0, 1], counts_I) == 1.5
    assert novelty([2, 3, EMPTY], counts_I) == 3.0
    assert novelty([], counts_I) == 0.0


def test_probabilities_behind_novelty_add_up_to_one() -> None:
    counts_I = np.random.default_rng(1).integers(0, 1000, size=500)
    assert np.exp2(-self_information(counts_I)).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1.0, float("nan")], r"popularity_I\[1\] = nan is no count"),
        ([-2.0, 1.0], r"popularity_I\[0\] = -2.0"),
        ([], r"shape \(0,\)"),
        ([[1.0]], r"shape \(1, 1\)"),
    ],
)
def test_wrong_popularity_is_named(counts: list[float], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        novelty([0], counts)


def test_diversity_by_hand() -> None:
    # 1 - Jaccard of {a,b} {b,c}: 1 - 1/3 = 2/3; {a,b} {d}: 1; {b,c} {d}: 1; mean = 8/9
    genres = [frozenset("ab"), frozenset("bc"), frozenset("d"), frozenset()]
    assert diversity([0, 1, 2], genres) == pytest.approx(8 / 9)
    assert diversity([0, 1, EMPTY], genres) == pytest.approx(2 / 3)
    assert diversity([0, 3], genres) == 1.0


def test_diversity_without_anything_to_tell_apart_is_zero() -> None:
    assert diversity([0, 1], [frozenset(), frozenset()]) == 0.0
    assert diversity([0, 1], [frozenset("ab"), frozenset("ab")]) == 0.0
    assert diversity([0], [frozenset("ab")]) == diversity([], []) == 0.0


@pytest.mark.parametrize("item", [-2, 4])
def test_items_outside_the_catalogue_are_named(item: int) -> None:
    message = f"item {item} is not in the catalogue: give 0 to 3"
    with pytest.raises(EvaluationError, match=message):
        diversity([item], [frozenset()] * 4)
    with pytest.raises(EvaluationError, match=message):
        novelty([item], [1, 1, 1, 1])


def test_interval_of_a_share_has_the_closed_form_width() -> None:
    # 300 of 1000 users hit: standard error sqrt(.3 * .7 / 1000) = 0.014491, interval 0.3 -/+ 1.96 * 0.014491
    low, high = bootstrap_interval([1.0] * 300 + [0.0] * 700, resamples=20_000)
    error = sqrt(0.3 * 0.7 / 1000)
    assert (low - 0.3, high - 0.3) == pytest.approx((-1.96 * error, 1.96 * error), abs=0.05 * error)


def test_interval_of_two_users_reaches_both() -> None:
    # the mean of a resample of {0, 1} is 0, 1/2, 1 with probability 1/4, 1/2, 1/4: both tails pass 2.5 %
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)


def test_interval_without_spread_is_a_point() -> None:
    assert bootstrap_interval([0.25] * 50) == bootstrap_interval([0.25]) == (0.25, 0.25)


def test_interval_follows_its_seed() -> None:
    values_U = np.random.default_rng(0).random(100)
    assert bootstrap_interval(values_U) == bootstrap_interval(values_U.tolist(), seed=42)
    assert bootstrap_interval(values_U) != bootstrap_interval(values_U, seed=43)


def test_blocks_hold_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    # blocks of 7 // 2 = 3 resamples: 3 + 3 + 3 + 1 = 10
    monkeypatch.setattr(ranking_metrics, "_BLOCK", 7)
    assert ranking_metrics._resampled_means(np.array([0.0, 1.0]), seed=42, resamples=10).shape == (10,)


def test_paired_difference_is_tighter_than_two_intervals() -> None:
    # theirs is ours minus 0.1 for every user, so the difference has no spread although the values have
    ours_U = np.random.default_rng(0).random(200)
    assert paired_bootstrap(ours_U, ours_U - 0.1) == pytest.approx((0.1, 0.1, 0.1))
    assert np.diff(bootstrap_interval(ours_U))[0] > 0.05


def test_paired_difference_is_ours_minus_theirs() -> None:
    mean, low, high = paired_bootstrap([0.0, 0.5, 0.0], [1.0, 1.0, 1.0])
    assert mean == pytest.approx(-2.5 / 3)
    assert low <= mean <= high < 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "give one value a user, at least one"),
        ([[1.0]], r"shape \(1, 1\)"),
        ([1.0, float("nan"), float("inf")], "2 of 3 values_U are not finite: leave such users out"),
    ],
)
def test_wrong_values_are_named(values: list[float], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        bootstrap_interval(values)


def test_wrong_bootstraps_are_named() -> None:
    with pytest.raises(EvaluationError, match="resamples = 0"):
        bootstrap_interval([1.0], resamples=0)
    with pytest.raises(EvaluationError, match="ours_U has 2 users, theirs_U 1"):
        paired_bootstrap([1.0, 2.0], [1.0])
    with pytest.raises(EvaluationError, match="1 of 1 theirs_U are not finite"):
        paired_bootstrap([1.0], [float("nan")])
