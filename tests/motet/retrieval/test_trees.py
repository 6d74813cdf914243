"""Trees learn an obvious ranking and are the same when they are read again; NDCG and the factor by hand."""

from pathlib import Path

import numpy as np
import pytest

from motet.errors import RetrievalError
from motet.evaluation.selection import mean_ndcg
from motet.kinds.retrieval import fit_sharpness
from motet.retrieval.fusion import log_softmax
from motet.retrieval.trees import Group, Trees, fit
from motet.settings import TreeSettings

SETTINGS = TreeSettings(rounds=30, rows_per_leaf=5, threads=1)
NAMES = ["noise", "signal"]


def _groups(count: int = 40, seed: int = 0) -> list[Group]:
    """Of ten candidates the one with the largest signal was taken."""
    random = np.random.default_rng(seed)
    features = [random.normal(size=(10, 2)).astype(np.float32) for _ in range(count)]
    return [Group(one, np.array([one[:, 1].argmax()])) for one in features]


@pytest.fixture(scope="module")
def trees() -> Trees:
    return Trees(fit(_groups(), SETTINGS, 1), NAMES, 2.0)


def test_an_obvious_ranking_is_learnt(trees: Trees) -> None:
    fresh = _groups(seed=9)
    assert mean_ndcg([trees.raw(group.features_CF) for group in fresh], fresh) > 0.9
    assert next(iter(trees.importance)) == "signal"
    assert sum(trees.importance.values()) == pytest.approx(1)


def test_scores_are_log_probabilities_of_the_scaled_sum(trees: Trees) -> None:
    features = _groups(1)[0].features_CF
    scores = trees.log_probabilities(features)
    np.testing.assert_allclose(np.exp(scores).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(scores, log_softmax(2.0 * trees.raw(features)))
    assert trees.log_probabilities(features[:0]).shape == (0,)


def test_read_again_they_give_equal_scores(trees: Trees, tmp_path: Path) -> None:
    trees.save(tmp_path)
    again, features = Trees.load(tmp_path), _groups(1, 5)[0].features_CF
    features[0, 0] = np.nan
    np.testing.assert_array_equal(again.log_probabilities(features), trees.log_probabilities(features))
    assert (again.names, again.factor) == (tuple(NAMES), 2.0)


def test_a_seed_fixes_the_fit(trees: Trees) -> None:
    again = fit(_groups(), SETTINGS, 1)
    features = _groups(1, 5)[0].features_CF
    np.testing.assert_array_equal(again.predict(features), trees.booster.predict(features))


@pytest.mark.parametrize("groups", [[], [Group(np.zeros((3, 2), np.float32), np.zeros(0, np.int64), 1)]])
def test_without_any_taken_candidate_the_fit_is_refused(groups: list[Group]) -> None:
    with pytest.raises(RetrievalError, match=r"no past event is among its candidates; raise retrieval\.candidates"):
        fit(groups, SETTINGS, 1)


def test_the_factor_is_that_of_least_cross_entropy() -> None:
    # Raw 1 against 0, taken 3 times of 4: the softmax must say 3/4, so the factor is log 3.
    raws = [np.array([1.0, 0.0])] * 4
    rows = [np.array([0])] * 3 + [np.array([1])]
    assert fit_sharpness(raws, rows) == pytest.approx(np.log(3), rel=1e-3)
    assert fit_sharpness([], []) == fit_sharpness(raws[:1], [np.zeros(0, np.int64)]) == 1.0
