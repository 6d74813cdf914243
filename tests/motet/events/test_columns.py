"""Events as the columns that labels read."""

from motet.events.columns import own_columns, read_columns
from tests.motet.events.makers import event


def test_a_column_is_the_events_own_or_that_of_its_kind() -> None:
    events = [event(1, kind="rating", value=4.0), event(2, kind="click", request_id="r"), event(3, value=2.0)]
    wanted = {"rating": "number", "value": "number", "kind": "category", "request_id": "category", "price": "number"}
    found = {name: column.to_pylist() for name, column in read_columns(events, wanted).items()}
    assert found == {
        "rating": [4.0, None, None],
        "value": [4.0, None, 2.0],
        "kind": ["rating", "click", None],
        "request_id": [None, "r", None],
        "price": [None, None, None],
    }


def test_a_column_has_the_type_that_labels_take_it_for() -> None:
    events = [event(1, kind="rating", value=4.0)]
    assert read_columns(events, {"rating": "category"})["rating"].to_pylist() == ["4"]
    assert read_columns(events, {"kind": "number"})["kind"].to_pylist() == [None]
    assert read_columns(events, {"timestamp": "number"})["timestamp"].to_pylist() == [1_700_000_000_001.0]


def test_no_event_has_the_same_columns() -> None:
    none, one = own_columns([]), own_columns([event(1)])
    assert {name: column.type for name, column in none.items()} == {name: column.type for name, column in one.items()}
