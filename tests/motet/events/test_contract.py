"""What every event log must do, asked of each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from motet.events.store import START
from tests.motet.events.makers import HAS_REDIS, MAKERS, event, ids


@pytest.fixture(params=["segments", "redis", "kafka"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator:
    if request.param == "redis" and not HAS_REDIS:
        pytest.skip("there is no redis-server; apt-get install redis-server")
    maker = MAKERS[request.param](tmp_path)
    yield maker
    maker.end()


def test_an_empty_log_has_nothing_to_read(make) -> None:
    assert list(make().read()) == []
    store = make()
    store.open()
    store.open()
    assert list(store.read()) == []


def test_what_was_appended_is_read_in_order_and_whole_by_any_process(make) -> None:
    store, reader = make(), make()
    given = [
        event(1, user="u é ß 用户", kind="rating", value=4.5, request_id="r1"),
        event(2, item='a"b\\c', value=0.0),
        event(3, timestamp_ms=0, value=-3.4e38, kind="k" * 64),
    ]
    assert store.append(given[:2]) == [True, True]
    assert store.append(given[2:]) == [True]
    assert [one for _, one in reader.read()] == given
    assert store.append([]) == []


def test_reading_goes_on_after_a_position(make) -> None:
    store = make()
    store.append([event(n) for n in range(5)])
    places = [place for place, _ in store.read()]
    assert len(set(places)) == 5
    for count, place in enumerate(places, 1):
        assert ids(store, place) == [f"e{n}" for n in range(count, 5)]
    store.append([event(5)])
    assert ids(make(), places[-1]) == ["e5"]


def test_an_id_counts_once_within_a_call_between_calls_and_after_a_restart(make) -> None:
    store = make()
    assert store.append([event(1, value=1.0), event(2), event(1, value=2.0)]) == [True, True, False]
    assert store.append([event(2), event(3)]) == [False, True]
    store.close()
    again = make()
    assert again.append([event(3), event(4), event(1), event(4)]) == [False, True, False, False]
    assert ids(again) == ["e1", "e2", "e3", "e4"]
    assert next(again.read())[1].value == 1.0  # the first of an id is the one that counts


def test_ids_that_differ_in_little_are_different(make) -> None:
    events = [event(n, event_id=name) for n, name in enumerate(["a", "A", "á", "a-", "0", "00", "a" * 127, "a" * 128])]
    store = make()
    assert all(store.append(events))
    store.close()
    assert not any(make().append(events))


def test_all_that_was_acknowledged_survives_a_crash(make) -> None:
    store, reader = make(), make()
    store.append([event(n) for n in range(100)])
    position = list(reader.read())[-1][0]
    make.crash()
    after = make()
    assert after.append([event(99), event(100)]) == [False, True]
    assert ids(after) == [f"e{n}" for n in range(101)]
    assert ids(make(), position) == ["e100"]


def test_many_events_are_read_over_pages_and_files(make) -> None:
    store = make()
    for start in range(0, 12_000, 500):
        store.append([event(n, request_id="r" * 60) for n in range(start, start + 500)])
    assert ids(make(), START) == [f"e{n}" for n in range(12_000)]
