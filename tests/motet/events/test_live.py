"""Users with what they did since the release, over the tiny recommender and a real log."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from motet.events.event import Event
from motet.events.live import LiveUsers
from motet.events.redis_streams import RedisStream
from motet.events.segments import Segments
from motet.people import People
from motet.privacy.privacy import add_tombstones
from motet.privacy.watch import Watch
from motet.recommend import Embedder, Query, Recommender
from motet.retrieval.catalogue import ItemTable
from tests.builders import DAY_MS, Tiny
from tests.motet.events.makers import free_port

NOW = 20 * DAY_MS


@pytest.fixture
def store(tmp_path: Path):
    made = Segments(tmp_path / "events")
    yield made
    made.close()


def _live(store, draft: Path, tiny: Tiny, encoder_folder: Path, **changes) -> LiveUsers:
    recipe = Tiny.of(encoder_folder, **changes).recipe if changes else tiny.recipe
    return LiveUsers(store, recipe, ItemTable.load(draft), People.load(draft))


@pytest.fixture
def live(store, draft, tiny, encoder_folder) -> LiveUsers:
    return _live(store, draft, tiny, encoder_folder)


def happened(number: int, user: str, item: str, **changes) -> Event:
    values = {"event_id": f"e{number}", "user": user, "item": item, "timestamp_ms": NOW + number}
    return Event(**{**values, **changes})


def _unmet(live: LiveUsers, user: str) -> list[str]:
    met = set(live.people.find(user).items_S.tolist())
    return [name for place, name in enumerate(live.items.ids) if place not in met]


def test_who_did_nothing_is_who_is_stored(live: LiveUsers) -> None:
    stored = live.people.find("u03")
    found = live.person("u03", stored)
    assert found.known_to == ""
    assert all(getattr(found, name) is getattr(stored, name) for name in vars(stored) if name != "known_to")


def test_events_stand_behind_the_stored_history_with_labels_from_the_recipe(live: LiveUsers, store: Segments) -> None:
    stored, items = live.people.find("u03"), _unmet(live, "u03")[:4]
    store.append(
        [
            happened(1, "u03", items[0], kind="rating", value=5.0),
            happened(2, "u03", items[1], kind="rating", value=2.0),
            happened(3, "u03", items[2], kind="click", value=1.0),  # no label reads clicks
            happened(4, "u03", items[3], kind="rating"),
        ]
    )
    person = live.person("u03", stored)
    assert person.items_S[:-4].tolist() == stored.items_S.tolist()
    assert [live.items.ids[place] for place in person.items_S[-4:]] == items
    assert person.timestamps_S[-4:].tolist() == [NOW + 1, NOW + 2, NOW + 3, NOW + 4]
    assert person.liking_S[-4:].tolist() == [1, 0, 2, 2]
    assert live.people.read == ("label:like", "label:rating")
    np.testing.assert_array_equal(person.labels_ST[-4:], [[1, 5], [0, 2], [np.nan, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(person.labels_ST[:-4], stored.labels_ST)
    assert person.asked_ms == NOW + 4
    assert (person.slots, person.level) == (stored.slots, "known")
    assert person.gaps()[-1] == 0


def test_signals_of_events_stand_behind_their_labels(store, draft, tiny, encoder_folder) -> None:
    signals = {"clicked": "kind == 'click'", "seconds": "value / 10"}
    recipe = Tiny.of(encoder_folder, data={"interactions": {"signals": signals}}).recipe
    people = People.load(draft)
    count = pc.list_value_length(people.table.column("items")).to_pylist()
    for name in signals:
        values = pa.array([[0.5] * length for length in count], pa.list_(pa.float32()))
        people = replace(people, table=people.table.append_column(f"signal:{name}", values))
    live = LiveUsers(store, recipe, ItemTable.load(draft), people)
    stored, items = people.find("u03"), _unmet(live, "u03")[:3]
    store.append(
        [
            happened(1, "u03", items[0], kind="click", value=30.0),
            happened(2, "u03", items[1], kind="rating", value=5.0),
            happened(3, "u03", items[2], kind="click"),
        ]
    )
    person = live.person("u03", stored)
    assert stored.labels_ST[:, 2:].tolist() == [[0.5, 0.5]] * len(stored.items_S)
    nan = np.nan
    np.testing.assert_array_equal(person.labels_ST[-3:], [[nan, nan, 1, 3], [1, 5, 0, 0.5], [nan, nan, 1, nan]])


def test_someone_new_is_a_user_from_the_first_event_on(live: LiveUsers, store: Segments) -> None:
    store.append([happened(1, "new", "i03", kind="rating", value=4.0)])
    person = live.person("new", live.people.find("new"))
    assert ([live.items.ids[place] for place in person.items_S], person.level) == (["i03"], "known")
    np.testing.assert_array_equal(person.labels_ST, [[1, 4]])
    assert live.person("other", live.people.stranger).level == "popular"


def test_late_events_take_their_place_by_time(live: LiveUsers, store: Segments) -> None:
    stored, (first, second) = live.people.find("u03"), _unmet(live, "u03")[:2]
    store.append([happened(1, "u03", first), happened(2, "u03", second, timestamp_ms=3 * DAY_MS + 5)])
    person = live.person("u03", stored)
    assert (np.diff(person.timestamps_S) >= 0).all()
    assert live.items.ids[person.items_S[4]] == second  # one stored event a day, from day 0 on
    assert live.items.ids[person.items_S[-1]] == first


@pytest.mark.parametrize(("repeats", "more"), [("last", 0), ("keep", 2)])
def test_of_several_events_with_an_item_the_recipe_says_which_count(
    store, draft, tiny, encoder_folder, repeats: str, more: int
) -> None:
    changes = {"data": {"interactions": {"repeats": repeats}}}
    live = _live(store, draft, tiny, encoder_folder, **changes)
    stored = live.people.find("u03")
    met = live.items.ids[stored.items_S[0]]
    store.append([happened(n, "u03", met, kind="rating", value=float(n)) for n in (1, 4)])
    person = live.person("u03", stored)
    assert len(person.items_S) == len(stored.items_S) + more
    assert person.items_S[-1] == stored.items_S[0]
    assert person.labels_ST[-1].tolist() == [1, 4]


def test_what_does_not_count_is_left_out(store, draft, tiny, encoder_folder) -> None:
    ranges = {"data": {"interactions": {"ranges": {"rating": {"min": 1, "max": 5}}}}}
    live = _live(store, draft, tiny, encoder_folder, **ranges)
    stored = live.people.find("u03")
    place, moment = stored.items_S[2], int(stored.timestamps_S[2])
    store.append(
        [
            happened(1, "u03", "an item of the next release"),
            happened(2, "u03", "i01", kind="rating", value=9.0),
            happened(3, "u03", "i01", kind="rating", value=0.0),
            happened(4, "u03", live.items.ids[place], timestamp_ms=moment),  # the release was made from it already
        ]
    )
    found = live.person("u03", stored)
    assert found.known_to != ""  # the log was read so far
    assert all(getattr(found, name) is getattr(stored, name) for name in vars(stored) if name != "known_to")
    assert len(list(store.read())) == 4  # all are kept for the next release


def test_of_each_user_twice_the_history_is_held(live: LiveUsers, store: Segments) -> None:
    assert live.recipe.model.history == 6
    store.append([happened(n, user, f"i{n:02d}") for n in range(20) for user in ("a", "b")][::2])
    store.append([happened(100 + n, "b", f"i{n:02d}") for n in range(3)])
    assert [event.item for event in live.events("a")] == [f"i{n:02d}" for n in range(8, 20)]
    assert [event.item for event in live.events("b")] == ["i00", "i01", "i02"]


def test_what_a_user_met_longer_ago_than_that_is_not_shown_again(store: Segments, draft: Path, tmp_path: Path) -> None:
    recommender = Recommender(draft, threads=1)
    recommender.embedder.follow(store)
    order = [*range(13), *range(12)]  # the 13th item comes once, and twelve events after it
    store.append([happened(n, "new", f"i{place:02d}", kind="rating", value=3.0) for n, place in enumerate(order)])
    state, shown = recommender.recommend(Query(user="new", k=20))
    assert sorted(state.items_S.tolist()) == list(range(12))
    assert state.older_S.tolist() == list(range(13))
    assert {item.item for item in shown} == {f"i{n}" for n in range(13, 20)}
    assert state.within(5).older_S.tolist() == list(range(5))
    add_tombstones(tmp_path, "new")
    recommender.embedder.watch(Watch(tmp_path))
    assert not len(recommender.embedder.run([Query(user="new")])[0].seen_S)


def test_the_log_is_looked_at_once_for_all_who_ask_together(
    store: Segments, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder, looks = Embedder(draft, threads=1), []
    embedder.follow(store)
    monkeypatch.setattr(store, "read", lambda position: looks.append(position) or iter(()))
    embedder.run([Query(user="u03"), Query(user="u06"), Query(user="new")])
    assert len(looks) == 1


def test_the_state_is_the_same_after_a_restart_and_in_every_process(live, store, draft, tiny, encoder_folder) -> None:
    for n in range(8):
        store.append([happened(n, "u03", f"i{n:02d}", kind="rating", value=1.0 + n % 5)])
        live.events("u03")  # one that follows
    other = _live(Segments(store.folder), draft, tiny, encoder_folder)  # one that starts late
    stored = live.people.find("u03")
    one, two = live.person("u03", stored), other.person("u03", stored)
    for name in ("items_S", "timestamps_S", "liking_S", "labels_ST"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_the_next_answer_knows_the_event(store: Segments, draft: Path) -> None:
    recommender = Recommender(draft, threads=1)
    recommender.embedder.follow(store)
    query = Query(user="u03", k=20)
    before, items = recommender.recommend(query)
    store.append([happened(1, "u03", items[0].item, kind="rating", value=5.0)])
    after, now = recommender.recommend(query)
    assert items[0].item not in [item.item for item in now]
    assert not np.allclose(before.raw_D, after.raw_D)
    assert not np.allclose(before.content_W, after.content_W)
    given, _ = recommender.recommend(Query(user="u03", history=("i01",)))
    assert [recommender.embedder.items.ids[place] for place in given.items_S] == ["i01"]  # a given history is all


def test_a_release_that_knows_the_events_gives_the_same_state(live: LiveUsers, store: Segments, draft: Path) -> None:
    """Someone whose whole history is live is as someone with that history stored."""
    stored = live.people.find("u03")
    ratings = [None if np.isnan(label) else float(label) for label in stored.labels_ST[:, 1]]
    rows = zip(stored.items_S, stored.timestamps_S, ratings, strict=True)
    store.append(
        [
            happened(n, "twin", live.items.ids[place], timestamp_ms=int(moment), kind="rating", value=rating)
            for n, (place, moment, rating) in enumerate(rows)
        ]
    )
    embedder = Embedder(draft, threads=1)
    embedder.follow(store)
    twin = embedder.person(Query(user="twin"))
    for name in ("items_S", "timestamps_S", "liking_S", "labels_ST", "asked_ms"):
        np.testing.assert_array_equal(getattr(twin, name), getattr(stored, name))
    content_W = embedder.content(twin)
    np.testing.assert_allclose(content_W, embedder.content(stored), atol=1e-5)


def test_a_log_that_cannot_be_read_stops_no_answer(draft: Path, caplog: pytest.LogCaptureFixture) -> None:
    embedder = Embedder(draft, threads=1)
    embedder.follow(RedisStream(f"redis://127.0.0.1:{free_port()}/0", "gone"))
    for _ in range(30):
        assert embedder.run([Query(user="u03")])[0].level == "known"
    assert caplog.text.count("the event log cannot be read") == 1


def test_a_log_that_can_be_read_again_is_read_within_a_second(
    live: LiveUsers, store: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(after: str) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(store, "read", fail)
        assert live.events("u03") == []
    store.append([happened(1, "u03", "i01")])
    assert live.events("u03") == []  # not tried yet
    time.sleep(1.01)
    assert [event.item for event in live.events("u03")] == ["i01"]
