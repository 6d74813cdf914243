"""The slice of cold items: who is asked, what is ranked, and what stands in the report."""

import numpy as np
import pytest

from motet.evaluation.cold_items import ColdItems, cold_places
from motet.evaluation.page import render
from motet.evaluation.ranking_metrics import METRICS
from motet.evaluation.sections import sections
from motet.recommend import Query
from tests.motet.evaluation.test_sections import _ITEMS, _row


def test_cold_items_are_those_with_few_events(recommender) -> None:
    counts = recommender.retriever.items.table.column("count").to_numpy()
    for most in (0, 5, 1000):
        found = cold_places(recommender.retriever.items, most)
        assert found.tolist() == [n for n in range(20) if counts[n] <= most]
    assert len(ColdItems(recommender, Query()).places) == sum(counts <= 5)


@pytest.fixture
def cold(recommender, monkeypatch) -> ColdItems:
    """Ten of the tiny catalogue's items count as cold."""
    monkeypatch.setattr("motet.evaluation.cold_items.cold_places", lambda items, most: np.arange(0, 20, 2))
    return ColdItems(recommender, Query(k=4))


def test_all_systems_rank_cold_items_alone_and_the_same(recommender, cold) -> None:
    state = recommender.embedder.run([Query(user="u03")])[0]
    met = set(state.items_S.tolist())
    target = next(place for place in range(0, 20, 2) if place not in met)
    row = cold.row(state, {target, 1}, 7)
    for name in ("motet", "popularity", "random"):
        assert len(set(row["lists"][name])) == 4
        assert set(row["lists"][name]) <= set(range(0, 20, 2)) - met
        assert row["metrics"][name]["hit"] == float(target in row["lists"][name])
    ids = recommender.retriever.items.ids
    allow = tuple(ids[place] for place in range(0, 20, 2))
    shown = recommender.recommend(Query(user="u03", k=4, allow=allow))[1]
    assert [ids[place] for place in row["lists"]["motet"]] == [one.item for one in shown]
    assert row == cold.row(state, {target, 1}, 7)
    assert row["lists"]["random"] != cold.row(state, {target, 1}, 8)["lists"]["random"]


def test_who_took_no_cold_item_or_one_that_is_not_shown_is_not_asked(recommender, cold) -> None:
    state = recommender.embedder.run([Query(user="u03")])[0]
    met = next(place for place in state.items_S.tolist() if place % 2 == 0)
    assert cold.row(state, {1, 3}, 0) is None
    assert cold.row(state, {met}, 0) is None


def test_the_report_has_the_share_and_the_figures_of_cold_items(tiny) -> None:
    """One of three items has more than five events; one of two users took a cold one."""
    items = _ITEMS.set_column(1, "count", [[9, 2, 0]])
    value = {"motet": 1.0, "popularity": 0.5, "random": 0.0}
    metrics = {name: dict.fromkeys(METRICS, one) for name, one in value.items()}
    cold = {"lists": {name: [1, 2] for name in value}, "metrics": metrics}
    rows = [_row("a", [[0.9, 1, -1]], cold=cold), _row("b", [[0.2, 0, -1]], cold=None)]
    found = sections(rows, items, tiny.recipe)["ranking_cold_items"]
    assert (found["items"], found["share"], found["users"]) == (2, pytest.approx(2 / 3), 1)
    assert {name: one["ndcg"]["mean"] for name, one in found["systems"].items()} == value
    assert {name: one["mean"] for name, one in found["differences"].items()} == {"popularity": 0.5, "random": 1.0}
    page = render({"ranking_cold_items": found})
    assert "Ranking of cold items" in page
    assert "2 of the items (66.7%) have at most 5 events" in page
    assert "ranking_cold_items" not in sections(rows[1:], items, tiny.recipe)
