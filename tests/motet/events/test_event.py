"""What an event may be, and its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import RequestError
from motet.events.event import Event, frame, unframe
from motet.events.ids import IdSet
from tests.motet.events.makers import event


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": ""}, "user is not a text of 1 to 128"),
        ({"item": "x" * 129}, "item is not a text of 1 to 128"),
        ({"item": 7}, "item is not a text"),
        ({"event_id": "a\x00"}, "event_id is not a text"),
        ({"event_id": "a\x85b"}, "event_id is not a text"),
        ({"event_id": " a"}, "event_id is not a text"),
        ({"event_id": "\ud800"}, "event_id is not a text"),
        ({"event_id": "a\u0301"}, "event_id is not a text"),
        ({"kind": "k" * 65}, "kind is not a text of 1 to 64"),
        ({"request_id": ""}, "request_id is not a text"),
        ({"timestamp_ms": -1}, "timestamp_ms is not a whole number"),
        ({"timestamp_ms": 1.5}, "timestamp_ms is not a whole number"),
        ({"timestamp_ms": True}, "timestamp_ms is not a whole number"),
        ({"timestamp_ms": 10**15}, "timestamp_ms is not a whole number"),
        ({"value": float("nan")}, "value is not a number"),
        ({"value": 1e39}, "value is not a number"),
        ({"value": "4"}, "value is not a number"),
        ({"value": True}, "value is not a number"),
    ],
)
def test_a_wrong_value_is_refused_without_an_echo(changes: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        event(1, **changes)
    assert str(caught.value).isascii()


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128)


@given(_TEXTS, st.floats(-3.4e38, 3.4e38, allow_nan=False), st.integers(0, 10**14))
def test_an_event_survives_its_line(text: str, value: float, moment: int) -> None:
    try:
        one = Event(text, text, text, moment, None, value, text)
    except RequestError:
        return
    line = frame(one)
    assert line.count(b"\n") == 1
    assert unframe(line[:-1]) == one


@pytest.mark.parametrize("line", [b"", b"x", b"00000000 {}", b"\0" * 50, frame(event(1))[:-2], b"a3830348 {}"])
def test_a_damaged_line_is_no_event(line: bytes) -> None:
    assert unframe(line) is None


@pytest.mark.parametrize("text", ["{}", "[]", "7", "nul", "[" * 100_000, '{"event_id": "a", "x": 1}'])
def test_json_that_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="not the JSON object of one with event_id, user"):
        Event.from_json(text)


def test_a_set_of_ids_knows_all_of_many() -> None:
    ids = IdSet()
    for n in range(200_000):
        ids.add(f"id {n}")
    assert len(ids) == 200_000
    assert [len(one) for one in ids._sorted] == [131_072, 65_536]
    assert ids.known([f"id {n}" for n in range(0, 200_000, 7)]) == [True] * len(range(0, 200_000, 7))
    assert not any(ids.known([f"other {n}" for n in range(50_000)]))
    assert ids.known([]) == IdSet().known([]) == []
