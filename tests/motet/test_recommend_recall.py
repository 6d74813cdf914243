"""Recall that is watched: what an index misses is counted, and a sample is looked at."""

import time

import numpy as np
import pytest

from motet.recommend import Query, Recommender
from motet.recommend.recall import Recall, RecallWatch, recall_of
from motet.retrieval.index import VectorIndex


@pytest.fixture
def own(draft):
    return Recommender(draft, threads=1)


def test_a_flat_index_finds_all_under_filters_too(own) -> None:
    for query in (Query(user="u03"), Query(user="u03", filters={"colour": ("red",)})):
        user = own.embedder.run([query])[0]
        found = recall_of(own.retriever, user, query)
        assert (found.searches, found.share) == (1, 1.0)
        assert found.wanted == min(200, np.count_nonzero(own.retriever.allowed(user, query)))


def test_what_an_index_misses_is_counted(own, monkeypatch) -> None:
    search = VectorIndex.search

    def blind(self, query_D, k, allowed_I=None):
        places_K, scores_K = search(self, query_D, k, allowed_I)
        return places_K[::2], scores_K[::2]

    monkeypatch.setattr(VectorIndex, "search", blind)
    query = Query(user="u03", exclude_seen=False)
    found = recall_of(own.retriever, own.embedder.run([query])[0], query)
    assert (found.wanted, found.found) == (20, 10)


def test_nobody_and_nothing_allowed_count_not(own) -> None:
    query = Query(user="u03", allow=("no such item",))
    assert recall_of(own.retriever, own.embedder.run([query])[0], query) == Recall()
    assert Recall().share is None
    assert Recall(1, 4, 2) + Recall(1, 4, 4) == Recall(2, 8, 6)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.2, 20, 70), (1.0, 200, 200)])
def test_a_share_of_the_searches_is_looked_at(own, share, low, high) -> None:
    watch, query = RecallWatch(share), Query(user="u03")
    user = own.embedder.run([query])[0]
    for _ in range(200):
        watch.pass_by(own.retriever, user, query)
        while watch._room._value == 0:  # those beyond four that wait are passed over
            time.sleep(0.001)
    watch._worker.shutdown(wait=True)
    assert low <= watch.recall.searches <= high
