"""Items as the rest of the house sees them: one text, a title, a place."""

from typing import Any

import pyarrow as pa
import pytest

from motet.data.contracts import check_entities
from motet.data.entities import encode_items, join_text, text_columns
from motet.data.features import FeatureSpec, FitState
from motet.data_settings import Clean, Entity, Items, Users


@pytest.mark.parametrize(
    ("title", "about", "text"),
    [
        ("Alien", "space", "title: Alien; about: space"),
        ("Alien", None, "title: Alien"),
        (None, "space", "about: space"),
        (None, None, ""),
        ("a; b", "c: d", "title: a; b; about: c: d"),
        ("wait; ;", "x;", "title: wait; ;; about: x;"),
        (";", None, "title: ;"),
    ],
)
def test_join_text(title: str | None, about: str | None, text: str) -> None:
    table = pa.table({"text:title": pa.array([title], pa.string()), "text:about": pa.array([about], pa.string())})
    assert join_text(table, ["title", "about"]).to_pylist() == [text]


def test_no_columns_make_an_empty_text() -> None:
    assert join_text(pa.table({"id": ["a", "b"]}), []).to_pylist() == ["", ""]


@pytest.mark.parametrize(
    ("entity", "columns"),
    [
        (Users(path="x", text=("bio",), categories=("job",)), ["text:bio"]),
        (Items(path="x", text=("about", "genre"), title="name", categories=("genre",)),
         ["text:about", "text:genre", "text:name"]),
    ],
)  # fmt: skip
def test_text_columns(entity: Entity, columns: list[str]) -> None:
    assert text_columns(entity) == columns


def _encoded(title: str | None) -> list[dict[str, Any]]:
    spec = Items(path="x", text=("about",), title=title, categories=("genre",), numbers=("year",), multi={"genre": "|"})
    raw = pa.table(
        {
            "item_id": ["10", "9"], "about": ["first", "second"], "name": ["A", None], "genre": ["x|y", None],
            "year": ["1999", None], "_file": ["f", "f"], "_row": [0, 1], "_problem": pa.nulls(2, pa.string()),
        }
    )  # fmt: skip
    checked = check_entities(raw, spec, Clean(), text_required=True)
    state = FitState(spec)
    state.add(checked)
    return encode_items(checked, spec, state.fit(Clean()), pa.array(["9", "10"])).to_pylist()


def test_items_stand_in_the_order_of_the_catalogue() -> None:
    second, first = _encoded(None)
    assert (first["item"], first["place"], first["text"], first["title"]) == ("10", 1, "about: first", "first")
    assert (first["attr:genre"], first["num:year"]) == (["x", "y"], 1999.0)
    # 1 unknown, 2 x, 3 y
    assert (first["slots"], second["slots"]) == ([2, 3], [1])
    assert (second["item"], second["place"], second["attr:genre"], second["num:year"]) == ("9", 0, None, None)


@pytest.mark.parametrize(
    ("title", "shown"),
    [("name", ["9", "A"]), ("genre", ["9", "x|y"]), ("year", ["9", "1999"]), ("item_id", ["9", "10"])],
)
def test_a_missing_title_is_the_id(title: str, shown: list[str]) -> None:
    assert [row["title"] for row in _encoded(title)] == shown


def test_a_catalogue_without_attributes() -> None:
    spec = Items(path="x", text=("title",))
    table = pa.table({"id": ["a"], "text:title": ["T"]})
    (row,) = encode_items(table, spec, FeatureSpec(), pa.array(["a"])).to_pylist()
    assert row == {"item": "a", "place": 0, "title": "T", "text": "title: T", "slots": [], "numbers": []}
