"""The contract of items and users: text, categories of one or several values, numbers."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from motet.data.contracts import check_entities
from motet.data_settings import Clean, Entity, Items, Users

_ITEMS = {"path": "x", "text": ("title",), "categories": ("genre",), "numbers": ("year",)}


def _check(spec: Entity | None = None, clean: Clean | None = None, **columns: Any) -> list[dict[str, Any]]:
    rows = len(next(iter(columns.values())))
    nulls = pa.nulls(rows, pa.string())
    good = {"item_id": [f"i{n}" for n in range(rows)], "title": ["t"] * rows, "genre": nulls, "year": nulls}
    place = {"_file": ["f"] * rows, "_row": pa.array(range(rows), pa.int64()), "_problem": nulls}
    table = pa.table({**good, **columns, **place})
    return check_entities(table, spec or Items(**_ITEMS), clean or Clean(), text_required=True).to_pylist()


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [
        ("drama", None, ["drama"]),
        (" drama ", None, ["drama"]),
        ("a|b", None, ["a|b"]),
        ("a| b ||", "|", ["a", "b"]),
        (["a|b", " ", "c"], "|", ["a", "b", "c"]),
        (["a|b", " c "], None, ["a|b", "c"]),
        ("ﬁ\0lm", None, ["fi lm"]),
        (["ﬁ\0lm"], None, ["fi lm"]),
        ("", None, None),
        (None, "|", None),
        ([], "|", []),
        ("|", "|", []),
        (3, None, ["3"]),
        (2.0, None, ["2"]),
        (True, None, ["true"]),
        (dt.date(2020, 1, 2), None, ["2020-01-02"]),
    ],
)
def test_categories(value: Any, separator: str | None, expected: list[str] | None) -> None:
    kind = pa.string() if value is None else pa.list_(pa.string()) if isinstance(value, list) else None
    spec = Items(**_ITEMS, multi={"genre": separator} if separator else {})
    (row,) = _check(spec, genre=pa.array([value], kind))
    if value == "":
        assert row["genre"] in (None, [])
    else:
        assert row["genre"] == expected
    assert row["_problem"] is None


@pytest.mark.parametrize("value", ["x" * 11, ["x" * 11], ["x" * 6, "y" * 6]])
def test_categories_that_are_too_long(value: Any) -> None:
    (row,) = _check(clean=Clean(max_text_chars=10), genre=pa.array([value]))
    assert row["_problem"] == "genre is longer than 10 characters"


@pytest.mark.parametrize(
    ("value", "text", "problem"),
    [
        ("A title", "A title", None),
        ("two\x00 lines\x1f", "two  lines", None),
        (["a", "b"], "a, b", None),
        (1984, "1984", None),
        ("x" * 10_001, None, "title is longer than 10000 characters"),
        ("", None, "no text"),
        (" \t", None, "no text"),
        (None, None, "no text"),
    ],
)
def test_text(value: Any, text: str | None, problem: str | None) -> None:
    (row,) = _check(title=pa.array([value], pa.string() if value is None else None))
    assert row["_problem"] == problem
    if text is not None:
        assert row["text:title"] == text


def test_one_of_several_texts_is_enough() -> None:
    spec = Items(path="x", text=("title", "about"))
    rows = _check(spec, title=["t", None, None], about=[None, "a", None])
    assert [row["_problem"] for row in rows] == [None, None, "no text"]


def test_users_need_no_text() -> None:
    table = pa.table({"user_id": ["u"], "bio": pa.nulls(1, pa.string()), "_file": ["f"], "_row": [0]})
    table = table.append_column("_problem", pa.nulls(1, pa.string()))
    (row,) = check_entities(table, Users(path="x", text=("bio",)), Clean(), text_required=False).to_pylist()
    assert (row["id"], row["text:bio"], row["_problem"]) == ("u", None, None)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("V", "year is not a number"),
        ("NaN", "year is not finite"),
        ("1e400", "year is not finite"),
        ("1e39", "year is beyond 3.4e+38"),
        ("", "year is not a number"),
    ],
)
def test_numbers_that_cannot_be_read(value: str, problem: str) -> None:
    (refused,) = _check(year=[value])
    assert refused["_problem"] == problem
    (kept,) = _check(clean=Clean(unreadable_numbers="missing"), year=[value])
    assert (kept["_problem"], kept["year"]) == (None, None)


def test_a_number_that_is_missing_hides_no_other_problem() -> None:
    (row,) = _check(clean=Clean(unreadable_numbers="missing"), year=["V"], item_id=[""])
    assert row["_problem"] == "item_id is null"


def test_a_column_may_be_text_and_attribute() -> None:
    spec = Items(
        path="x", text=("title", "year", "genre"), categories=("genre",), numbers=("year",), multi={"genre": " "}
    )
    (row,) = _check(spec, year=["1999"], genre=["a b"])
    assert (row["year"], row["genre"], row["text:year"], row["text:genre"]) == (1999.0, ["a", "b"], "1999", "a b")


@pytest.mark.parametrize(("title", "shown"), [("year", "1999"), ("genre", "a"), ("item_id", "i0")])
def test_a_title_of_any_kind(title: str, shown: str) -> None:
    (row,) = _check(Items(**_ITEMS, title=title), year=["1999"], genre=["a"])
    assert row[f"text:{title}"] == shown


@pytest.mark.parametrize(("way", "title"), [("patterns", "from [email]"), ("none", "from joe@example.com")])
def test_texts_are_scrubbed_as_the_recipe_says(way: str, title: str) -> None:
    (row,) = _check(
        clean=Clean.model_validate({"scrub": way}), title=["from joe@example.com"], genre=["joe@example.com"]
    )
    assert (row["text:title"], row["genre"]) == (title, ["joe@example.com"])
