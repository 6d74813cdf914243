"""A user's events leave the log; those of others stay where they are, for whoever reads or writes meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from motet.events.erasure import erase
from motet.events.segments import Segments
from motet.events.sieve import Sieve
from motet.privacy.privacy import add_tombstones
from motet.privacy.watch import Watch
from tests.motet.events.makers import HAS_REDIS, MAKERS, event, ids

USER = 'eve "é" 1'


@pytest.fixture(params=["segments", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator:
    if request.param == "redis" and not HAS_REDIS:
        pytest.skip("there is no redis-server; apt-get install redis-server")
    maker = MAKERS[request.param](tmp_path)
    yield maker
    maker.end()


def test_what_was_erased_is_gone_and_nothing_else(make) -> None:
    store, reader = make(), make()
    given = [event(number, user=USER if number % 3 == 0 else "u") for number in range(9)]
    store.append(given)
    places = [position for position, _ in reader.read()]
    assert erase(make(), [USER])[0] == 3
    kept = [one for one in given if one.user != USER]
    assert [one for _, one in reader.read()] == kept
    assert [one for _, one in reader.read(places[4])] == kept[3:]
    assert store.append([event(10, user="u")]) == [True]
    assert [one.event_id for _, one in reader.read(places[8])] == [event(10).event_id]
    assert erase(make(), [USER])[0] == 0
    store.close()
    again = make()
    assert again.append([given[1], event(11)]) == [False, True]
    assert [one for _, one in again.read()][: len(kept)] == kept


def test_a_topic_of_kafka_keeps_them_and_says_so(tmp_path) -> None:
    maker = MAKERS["kafka"](tmp_path)
    try:
        store = maker()
        store.append([event(1, user=USER)])
        removed, note = erase(maker(), [USER])
        assert removed == 0
        assert "cannot be changed" in note
        add_tombstones(tmp_path, USER)
        assert list(Sieve(store, Watch(tmp_path)).read()) == []
    finally:
        maker.end()


def test_no_byte_of_the_user_stays_in_the_files_not_even_on_damaged_lines(tmp_path) -> None:
    store = Segments(tmp_path, 100)
    store.append([event(1, user="eve"), event(2, user="u")])
    store.append([event(3, user="eve"), event(4, user="evelyn")])
    first = store.files()[0]
    first.write_bytes(b"00000000 " + first.read_bytes()[9:])  # the checksum of the first line is wrong
    assert len(store.files()) == 2
    assert erase(Segments(tmp_path), ["eve"])[0] == 2
    assert all(b'"eve"' not in path.read_bytes() for path in store.files())
    assert ids(store) == [event(2).event_id, event(4).event_id]


def test_an_erased_end_is_no_torn_tail(tmp_path, caplog) -> None:
    store = Segments(tmp_path)
    store.append([event(1, user="u"), event(2, user="eve")])
    size = store.files()[0].stat().st_size
    erase(store, ["eve"])
    store.close()
    Segments(tmp_path).open()
    assert store.files()[0].stat().st_size == size
    assert caplog.records == []


def test_a_sieve_takes_and_gives_nothing_of_who_was_forgotten(tmp_path) -> None:
    store = Segments(tmp_path / "events")
    sieve = Sieve(store, Watch(tmp_path))
    assert sieve.append([event(1, user="eve"), event(2, user="u")]) == [True, True]
    add_tombstones(tmp_path, "eve")
    later = Sieve(store, Watch(tmp_path))
    assert later.append([event(3, user="eve"), event(2, user="u"), event(4, user="u")]) == [False, False, True]
    assert later.append([event(5, user="eve")]) == [False]
    assert [one.event_id for _, one in later.read()] == [event(2).event_id, event(4).event_id]
