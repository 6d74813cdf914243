"""The doctor's comparison: metrics by hand and against the house's own, gains, intervals over users."""

import numpy as np
import pytest

from motet.evaluation.doctor_metrics import Rows, compare, metric_of, statistic
from motet.evaluation.ranking_metrics import rank_metrics
from motet.kinds import KINDS
from motet.kinds.metrics import binary_metrics, count_metrics, regression_metrics, slate_metrics

NONE = np.full(60, -1)


def rows_of(labels_N, users_N=None, slates_N=None):
    labels_N = np.asarray(labels_N, np.float64)
    users_N = np.arange(len(labels_N)) if users_N is None else np.asarray(users_N)
    return Rows(users_N, labels_N, np.full(len(labels_N), -1) if slates_N is None else np.asarray(slates_N))


def value(kind, rows, predictions_N):
    users = int(rows.users_N.max()) + 1
    return float(statistic(kind, rows, np.asarray(predictions_N))(np.ones((1, users)))[0])


@pytest.fixture
def random():
    return np.random.default_rng(5)


def test_auc_counts_ties_half():
    # Pairs (1, 0): 3 > 1, 3 > 2, 2 > 1, 2 = 2, so 3.5 of 4.
    assert value("binary", rows_of([0, 1, 0, 1]), [1.0, 2.0, 2.0, 3.0]) == 3.5 / 4


def test_every_metric_is_the_reports_own(random):
    users_N = np.repeat(np.arange(12), 5)
    truth_N, count_N = random.integers(0, 2, 60), random.integers(0, 5, 60)
    chance_N, positive_N = random.random(60).round(1), random.random(60) + 0.1
    binary = rows_of(truth_N, users_N)
    assert value("binary", binary, chance_N) == pytest.approx(binary_metrics(truth_N, chance_N)["auc"])
    for kind in ("regression", "ordinal"):
        found = value(kind, rows_of(count_N, users_N), positive_N)
        assert found == pytest.approx(regression_metrics(count_N, positive_N)["rmse"])
    found = value("count", rows_of(count_N, users_N), positive_N)
    assert found == pytest.approx(count_metrics(count_N, positive_N)["deviance"])
    slates_N = np.where(users_N == 3, -1, users_N)
    found = value("ranking", rows_of(count_N, users_N, slates_N), positive_N)
    assert found == pytest.approx(slate_metrics(count_N, positive_N, slates_N)["ndcg"])


def test_retrieval_is_the_mean_over_users_of_their_ndcg():
    """User 0 took items 7 and 8, at places 1 and 4; user 1 took one, which is not in the list."""
    rows = rows_of([1, 1, 1], [0, 0, 1])
    first = rank_metrics([7, 1, 2, 8, 3, 4, 5, 6, 9, 10], {7, 8})["ndcg"]
    assert value("retrieval", rows, [1, 4, 0]) == pytest.approx(first / 2)


def test_a_user_drawn_twice_counts_twice():
    """Squared errors 1 and 9 of two users: drawn once and three times, (1 + 27) / 4."""
    one = statistic("regression", rows_of([0, 0]), np.array([1.0, 3.0]))
    assert one(np.array([[1.0, 3.0], [0.0, 2.0]])).tolist() == pytest.approx([np.sqrt(7), 3.0])
    auc = statistic("binary", rows_of([1, 0, 0]), np.array([2.0, 1.0, 3.0]))
    assert auc(np.array([[1.0, 3.0, 1.0]])).tolist() == [0.75]
    assert np.isnan(auc(np.array([[0.0, 1.0, 1.0]]))[0])


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_gain_is_above_0_if_together_is_better_whatever_the_metric(kind, random):
    users_N = np.repeat(np.arange(30), 2)
    labels_N = np.tile([1.0, 0.0], 30) if kind in ("binary", "ranking") else np.ones(60)
    rows = rows_of(labels_N, users_N, users_N)
    good = np.ones(60) if kind == "retrieval" else labels_N + 0.01
    bad = np.where(random.random(60) < 0.5, 0, 3) if kind == "retrieval" else 1.3 - labels_N + random.random(60)
    for together, alone, sign in ((good, bad, 1), (bad, good, -1)):
        found = compare(kind, rows, [together], [alone])
        assert found["gain"] * sign > 0
        assert found["low"] * sign > 0
        assert found["low"] - 1e-12 <= found["gain"] <= found["high"] + 1e-12
        assert (found["users"], found["rows"]) == (30, 60)
        larger = metric_of(kind)[1]
        assert (found["together"] > found["alone"]) == (larger if sign > 0 else not larger)


