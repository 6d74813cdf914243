import numpy as np
import pyarrow as pa
import pytest

from motet.retrieval.catalogue import ItemTable
from motet.retrieval.titles import attributes, attributes_of, search_titles

TITLES = ["The Star", "Star Wars", "STARDUST (2007)", "Ordinary", "Große Sterne", None]


@pytest.fixture
def items():
    columns = {
        "item": [f"i{place}" for place in range(6)],
        "title": TITLES,
        "count": [9, 1, 5, 7, 3, 2],
        "attr:genre": [["a"], ["a", "b"], None, [], ["b"], ["a"]],
        "num:year": [1990.0, None, 2007.0, 1950.0, None, None],
        "num:weight": pa.nulls(6, pa.float64()),
    }
    none = np.zeros((6, 0), np.float32)
    return ItemTable(pa.table(columns), none, none, np.zeros(6, np.float32))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("star", [2, 1, 0]),  # those that begin with it by count, then the rest
        ("STAR WARS", [1]),
        ("große", [4]),
        ("GROẞE"[:3], [4]),
        ("(2007)", [2]),
        (".", []),  # a text, no pattern
        ("%", []),
        ("", [0, 3, 2, 4, 1]),  # all that have a title, by count
    ],
)
def test_titles_are_found_by_a_part_in_any_case(items, text, found):
    assert search_titles(items, text, 10).tolist() == found


def test_no_more_are_found_than_asked(items):
    assert search_titles(items, "star", 2).tolist() == [2, 1]


def test_attributes_have_their_values_and_ends(items):
    known = attributes(items, 10)
    assert list(known.categories["genre"].items()) == [("a", 3), ("b", 2)]
    assert known.numbers == {"year": (1950.0, 2007.0)}
    assert attributes(items, 1).categories == {"genre": {"a": 3}}


def test_what_is_unknown_of_an_item_is_left_out(items):
    assert attributes_of(items, 0) == {"genre": ["a"], "year": 1990.0}
    assert attributes_of(items, 1) == {"genre": ["a", "b"]}
    assert attributes_of(items, 2) == {"year": 2007.0}
    assert attributes_of(items, 5) == {"genre": ["a"]}
