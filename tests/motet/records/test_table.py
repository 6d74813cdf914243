"""Records to a table and back; what is kept of a query."""

import numpy as np
import pyarrow as pa
import pytest

from motet.recommend import Query
from motet.records.record import fallback_arrays, query_from_json, query_to_json
from motet.records.table import SCHEMA, to_query, to_record, to_table
from motet.surface_settings import Rule
from tests.motet.records.makers import ids_of, record

ARRAYS = (
    "places_C",
    "fused_C",
    "sources_CS",
    "raw_CT",
    "scores_CT",
    "values_C",
    "position_C",
    "propensity_C",
    "drawn_C",
)


def test_records_come_back_as_they_were(recommender):
    queries = [
        Query(user="u03", k=4),
        Query(user="u05", surface="reds", filters={"year": Rule(min=1960.0), "colour": ("red", "blue")}, deny=("i00",)),
        Query(history=("i01", "i02"), k=2, weights={"like": 2.0}, exclude_seen=False, allow=("i05", "i06", "i07")),
        Query(text="a red car", k=3),
    ]
    before = [record(recommender, query, f"r{number}") for number, query in enumerate(queries)]
    table = to_table(before, ids_of(recommender))
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    for was, row in zip(before, rows, strict=True):
        now = to_record(row, recommender.reranker.items.places)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(now, name), getattr(was, name).astype(getattr(now, name).dtype))
        for name in ("request_id", "release", "moment_ms", "surface", "level", "recognised", "sources", "names"):
            assert getattr(now, name) == getattr(was, name)
    assert "red car" not in str(rows[3])
    assert [row["has_text"] for row in rows] == [False, False, False, True]
    assert to_query(rows[1]).filters == queries[1].filters
    assert to_query(rows[2]).weights == {"like": 2.0}
    shown = [one for one in rows[0]["candidates"] if one["position"] is not None]
    assert sorted(one["position"] for one in shown) == [1, 2, 3, 4]
    assert [one["propensity"] for one in shown] == [1.0] * 4
    assert {one["propensity"] for one in rows[0]["candidates"] if one["position"] is None} == {None}


def test_a_list_of_a_lower_level_keeps_what_is_known(recommender):
    found = record(recommender, Query(user="u03", k=3), "r")
    arrays = fallback_arrays(None, np.array([7, 2]), [0.5, 0.25])
    assert (arrays["position_C"].tolist(), arrays["values_C"].tolist()) == ([1, 2], [0.5, 0.25])
    assert np.isnan(arrays["propensity_C"]).all()
    low = type(found)(**{**vars(found), **arrays, "level": "popular"})
    row = to_table([found, low], ids_of(recommender)).to_pylist()[1]
    assert [(one["item"], one["position"], one["value"], one["fused"]) for one in row["candidates"]] == [
        ("i07", 1, 0.5, None), ("i02", 2, 0.25, None)
    ]  # fmt: skip
    assert row["scores"] == row["sources"] == []


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(filters={"year": Rule(max=3.0), "colour": Rule(none_of=("red",))}, exclude_seen=True),
        Query(filters={"year": ("1950", "1960")}, allow=("a",), deny=("b", "c"), weights={"like": 0.0}),
    ],
)
def test_a_query_comes_back_from_json(query):
    found = Query(**query_from_json(query_to_json(query)))
    assert found == query


def test_numbers_of_a_record_are_small(recommender):
    """Float32 matrices; the biggest per candidate are its scores."""
    numbers = record(recommender, Query(user="u03"), "r")
    assert numbers.raw_CT.dtype == numbers.scores_CT.dtype == np.float32
    assert pa.types.is_struct(SCHEMA.field("candidates").type.value_type)
