"""The item table: places, filters by category and number range, what was seen."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import RequestError
from motet.retrieval.catalogue import ItemTable
from motet.surface_settings import Rule


@pytest.fixture
def items() -> ItemTable:
    table = pa.table(
        {
            "item": ["a", "b", "c", "d", "e"],
            "title": ["A", "B", "C", "D", "E"],
            "attr:genre": pa.array([["comedy", "drama"], ["drama"], [], None, ["crime"]], pa.list_(pa.string())),
            "num:year": pa.array([1990.0, 2000.0, None, 2010.0, 1995.5]),
        }
    )
    vectors = np.array([[3, 4], [0, 2], [0, 0], [-1, 0], [1, 1]], np.float32)
    return ItemTable(table, vectors, np.zeros((5, 2), np.float32), np.zeros(5, np.float32))


@pytest.mark.parametrize(
    ("filters", "allowed"),
    [
        ({}, "abcde"),
        ({"genre": ("drama",)}, "ab"),
        ({"genre": ("comedy", "crime")}, "ae"),
        ({"genre": ()}, ""),
        ({"genre": ("none",)}, ""),
        ({"year": ("1990", "2000")}, "abe"),
        ({"year": ("-inf", "1995.5")}, "ae"),
        ({"year": ("2000", "1990")}, ""),
        ({"year": ("nan", "2000")}, ""),
        ({"genre": ("drama",), "year": ("1995", "2005")}, "b"),
    ],
)
def test_filters_by_hand(items: ItemTable, filters: dict[str, tuple[str, ...]], allowed: str) -> None:
    mask = items.allowed(filters, np.zeros(0, np.int64))
    assert "".join(items.ids[place] for place in np.flatnonzero(mask)) == allowed


@pytest.mark.parametrize(
    ("name", "rule", "allowed"),
    [
        ("genre", {"none_of": ("drama",)}, "cde"),
        ("genre", {"any_of": ("drama", "crime"), "none_of": ("comedy",)}, "be"),
        ("genre", {"none_of": ("x",)}, "abcde"),
        ("year", {"min": 1995.5}, "bde"),
        ("year", {"max": 2000}, "abe"),
        ("year", {"min": 1995, "max": 2005}, "be"),
    ],
)
def test_rules_by_hand(items: ItemTable, name: str, rule: dict[str, Any], allowed: str) -> None:
    mask = items.allowed({name: Rule(**rule)}, np.zeros(0, np.int64))
    assert "".join(items.ids[place] for place in np.flatnonzero(mask)) == allowed


@pytest.mark.parametrize(
    ("name", "rule", "said"),
    [
        ("genre", {"min": 1}, "filters: genre is a category; give any_of or none_of"),
        ("year", {"none_of": ("x",)}, "filters: year is a number; give min or max"),
    ],
)
def test_a_rule_of_the_other_kind_is_refused(items: ItemTable, name: str, rule: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        items.allowed({name: Rule(**rule)}, np.zeros(0, np.int64))
    with pytest.raises(RequestError, match=said):
        items.check(name, Rule(**rule))


def test_a_condition_may_be_checked_while_items_come(items: ItemTable) -> None:
    failed: list[Exception] = []
    stop = threading.Event()

    def check() -> None:
        while not stop.is_set():
            try:
                items.check("genre", ("drama",))
                items.check("year", ("1990", "2000"))
            except Exception as error:  # any of them is what the test looks for
                failed.append(error)
                return

    threads = [threading.Thread(target=check) for _ in range(2)]
    for thread in threads:
        thread.start()
    schema = items.table.schema
    for number in range(300):
        row = {"item": [f"new {number}"], "title": ["N"], "attr:genre": [["drama"]], "num:year": [1999.0]}
        items.add(pa.table(row, schema=schema), np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32))
    stop.set()
    for thread in threads:
        thread.join(10)
    assert failed == []
    assert items.allowed({"genre": ("drama",)}, np.zeros(0, np.int64)).sum() == 302


def test_the_values_of_items_are_in_the_order_asked(items: ItemTable) -> None:
    assert items.values_of("genre", np.array([4, 0, 3])) == [["crime"], ["comedy", "drama"], []]


def test_what_is_excluded_is_not_allowed(items: ItemTable) -> None:
    assert items.allowed({}, np.array([0, 4, 4])).tolist() == [False, True, True, True, False]
    assert items.allowed({"genre": ("drama",)}, np.array([0])).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("values", [("1990",), ("a", "b"), (), ("1", "2", "3"), ("", "")])
def test_a_range_that_is_not_two_numbers_is_refused(items: ItemTable, values: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match="filters: year is a number; give its range as two numbers"):
        items.allowed({"year": values}, np.zeros(0, np.int64))


@pytest.mark.parametrize("name", ["colour", "attr:genre", "item", ""])
def test_an_attribute_that_is_none_is_refused_with_those_that_are(items: ItemTable, name: str) -> None:
    with pytest.raises(RequestError, match=r"this release has \['genre', 'year'\]"):
        items.allowed({name: ("x",)}, np.zeros(0, np.int64))


def test_places_are_in_the_order_asked_and_unknown_ids_are_left_out(items: ItemTable) -> None:
    assert items.places(["e", "x", "a", "e"]).tolist() == [4, 0, 4]
    assert items.places([]).dtype == np.int64
    assert len(items) == 5
    assert items.titles[2] == "C"


def test_unit_vectors_and_a_zero_vector_that_stays_zero(items: ItemTable) -> None:
    np.testing.assert_allclose(items.unit_ID[:3], [[0.6, 0.8], [0, 1], [0, 0]])


def test_the_items_of_a_bundle_are_read_by_place(draft: Path, tiny) -> None:
    items = ItemTable.load(draft)
    assert items.ids == [f"i{place:02d}" for place in range(20)]
    assert items.filterable == ["colour", "year"]
    assert items.allowed({"colour": ("red", "blue")}, np.zeros(0, np.int64)).sum() == 8
    np.testing.assert_allclose(np.linalg.norm(items.content_IW, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(items.log_count_I, tiny.inputs.log_count_I)


COLOURS = ("red", "blue", "green", "")
ROW = st.tuples(st.lists(st.sampled_from(COLOURS), max_size=3) | st.none(), st.floats(-5, 5) | st.none())
ROWS = st.lists(ROW, min_size=1, max_size=8)
WISHES = st.builds(
    dict, any_of=st.lists(st.sampled_from(COLOURS), min_size=1, max_size=2).map(tuple) | st.none(),
    none_of=st.lists(st.sampled_from(COLOURS), max_size=2).map(tuple),
)  # fmt: skip
ENDS = st.tuples(st.floats(-6, 6) | st.none(), st.floats(-6, 6) | st.none())


@given(ROWS, st.integers(0, 8), WISHES, ENDS)
def test_filters_are_those_of_plain_loops(rows, cut: int, wish: dict[str, Any], ends: tuple[float | None, ...]) -> None:
    """Whatever stands in the release and whatever came since."""

    def table(some) -> pa.Table:
        columns = {
            "item": pa.array([f"i{number}" for number, _ in some], pa.string()),
            "title": pa.array(["t"] * len(some), pa.string()),
            "attr:colour": pa.array([colours for _, (colours, _) in some], pa.list_(pa.string())),
            "num:size": pa.array([size for _, (_, size) in some], pa.float64()),
        }
        return pa.table(columns)

    numbered = list(enumerate(rows))
    release, late = numbered[: max(1, cut)], numbered[max(1, cut) :]
    zeros = [np.zeros((len(some), 1), np.float32) for some in (release, late)]
    items = ItemTable(table(release), zeros[0], zeros[0], np.zeros(len(release), np.float32))
    if late:
        items.add(table(late), zeros[1], zeros[1])
    known = [set(colours or ()) for colours, _ in rows]
    any_of, none_of = wish["any_of"], set(wish["none_of"])
    rule = Rule(**{name: value for name, value in wish.items() if value}) if any_of or none_of else None
    if rule is not None:
        expected = [(any_of is None or bool(one & set(any_of))) and not one & none_of for one in known]
        assert items.matches("colour", rule).tolist() == expected
    low, high = ends
    if (low is not None or high is not None) and (low is None or high is None or low <= high):
        asked = Rule(**{name: end for name, end in (("min", low), ("max", high)) if end is not None})
        within = [s is not None and (low is None or s >= low) and (high is None or s <= high) for _, s in rows]
        assert items.matches("size", asked).tolist() == within
