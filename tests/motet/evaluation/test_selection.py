"""The choice of sources: noise leaves, what is useful stays, and a target that nobody listed counts as missed."""

import numpy as np
import pytest

from motet.evaluation.selection import Selector, _listed, mean_ndcg
from motet.retrieval.trees import Group
from motet.settings import TreeSettings

NAMES = ["good", "noise", "good rank", "noise rank", "age"]


def _groups(count: int, seed: int) -> list[Group]:
    """Of ten candidates that both sources list, `good` scores the taken one highest."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        scores = random.normal(size=(10, 2))
        ranks = -np.log1p(scores.argsort(0)[::-1].argsort(0))
        features = np.concatenate([scores, ranks, random.normal(size=(10, 1))], 1).astype(np.float32)
        made.append(Group(features, np.array([scores[:, 0].argmax()])))
    return made


@pytest.fixture(scope="module")
def selector() -> Selector:
    settings = TreeSettings(rounds=20, rows_per_leaf=5, threads=1)
    return Selector(_groups(30, 0), _groups(20, 1), NAMES, ("good", "noise"), settings, 3)


def test_the_noise_leaves_and_the_useful_one_stays(selector: Selector) -> None:
    whole = selector.cross_fit(selector.sources)
    without = selector.without_each()
    assert set(without) == {"good", "noise"}
    assert without["good"] < whole.ndcg - 0.2
    assert without["noise"] >= 0.9
    assert selector.choose({"good": without["good"], "noise": 1.0}, without["noise"]) == ["good"]
    assert selector.choose(dict.fromkeys(without, 0.0), whole.ndcg) == ["good", "noise"]


def test_a_choice_costs_nothing_on_validation(selector: Selector) -> None:
    whole = selector.cross_fit(selector.sources).ndcg
    chosen = selector.choose(selector.without_each(), whole)
    assert "good" in chosen
    assert selector.cross_fit(chosen).ndcg >= whole


def test_one_source_alone_is_never_taken_away() -> None:
    alone = [Group(group.features_CF[:, [0, 2, 4]], group.rows) for group in _groups(20, 1)]
    selector = Selector(alone, alone, ["good", "good rank", "age"], ("good",), TreeSettings(rounds=4, threads=1), 3)
    assert selector.without_each() == {}
    assert selector.choose({"good": 1.0}, 0.5) == ["good"]


def test_the_fusion_of_some_sources_reads_their_columns_only(selector: Selector) -> None:
    trees = selector.trees(["good"], 1.5)
    assert (trees.names, trees.factor) == (("good", "good rank", "age"), 1.5)
    assert trees.booster.num_feature() == 3
    assert selector.trees(selector.sources, 1.0).names == tuple(NAMES)


def test_a_cross_fit_is_the_same_again_and_its_factor_is_positive(selector: Selector) -> None:
    one, other = selector.cross_fit(["good"]), selector.cross_fit(["good"])
    assert one == other
    assert one.factor > 0


def test_what_none_of_the_sources_listed_is_missed() -> None:
    ranks = np.array([[0.0, np.nan], [np.nan, 0.0], [-0.7, -0.7], [np.nan, np.nan]], np.float32)
    group = Group(ranks, np.array([1, 2]), missed=1)
    kept = _listed(group, [0])
    np.testing.assert_array_equal(kept.features_CF, ranks[[0, 2]])
    assert (kept.rows.tolist(), kept.missed) == ([1], 2)
    both = _listed(group, [0, 1])
    assert (len(both.features_CF), both.rows.tolist(), both.missed) == (3, [1, 2], 1)


def test_ndcg_by_hand() -> None:
    group = Group(np.zeros((3, 1), np.float32), np.array([0, 2]))
    raw = np.array([3.0, 2.0, 1.0])  # places 1 and 3
    ideal = 1 + 1 / np.log2(3)
    assert mean_ndcg([raw], [group]) == pytest.approx((1 + 0.5) / ideal)
    # A target that no source listed counts in the ideal; a group without targets counts nothing.
    missed = Group(group.features_CF, group.rows, missed=1)
    assert mean_ndcg([raw], [missed]) == pytest.approx(1.5 / (ideal + 0.5))
    nothing = Group(group.features_CF, np.zeros(0, np.int64))
    assert mean_ndcg([raw, raw], [group, nothing]) == mean_ndcg([raw], [group])
    assert mean_ndcg([], []) == 0.0
