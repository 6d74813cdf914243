"""The contract of all sources, and each by hand against dense arrays."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from motet.retrieval.crowd import PopularitySource, SegmentSource
from motet.retrieval.factors import FactorSource, item_sums, solve_items, start
from motet.retrieval.index import VectorIndex
from motet.retrieval.linear import LinearSource, gram, solve
from motet.retrieval.pairs import Fading, neighbours, pair_counts
from motet.retrieval.sources import (
    NeighbourSource,
    OwnSource,
    Source,
    UserSource,
    VectorSource,
    top,
)
from motet.retrieval.state import UserState
from motet.retrieval.trends import Trends, count_bins
from motet.settings import IndexSettings

ITEMS, KEEP, SHRINKAGE = 15, 4, 2.0
RANDOM = np.random.default_rng(5)
HISTORIES = [RANDOM.permutation(ITEMS)[: 2 + user % 6] for user in range(12)]
WEIGHTS = [(1 + np.arange(len(items)) % 3) / 3 for items in HISTORIES]
VECTORS = RANDOM.normal(size=(ITEMS, 4)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


def _user(
    items: list[int], vector: np.ndarray | None = None, content: np.ndarray | None = None, slots: tuple[int, ...] = ()
) -> UserState:
    places = np.array(items, np.int64)
    zero = np.zeros(4, np.float32)
    return UserState(
        zero if vector is None else vector, zero if content is None else content, places,
        np.full(len(places), 2, np.int8), "known" if items else "popular", slots=slots,
    )  # fmt: skip


def _table() -> pa.Table:
    users_I = np.bincount(np.concatenate(HISTORIES), minlength=ITEMS)
    moments = [np.arange(len(one)) for one in HISTORIES]
    table = neighbours(pair_counts(HISTORIES, moments, ITEMS, Fading(5, 5.0)), users_I, KEEP, SHRINKAGE)
    return table.filter(pa.compute.equal(table.column("kind"), "item_knn"))


def _dense() -> np.ndarray:
    matrix = np.zeros((ITEMS, ITEMS))
    for row in _table().to_pylist():
        matrix[row["item"], row["other"]] = row["weight"]
    return matrix


def _factors() -> np.ndarray:
    items_IK = start(ITEMS, 3, 1)
    for _ in range(3):
        items_IK = solve_items(item_sums([np.unique(one) for one in HISTORIES], items_IK, 1.0), 1.0)
    return items_IK


def _trends() -> Trends:
    items = np.concatenate(HISTORIES)
    moments = np.concatenate([np.arange(len(one)) for one in HISTORIES]) * 86_400_000
    return Trends(
        [count_bins(items, moments, items % 2, ITEMS, 0, 86_400_000)], ITEMS, 0, 86_400_000, int(moments.max())
    )


SOURCES: dict[str, Source] = {
    "vectors": VectorSource(VectorIndex.build(VECTORS, IndexSettings(kind="flat")), VECTORS),
    "profile": VectorSource(VectorIndex.build(VECTORS, IndexSettings(kind="flat")), VECTORS, uses_content=True),
    "again": OwnSource(),
    "item_knn": NeighbourSource(_table(), ITEMS),
    "transitions": NeighbourSource(_table(), ITEMS, Fading(5, 2.0)),
    "user_knn": UserSource(HISTORIES, WEIGHTS, ITEMS, KEEP, SHRINKAGE),
    "ease": LinearSource(solve(gram(HISTORIES, WEIGHTS, ITEMS), 2.0), 0.3),
    "als": FactorSource(_factors(), 1.0),
    "popularity": PopularitySource(_trends(), 2.0),
    "popularity_all": PopularitySource(_trends(), liked=True),
    "popularity_segment": SegmentSource(sp.csr_matrix(RANDOM.integers(0, 9, (2, ITEMS)).astype(float))),
}


FOR_ALL = ("popularity", "popularity_all")


def test_a_transition_says_half_as_much_a_half_life_later() -> None:
    """Two steps of a history, two days and one day before they ask; steps alone count e^(-1 / 2) and 1."""
    source = NeighbourSource(_table(), ITEMS, Fading(5, 2.0, half_life_ms=86_400_000))
    days = replace(_user([3, 7]), moments_S=86_400_000 * np.array([1, 2]), asked_ms=86_400_000 * 3)
    found, every = source.ask(days), np.arange(ITEMS)
    assert found is not None
    expected_I = _dense()[3] * np.exp(-1 / 2) / 4 + _dense()[7] / 2
    np.testing.assert_allclose(found.of(every), expected_I, rtol=1e-5)
    undated = source.ask(_user([3, 7]))
    assert undated is not None
    np.testing.assert_allclose(undated.of(every), _dense()[3] * np.exp(-1 / 2) + _dense()[7], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(SOURCES))
@pytest.mark.parametrize("k", [1, 5, 100])
def test_the_best_are_allowed_ordered_distinct_and_scored_as_asked_one_by_one(name: str, k: int) -> None:
    answer = SOURCES[name].ask(_user([3, 7, 3], VECTORS[3], VECTORS[7], slots=(0, 1)))
    assert answer is not None
    allowed = np.arange(ITEMS) % 3 != 0
    places, scores = answer.best(k, allowed)
    assert len(places) <= k
    assert allowed[places].all()
    assert len(set(places.tolist())) == len(places)
    assert (np.diff(scores) <= 1e-6).all()
    np.testing.assert_allclose(answer.of(places), scores, atol=1e-6)
    everything = answer.of(np.arange(ITEMS))
    if len(places) and k < 100:
        left_out = np.setdiff1d(np.flatnonzero(allowed), places)
        assert everything[left_out].max() <= scores[-1] + 1e-6
    assert answer.best(k, np.zeros(ITEMS, bool))[0].tolist() == []
    assert answer.of(np.zeros(0, np.int64)).shape == (0,)


@pytest.mark.parametrize(("name", "answers"), [(name, name in FOR_ALL) for name in sorted(SOURCES)])
def test_about_someone_of_whom_nothing_is_known_only_popularity_has_an_opinion(name: str, answers: bool) -> None:
    assert (SOURCES[name].ask(_user([])) is not None) == answers


def test_again_is_how_often_and_then_how_lately() -> None:
    answer = OwnSource().ask(_user([5, 2, 9, 2, 5, 7]))
    assert answer is not None
    places, scores = answer.best(10, np.ones(ITEMS, bool))
    assert places.tolist() == [5, 2, 7, 9]  # twice, the latest second to last; twice; once, the latest; once
    assert scores.tolist() == pytest.approx([2 + 1 / 3, 2 + 1 / 4, 1 + 1 / 2, 1 + 1 / 5])
    assert answer.of(np.array([0, 5])).tolist() == pytest.approx([0, 2 + 1 / 3])


def test_item_knn_is_the_sum_of_the_rows_of_the_users_items() -> None:
    for items in ([3], [3, 7, 0], [3, 3, 7], list(range(ITEMS))):
        answer = SOURCES["item_knn"].ask(_user(items))
        np.testing.assert_allclose(answer.of(np.arange(ITEMS)), _dense()[items].sum(0), rtol=1e-5)


def test_transitions_weigh_the_latest_most() -> None:
    items = [3, 7, 0]
    say = np.exp(-np.array([2, 1, 0]) / 2.0)  # steps back, decay 2
    answer = SOURCES["transitions"].ask(_user(items))
    np.testing.assert_allclose(answer.of(np.arange(ITEMS)), say @ _dense()[items], rtol=1e-5)


def test_events_long_ago_have_no_say_in_transitions() -> None:
    # e^(-19 / 2) is below 0.0001: of 20 events the first counts nothing.
    one, other = (SOURCES["transitions"].ask(_user([first] + [7] * 19)).of(np.arange(ITEMS)) for first in (3, 4))
    np.testing.assert_array_equal(one, other)


def test_the_weight_of_an_item_among_the_neighbours_of_each() -> None:
    source = SOURCES["item_knn"]
    for place in range(ITEMS):
        np.testing.assert_allclose(source.weights(np.arange(ITEMS), place), _dense()[:, place])
    np.testing.assert_allclose(source.weights(np.array([3, ITEMS, 3, 4]), 5), _dense()[[3, 3, 3, 4], 5] * [1, 0, 1, 1])
    empty = NeighbourSource(_table().slice(0, 0), ITEMS)
    assert empty.weights(np.array([3, 4]), 3).tolist() == [0.0, 0.0]
    assert empty.ask(_user([3])).of(np.arange(ITEMS)).tolist() == [0.0] * ITEMS


def test_user_knn_against_dense_arrays() -> None:
    met, says = np.zeros((2, len(HISTORIES), ITEMS))
    for row, (items, weights) in enumerate(zip(HISTORIES, WEIGHTS, strict=True)):
        met[row, items], says[row, items] = 1, weights
    for items in ([3], [1, 2, 8], [5, 5, 6]):
        own = np.zeros(ITEMS)
        own[items] = 1
        shared = met @ own
        cosine = shared / (np.sqrt(met.sum(1)) * np.sqrt(own.sum()) + SHRINKAGE)
        near = [row for row in np.lexsort((np.arange(len(met)), -cosine)) if shared[row] > 0][:KEEP]
        answer = SOURCES["user_knn"].ask(_user(items))
        np.testing.assert_allclose(answer.of(np.arange(ITEMS)), cosine[near] @ says[near], rtol=1e-5)


def test_user_knn_of_items_that_nobody_met_lists_nothing() -> None:
    source = UserSource([np.array([0, 1])], [np.ones(2)], 5, 3, 10.0)
    answer = source.ask(_user([4]))
    assert answer.best(5, np.ones(5, bool))[0].tolist() == []
    assert answer.of(np.arange(5)).tolist() == [0.0] * 5


def test_vectors_and_profile_each_ask_with_their_own_query() -> None:
    index = VectorIndex.build(VECTORS, IndexSettings(kind="flat"))
    user = _user([3], vector=VECTORS[3], content=VECTORS[9])
    everything = np.ones(ITEMS, bool)
    assert VectorSource(index, VECTORS).ask(user).best(1, everything)[0].tolist() == [3]
    assert VectorSource(index, VECTORS, uses_content=True).ask(user).best(1, everything)[0].tolist() == [9]
    assert VectorSource(index, VECTORS, uses_content=True).ask(_user([3], vector=VECTORS[3])) is None


def test_top_by_hand() -> None:
    places, scores = top(np.array([4, 2, 9]), np.array([1.0, 1.0, 2.0]), 2)
    assert (places.tolist(), scores.tolist()) == ([9, 2], [2.0, 1.0])