def test_the_interval_pairs_users():
    """One network is worse by the same amount for each user: the users differ widely, the difference does not."""
    random = np.random.default_rng(0)
    spread_N = random.normal(0, 10, 200)
    rows = rows_of(spread_N)
    found = compare("regression", rows, [spread_N + 1.0], [spread_N + 1.5])
    assert found["gain"] == pytest.approx(0.5)
    assert (found["low"], found["high"]) == (pytest.approx(0.5), pytest.approx(0.5))


def test_whole_users_are_drawn():
    """Ten equal rows of each user say no more than one: the interval is the same, and not narrower."""
    random = np.random.default_rng(1)
    errors_U = random.random(40)
    one = compare("regression", rows_of(np.zeros(40)), [errors_U], [np.ones(40)])
    many = compare(
        "regression", rows_of(np.zeros(400), np.repeat(np.arange(40), 10)), [errors_U.repeat(10)], [np.ones(400)]
    )
    assert (many["low"], many["high"]) == (pytest.approx(one["low"]), pytest.approx(one["high"]))


def test_seeds_are_averaged_and_kept_apart():
    rows = rows_of(np.zeros(20))
    good, bad = np.full(20, 1.0), np.full(20, 2.0)
    found = compare("regression", rows, [good, bad], [bad, bad])
    assert found["gains"] == pytest.approx([1.0, 0.0])
    assert found["gain"] == pytest.approx(0.5)
    assert found["together"] == pytest.approx(1.5)


def test_a_slice_and_unknown_labels_leave_rows_out():
    labels_N = np.array([0.0, np.nan, 0.0, 0.0])
    rows = rows_of(labels_N, [0, 0, 1, 2])
    ours, theirs = np.array([1.0, 99.0, 1.0, 50.0]), np.array([2.0, 99.0, 2.0, 50.0])
    found = compare("regression", rows, [ours], [theirs], within_N=np.array([True, True, True, False]))
    assert (found["rows"], found["users"], found["gain"]) == (2, 2, pytest.approx(1.0))


@pytest.mark.parametrize(("kind", "labels"), [("binary", [1, 1]), ("binary", [np.nan, np.nan]), ("ranking", [1, 0])])
def test_what_the_rows_cannot_give_is_none(kind, labels):
    found = compare(kind, rows_of(labels), [np.ones(2)], [np.ones(2)])
    assert (found["gain"], found["low"], found["together"], found["gains"]) == (None, None, None, [])


def test_an_interval_that_most_draws_cannot_give_is_none():
    """The one user with a label of 0 is missing from two draws of five; a slate that is one of thirty, from more."""
    labels_N, slates_N = np.zeros(60), np.full(60, -1)
    labels_N[0], slates_N[:2] = 1.0, 5
    rows = Rows(np.repeat(np.arange(30), 2), labels_N, slates_N)
    found = compare("ranking", rows, [np.ones(60)], [np.ones(60)])
    assert found["gain"] == 0.0
    assert found["low"] is not None  # 1 - 1/e of the draws have it
    three = Rows(np.array([0, 1, 2]), np.array([1.0, 0.0, 0.0]), np.array([-1, -1, -1]))
    assert compare("binary", three, [np.arange(3.0)], [np.arange(3.0)])["low"] is not None
