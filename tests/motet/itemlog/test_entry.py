"""Entries on a line, and what is none; what is said of a new item as columns."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import RequestError
from motet.event_settings import EventSettings
from motet.events.redis_streams import RedisStream
from motet.itemlog.columns import to_columns
from motet.itemlog.entry import ITEMS, ItemEntry, TextVector
from motet.itemlog.place import item_folder, open_items
from tests.motet.itemlog.makers import item_log, removed

VECTOR = TextVector.of("key", "0f", np.array([1.5, -2.0], np.float32))
ONE = ItemEntry(
    "e1", "i1", 1_700_000_000_000, {"title": "é ß 用户", "genres": ["a", "b"], "year": 1999, "x": 0.5}, VECTOR
)
_NAMES = st.text('abé用"\\ ', min_size=1, max_size=8)
_VALUES = st.one_of(
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "ignore").decode()),
    st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.lists(_NAMES, max_size=3),
)  # fmt: skip


@pytest.mark.parametrize("entry", [ONE, removed("i1"), dataclasses.replace(ONE, text=None)])
def test_an_entry_is_read_as_it_was_written(entry: ItemEntry) -> None:
    line = ITEMS.frame(entry)
    assert line.endswith(b"\n")
    assert line.isascii()
    assert ITEMS.unframe(line[:-1]) == entry


@given(st.dictionaries(_NAMES, _VALUES, max_size=4))
def test_any_columns_are_read_as_they_were_written(columns) -> None:
    entry = ItemEntry("e", "i", 0, columns)
    assert ItemEntry.from_json(entry.to_json()) == entry


def test_a_vector_is_packed_without_loss() -> None:
    vector = np.random.default_rng(0).normal(size=384).astype(np.float32)
    assert np.array_equal(TextVector.of("k", "t", vector).unpacked(), vector)


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"7", b"[]", b"null", b"x", b'{"entry_id":"e","item":"i"}',
        b'{"entry_id":"e","item":"","timestamp_ms":1}', b'{"entry_id":"e","item":"i","timestamp_ms":1.5}',
        b'{"entry_id":"e","item":"i","timestamp_ms":1,"more":2}',
        b'{"entry_id":"e","item":"i","timestamp_ms":1,"columns":{"a":true}}',
        b'{"entry_id":"e","item":"i","timestamp_ms":1,"columns":{"a":[1]}}',
        b'{"entry_id":"e","item":"i","timestamp_ms":1,"columns":7}',
        b'{"entry_id":"e","item":"i","timestamp_ms":1,"text":{"encoder":"k"}}',
        b'{"entry_id":"e","item":"i","timestamp_ms":1,"text":{"encoder":"k","text_key":"t","vector":"AA"}}',
        b'{"entry_id":"e","item":"i","timestamp_ms":1,"text":{"encoder":"k","text_key":"t","vector":"AADAfw=="}}',
    ],
)  # fmt: skip
def test_what_is_no_entry_is_refused(line: bytes) -> None:
    with pytest.raises(RequestError, match="item entry: "):
        ItemEntry.from_json(line)


def test_the_log_keeps_each_entry_once(tmp_path) -> None:
    log = item_log(tmp_path)
    assert log.append([ONE, removed("i1"), ONE]) == [True, True, False]
    log.close()
    assert item_log(tmp_path).append([ONE]) == [False]
    assert [one for _, one in item_log(tmp_path).read()] == [ONE, removed("i1")]
    assert [path.name for path in (tmp_path / "items").glob("*.log")] == ["items-00000001.log"]


def test_where_the_log_lies(tmp_path) -> None:
    assert item_folder(tmp_path / "events", tmp_path) == tmp_path / "items"
    assert item_folder("/data/log", tmp_path) == item_folder("/data/log", None).parent / "items"
    assert open_items(EventSettings(), tmp_path, "shop").folder == tmp_path / "items"
    assert str(open_items(EventSettings(path="/data/log"), tmp_path, "shop").folder) == "/data/log/items"
    stream = open_items(EventSettings(store="redis", url="redis://h:1/0"), None, "shop")
    assert isinstance(stream, RedisStream)
    assert stream.key == "motet:{shop}:items"
    assert open_items(EventSettings(store="none"), tmp_path, "shop") is None


def test_text_is_the_first_text_column_and_whole_numbers_are_whole(tiny) -> None:
    items = tiny.recipe.data.items
    given_ = to_columns("a car", {"year": 1999.0, "colour": ["red", "blue"]}, items)
    assert given_ == {"title": "a car", "year": 1999, "colour": ["red", "blue"]}
    assert isinstance(given_["year"], int)
    assert to_columns(None, {"title": "a car", "year": 1999.5}, items) == {"title": "a car", "year": 1999.5}


@pytest.mark.parametrize(
    ("text", "attributes", "said"),
    [
        ("a", {"hue": "red"}, r"no column of that name; this recipe's items have \['title', 'colour', 'year'\]"),
        ("a", {"item_id": "x"}, "no column of that name"),
        ("a", {"title": "b"}, "text: is the column title, which attributes names too; give it once"),
        ("a", {"year": "1999"}, "attributes: year is a number"),
        ("a", {"year": ["1999"]}, "attributes: year is a number"),
        ("a", {"colour": 7}, "attributes: colour is a category; give a text, or a list of texts"),
        (None, {"title": 7}, "attributes: title is a text"),
        (None, {"title": ["a"]}, "attributes: title is a text"),
    ],
)
def test_columns_of_the_wrong_kind_are_refused(tiny, text, attributes, said) -> None:
    with pytest.raises(RequestError, match=said):
        to_columns(text, attributes, tiny.recipe.data.items)
