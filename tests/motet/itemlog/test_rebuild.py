"""A catalogue that followed the log answers as one that was rebuilt with the same items."""

import dataclasses

import numpy as np
import pytest

from motet.recommend import Query, Recommender
from motet.surface_settings import Rule
from tests.builders import Tiny
from tests.drafts import write_draft
from tests.motet.itemlog.makers import added, columns, item_log, many, rebuilt, removed

COUNT = 12
USERS = [f"u{number:02d}" for number in range(12)]
QUERIES = {
    **{f"user {name}": Query(user=name, k=15) for name in USERS},
    "nobody": Query(k=32),
    "text": Query(text="the fast pink boat", k=8),
    "all that are new": Query(user="u03", k=12, allow=tuple(f"new{n:04d}" for n in range(COUNT))),
    "some of both": Query(user="u04", k=4, allow=("i01", "new0003", "i07", "new0011")),
    "history": Query(history=("new0001", "i05", "new0008"), k=15),
    "a category": Query(user="u05", k=20, filters={"colour": ("pink",)}, exclude_seen=False),
    "no category": Query(user="u05", k=20, filters={"colour": Rule(none_of=("red", "pink"))}),
    "a range": Query(user="u06", k=20, filters={"year": Rule(min=1965, max=1975)}),
    "surface": Query(user="u07", surface="reds", k=20),
    "ratings": Query(user="u08", surface="ratings", k=20, deny=("new0002",)),
}
EVERY_SOURCE = (
    "vectors", "item_knn", "user_knn", "transitions", "again", "profile", "popularity", "popularity_all",
)  # fmt: skip


@pytest.fixture(scope="module", params=["trees", "logit"])
def both(request, encoder_folder, tmp_path_factory) -> tuple[Recommender, Recommender]:
    """(one that followed, one that was rebuilt)."""
    retrieval = {"sources": list(EVERY_SOURCE), "fusion": request.param}
    tiny = Tiny.of(encoder_folder, retrieval=retrieval, ranking={"diversity": 0.3})
    folder = tmp_path_factory.mktemp("rebuild")
    draft = write_draft(tiny, folder / "draft")
    log = item_log(folder)
    live = Recommender(draft, threads=1)
    log.append(many(tiny, 5))
    live.follow_items(log)
    log.append(many(tiny, COUNT)[5:])  # one answer later
    other = rebuilt(tiny, draft, folder / "rebuilt", {f"new{n:04d}": columns(n) for n in range(COUNT)})
    return live, Recommender(other, threads=1)


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_every_answer_is_that_of_a_rebuild(both, query: Query) -> None:
    live, other = both
    (user, items), (expected_user, expected) = live.recommend(query), other.recommend(query)
    assert user.vector_D == pytest.approx(expected_user.vector_D, abs=1e-5)
    assert user.items_S.tolist() == expected_user.items_S.tolist()
    _same_items(items, expected)


def _same_items(items: list, expected: list) -> None:
    assert [one.item for one in items] == [one.item for one in expected]
    for one, two in zip(items, expected, strict=True):
        assert (one.title, one.sources, one.reason) == (two.title, two.sources, two.reason)
        assert one.value == pytest.approx(two.value, abs=2e-5)
        assert one.scores == pytest.approx(two.scores, abs=2e-5)


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_every_candidate_has_the_scores_and_stages_of_a_rebuild(both, query: Query) -> None:
    found = [one.retriever.run(one.embedder.run([query])[0], query) for one in both]
    assert found[0].places_C.tolist() == found[1].places_C.tolist()
    assert found[0].scores_CS == pytest.approx(found[1].scores_CS, abs=1e-4, nan_ok=True)
    assert found[0].stages == found[1].stages


def test_an_event_with_a_new_item_is_a_history_as_after_a_rebuild(both) -> None:
    states = [one.embedder.run([Query(history=("new0001", "new0004"))])[0] for one in both]
    for state in states:
        assert state.items_S.tolist() == [21, 24]
    assert states[0].content_W == pytest.approx(states[1].content_W, abs=1e-5)
    assert states[0].raw_D == pytest.approx(states[1].raw_D, abs=1e-4)


@pytest.mark.parametrize("item", ["new0000", "new0011", "i03"])
def test_what_is_near_an_item_is_that_of_a_rebuild(both, item: str) -> None:
    found, expected = (one.retriever.similar(item, 31) for one in both)
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in expected], abs=1e-5)


@pytest.mark.parametrize("item", ["new0000", "new0002", "i03", "nothing"])
def test_why_an_item_is_not_there_is_as_after_a_rebuild(both, item: str) -> None:
    for query in (Query(user="u05", k=3), Query(user="u05", k=3, surface="reds")):
        assert both[0].explain(query, item) == both[1].explain(query, item)


def test_trends_of_an_unmet_item_are_those_of_a_rebuild_at_any_moment(both) -> None:
    live, other = (one.retriever.features.trends for one in both)
    for moment in (0, live.first_ms, (live.first_ms + live.last_ms) // 2, live.last_ms, live.last_ms + 10**9):
        places = np.array([3, 20, 31, 0])
        assert live.of(moment, places) == pytest.approx(other.of(moment, places))


def test_a_changed_and_a_removed_item_are_as_after_a_rebuild(tiny, draft, tmp_path) -> None:
    """Of a release's own item too: its events and id part stay, title, filters and vectors are new."""
    log, live = item_log(tmp_path), Recommender(draft, threads=1)
    log.append([*many(tiny, 4), removed("new0002"), removed("i05")])
    live.follow_items(log)
    changes = {"new0001": columns(7), "i03": {"title": "the slow white plane", "colour": "pink", "year": 1999}}
    log.append([added(tiny, item, values) for item, values in changes.items()])
    clean = tiny.clean_items.to_pylist()
    clean[3] |= {"colour": ["pink"], "year": 1999.0, "text:title": "the slow white plane"}
    other = dataclasses.replace(tiny)
    changed = {"clean_items": tiny.clean_items.from_pylist(clean, schema=tiny.clean_items.schema)}
    for name, value in {**changed, "spec": tiny.spec, "whitening": tiny.whitening}.items():
        object.__setattr__(other, name, value)  # the item is another, all that was fitted is the release's
    new = {f"new{n:04d}": columns(7 if n == 1 else n) for n in range(4)}
    expected = Recommender(rebuilt(other, draft, tmp_path / "rebuilt", new), threads=1)
    for query in (*QUERIES.values(), Query(k=24)):
        deny = tuple({*query.deny, "i05", "new0002"})
        _same_items(live.recommend(query)[1], expected.recommend(dataclasses.replace(query, deny=deny))[1])
