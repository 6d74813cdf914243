"""Fusion is a softmax over weighted features, and recovers the weights that made the choices."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import RetrievalError
from motet.retrieval.fusion import Fusion, log_softmax

SOURCES = ("one", "two")


def _random_list(random: np.random.Generator, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Scores and ranks of two sources, each of which lists about two thirds of the candidates."""
    scores = random.normal(size=(count, 2)) * [1.0, 5.0] + [0.0, 3.0]
    ranks = np.argsort(np.argsort(random.random((count, 2)), 0), 0).astype(float)
    hidden = random.random((count, 2)) < 1 / 3
    return np.where(hidden, 0.0, scores), np.where(hidden, np.nan, ranks)


def test_probabilities_are_the_softmax_of_the_weighted_features_by_hand() -> None:
    fusion = Fusion(SOURCES, np.array([1.0, 0.0]), np.array([2.0, 1.0]), np.array([1.0, 0.5, 2.0, 0.0, 0.0, -1.0]))
    scores = np.array([[3.0, 0.0], [1.0, 4.0]])
    ranks = np.array([[0.0, np.nan], [1.0, 0.0]])
    # Standardised scores (3 - 1) / 2 = 1, 0 and (1 - 1) / 2 = 0, 4; log ranks -log 1, -log 3 (not listed: as after
    # all 2 candidates) and -log 2, -log 1; listed by the second: 0, 1.
    features = [[1, 0, 0, -np.log(3), 1, 0], [0, 4, -np.log(2), 0, 1, 1]]
    np.testing.assert_allclose(fusion.features(scores, ranks), features)
    logits = np.array([1.0, 0.5 * 4 - 2 * np.log(2) - 1])
    np.testing.assert_allclose(
        np.exp(fusion.log_probabilities(scores, ranks)), np.exp(logits) / np.exp(logits).sum(), 1e-6
    )


@pytest.mark.parametrize("several", [False, True])
def test_fitting_recovers_the_weights_that_made_the_choices(several: bool) -> None:
    random = np.random.default_rng(0)
    planted = np.array([0.8, 0.3, 0.9, 0.4, 0.5, -0.7])
    examples = []
    for _ in range(3000):
        scores, ranks = _random_list(random)
        fitted = Fusion(SOURCES, np.zeros(2), np.ones(2), planted)
        probabilities = np.exp(fitted.log_probabilities(scores, ranks).astype(np.float64))
        chosen = random.choice(len(scores), 2 if several else 1, p=probabilities / probabilities.sum())
        examples.append((scores, ranks, np.unique(chosen)))
    fusion = Fusion.fit(SOURCES, examples)
    every = np.concatenate([scores for scores, _, _ in examples])
    np.testing.assert_allclose(fusion.center_S, every.mean(0))
    # The fit sees scores divided by their deviation, so its weights are that much larger.
    found = fusion.weights_F / np.array([*fusion.scale_S, 1, 1, 1, 1])
    np.testing.assert_allclose(found, planted, atol=0.15)


def test_the_fit_is_the_minimum_of_its_loss() -> None:
    random = np.random.default_rng(1)
    examples = [(*_random_list(random), np.array([0, 3])) for _ in range(50)]
    fusion = Fusion.fit(SOURCES, examples)

    def loss(weights: np.ndarray) -> float:
        fusion.weights_F = weights
        nll = [
            -fusion.log_probabilities(scores, ranks)[rows].astype(np.float64).mean() for scores, ranks, rows in examples
        ]
        return float(np.mean(nll) + 1e-3 * weights @ weights)

    best = fusion.weights_F
    least = loss(best)
    for step in 0.05 * np.concatenate([np.eye(6), -np.eye(6)]):
        assert loss(best + step) > least


def test_a_source_that_never_says_anything_gets_no_weight_and_harms_nothing() -> None:
    random = np.random.default_rng(2)
    examples = []
    for _ in range(200):
        scores, ranks = _random_list(random)
        scores[:, 1], ranks[:, 1] = 0.0, np.nan
        examples.append((scores, ranks, np.array([int(scores[:, 0].argmax())])))
    fusion = Fusion.fit(SOURCES, examples)
    assert fusion.scale_S[1] == 1.0
    assert np.isfinite(fusion.weights_F).all()
    assert abs(fusion.weights_F[[1, 3, 5]]).max() < 1e-6
    assert fusion.weights_F[0] > 1


def test_no_example_is_an_error_that_says_what_to_raise() -> None:
    with pytest.raises(
        RetrievalError, match=r"no validation event is among its candidates; raise retrieval\.candidates"
    ):
        Fusion.fit(SOURCES, [])


def test_json_and_back_is_exact() -> None:
    random = np.random.default_rng(3)
    scores, ranks = _random_list(random)
    fusion = Fusion(SOURCES, random.normal(size=2), random.random(2) + 0.1, random.normal(size=6))
    again = Fusion.from_dict(json.loads(json.dumps(fusion.to_dict())))
    assert again.sources == SOURCES
    np.testing.assert_array_equal(again.log_probabilities(scores, ranks), fusion.log_probabilities(scores, ranks))


@given(st.lists(st.floats(-700, 700), max_size=9))
def test_log_softmax_sums_to_one_and_never_overflows(logits: list[float]) -> None:
    found = log_softmax(np.array(logits))
    assert found.dtype == np.float32
    if logits:
        assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
        assert found.argmax() == int(np.argmax(np.array(logits, np.float32) - np.float32(max(logits))))
