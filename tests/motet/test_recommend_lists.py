"""Lists of k items: filters, lists, caps, weights of a request, and what is said of how they came about."""

import shutil
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from motet.errors import RequestError
from motet.events.event import Event
from motet.events.segments import Segments
from motet.people import People
from motet.privacy.privacy import add_tombstones
from motet.privacy.watch import Watch
from motet.recommend import Query, Recommender
from motet.recommend.met import Met
from motet.recommend.popular import Popular
from motet.recommend.shortfall import shortfall
from motet.retrieval.catalogue import ItemTable
from motet.storage import read_json, write_json
from motet.surface_settings import Rule
from tests.builders import COLOURS, ITEMS

REDS = {"i00", "i05", "i10", "i15"}  # every fifth item is red


def _changed(draft: Path, folder: Path, **sections) -> Recommender:
    copied = Path(shutil.copytree(draft, folder / "changed"))
    recipe = read_json(copied / "recipe.json")
    for section, values in sections.items():
        recipe[section] = {**recipe[section], **values}
    write_json(copied / "recipe.json", recipe)
    return Recommender(copied, threads=1)


@pytest.fixture
def capped(draft: Path, tmp_path: Path) -> Recommender:
    """One item of each colour in a list, and three candidates of each source."""
    surface = {"weights": {"watch": 1.0}, "caps": {"colour": 1}}
    return _changed(draft, tmp_path, retrieval={"candidates": 3}, surfaces={"capped": surface})


def _shown(recommender: Recommender, query: Query) -> list[str]:
    return [item.item for item in recommender.recommend(query)[1]]


def _colour(recommender: Recommender, item: str) -> str:
    items = recommender.embedder.items
    return items.values_of("colour", items.places([item]))[0][0]


def test_only_what_is_allowed_and_not_denied_is_shown(recommender: Recommender) -> None:
    allow = ("i03", "i04", "i07", "nothing")
    assert sorted(_shown(recommender, Query(allow=allow))) == ["i03", "i04", "i07"]
    assert sorted(_shown(recommender, Query(allow=allow, deny=("i04", "i19")))) == ["i03", "i07"]
    assert set(_shown(recommender, Query(k=20, deny=("i04", "i19")))) == {f"i{n:02d}" for n in range(20)} - {
        "i04",
        "i19",
    }


def test_rules_of_the_request_act_beside_those_of_the_surface(recommender: Recommender) -> None:
    without = {"colour": Rule(none_of=("red", "green"))}
    shown = _shown(recommender, Query(k=20, filters=without))
    assert {_colour(recommender, item) for item in shown} == set(COLOURS) - {"red", "green"}
    assert set(_shown(recommender, Query(k=20, surface="reds", filters={"year": Rule(max=1960)}))) < REDS
    assert _shown(recommender, Query(surface="reds", filters=without)) == []


@pytest.mark.parametrize("query", [Query(history=("i01",), k=15), Query(text="red car", k=15), Query(user="u03", k=15)])
def test_popular_items_fill_a_list_that_the_sources_do_not_hold(draft: Path, tmp_path: Path, query: Query) -> None:
    # Only what came after the user's items is listed, which is less than k; for a text nothing but the contents are.
    sources = ["transitions", "profile"] if query.text else ["transitions"]
    changed = {"sources": sources, "candidates": 1, "transition_window": 1, "fusion": "logit"}
    recommender = _changed(draft, tmp_path, retrieval=changed)
    count = len(sources)
    weights = {"sources": sources, "center": [0.0] * count, "scale": [1.0] * count, "weights": [1.0] * 3 * count}
    write_json(tmp_path / "changed" / "fusion.json", weights)
    (tmp_path / "changed" / "trees.json").unlink()
    recommender = Recommender(tmp_path / "changed", threads=1)
    state, items = recommender.recommend(query)
    allowed = int(recommender.retriever.allowed(state, query).sum())
    assert len({item.item for item in items}) == min(15, allowed)
    candidates = recommender.retriever.run(state, query)
    filled = [item for item in items if item.sources == ["fill"]]
    assert candidates.stages is not None
    assert candidates.stages.filled == len(filled) == min(15, allowed) - max(candidates.stages.listed.values())
    assert query.text or filled


def test_a_cap_lets_so_many_of_a_value_in_and_candidates_are_found_for_it(capped: Recommender) -> None:
    state, items = capped.recommend(Query(k=5, surface="capped"))
    assert {_colour(capped, item.item) for item in items} == set(COLOURS)
    query = Query(k=6, surface="capped")
    ranked = capped.reranker.rank(state, capped.retriever.run(state, query), query)
    assert len(ranked.items) == 5
    assert set(ranked.capped) == {"colour"}
    short = shortfall(query, 5, ITEMS, {}, ["colour"])
    assert short is not None
    assert short.because == "20 items pass the filters, and the caps of colour let no more in"


def test_a_short_list_says_what_was_removed() -> None:
    assert shortfall(Query(k=3), 3, 3, {"filter a": 9}, []) is None
    short = shortfall(Query(k=5), 3, 3, {"filter a": 9, "already seen": 2}, ["colour"])
    assert asdict(short) == {
        "wanted": 5, "found": 3, "because": "3 items pass the filters; removed by filter a: 9, already seen: 2",
    }  # fmt: skip
    assert shortfall(Query(k=50), 20, 20, {}, []).because == "the catalogue has 20 items"


def test_weights_of_the_request_stand_in_place_of_the_surface_s(recommender: Recommender) -> None:
    own = recommender.recommend(Query(user="u06", surface="ratings", k=20))[1]
    tried = recommender.recommend(Query(user="u06", weights={"rating": 1.0}, k=20))[1]
    assert [(item.item, item.value) for item in own] == [(item.item, item.value) for item in tried]
    turned = recommender.recommend(Query(user="u06", weights={"rating": -1.0}, k=20))[1]
    assert [item.value for item in turned] == sorted((-item.value for item in own), reverse=True)
    with pytest.raises(RequestError, match=r"weights: no task of that name; this release has \['watch', 'like'"):
        recommender.recommend(Query(weights={"x": 1.0}))


def test_the_trace_adds_up(recommender: Recommender) -> None:
    query = Query(user="u06", k=4, filters={"colour": Rule(none_of=("red",))})
    state = recommender.embedder.run([query])[0]
    candidates = recommender.retriever.run(state, query)
    stages = candidates.stages
    met = set(recommender.embedder.people.find("u06").items_S.tolist())
    assert stages.items == ITEMS
    assert stages.removed["filter colour"] == 4
    assert stages.removed["already seen"] == len([place for place in met if place % 5])
    assert stages.allowed == ITEMS - sum(stages.removed.values()) == stages.found
    ranked = recommender.reranker.rank(state, candidates, query, trace=True)
    assert len(ranked.trace) == len(candidates.places_C)
    assert [one.fused for one in ranked.trace] == sorted((one.fused for one in ranked.trace), reverse=True)
    shown = {one.place: one for one in ranked.trace if one.place}
    assert [shown[place].item for place in range(1, 5)] == [item.item for item in ranked.items]
    for one in ranked.trace:
        assert one.contributions.keys() == {"watch", "like"}
        assert one.contributions["like"] == pytest.approx(0.1 * one.scores["like"], abs=2e-6)
        assert one.value == pytest.approx(sum(one.contributions.values()), abs=3e-6)
        assert one.scores["watch"] == pytest.approx(np.exp(one.raw["watch"]), abs=1e-5)
        assert one.scores["like"] == pytest.approx(1 / (1 + np.exp(-one.raw["like"])), abs=1e-5)
        assert one.sources
        assert (one.because is None) == (one.rank <= 4) == (one.place is not None)
    assert recommender.reranker.rank(state, candidates, query).trace is None


def test_why_not_this_item(recommender: Recommender, capped: Recommender) -> None:
    seen = recommender.embedder.items.ids[int(recommender.embedder.people.find("u06").items_S[0])]
    query = Query(user="u06", k=4)
    assert recommender.explain(query, "i99").stage == "unknown"
    found = recommender.explain(query, seen)
    assert (found.stage, found.rule) == ("filters", "already seen")
    found = recommender.explain(Query(user="u06", surface="reds", exclude_seen=False), "i01")
    assert (found.stage, found.rule) == ("filters", "filter colour of the surface")
    found = recommender.explain(Query(deny=("i01",)), "i01")
    assert (found.stage, found.rule) == ("filters", "in the deny list")
    order = _shown(recommender, Query(user="u06", k=20))
    for place, item in enumerate(order, 1):
        found = recommender.explain(query, item)
        assert (found.stage, found.rank) == ("shown" if place <= 4 else "ranking", place)
        assert found.rule == (None if place <= 4 else "value")


def test_why_not_beyond_the_candidates_a_cap_or_diversity(capped: Recommender, draft: Path, tmp_path: Path) -> None:
    query = Query(user="u06", k=3, surface="capped")
    state = capped.embedder.run([query])[0]
    fused = capped.retriever.fuse(state, query, capped.retriever.screen(state, query))
    ids = capped.retriever.items.ids
    kept = capped.retriever.keep(fused, query)
    found = capped.explain(query, ids[fused.places_C[-1]])
    assert (found.stage, found.rank, found.of) == ("fusion", len(fused.places_C), len(kept.places_C))
    listed = {ids[place] for place in fused.places_C}
    allowed_I = capped.retriever.allowed(state, query)
    absent = [ids[place] for place in np.flatnonzero(allowed_I) if ids[place] not in listed]
    assert absent
    assert capped.explain(query, absent[0]).stage == "sources"
    ranked = capped.reranker.rank(state, kept, query, trace=True)
    refused = [one.item for one in ranked.trace if one.because == "cap of colour"]
    assert refused
    assert all(capped.explain(query, item).rule == "cap of colour" for item in refused)
    diverse = _changed(draft, tmp_path / "diverse", ranking={"diversity": 1.0})
    asked = Query(user="u06", k=3)
    ranks = {item: diverse.explain(asked, item) for item in _shown(diverse, Query(user="u06", k=20))}
    passed = [one for one in ranks.values() if one.rule == "diversity"]
    assert passed
    assert all(one.rank <= 3 for one in passed)


def test_what_is_popular_needs_no_vectors_and_keeps_to_filters(draft: Path, recommender: Recommender) -> None:
    popular = Popular(draft)
    assert popular.items.vectors_ID.shape == (ITEMS, 0)
    order = recommender.retriever.sources["popularity"].ask(recommender.embedder.people.stranger).order_I
    ids = popular.items.ids
    items, screen = popular.run(Query(k=5))
    assert [item.item for item in items] == [ids[place] for place in order[:5]]
    assert screen.counts == (ITEMS, {})
    items, _ = popular.run(Query(k=20, surface="reds", deny=("i05",), history=("i10",)))
    assert {item.item for item in items} == REDS - {"i05", "i10"}
    items, _ = popular.run(Query(k=20), seen=np.arange(15))
    assert {item.item for item in items} == {f"i{n}" for n in range(15, 20)}
    for query in (Query(surface="x"), Query(weights={"x": 1.0}), Query(filters={"size": ("x",)})):
        with pytest.raises(RequestError):
            popular.check(query)


def test_a_surface_has_lists_and_a_wish_of_its_own_about_what_was_seen(draft: Path, tmp_path: Path) -> None:
    surfaces = {
        "few": {"weights": {"watch": 1.0}, "allow": ["i03", "i04", "i07", "nothing"], "deny": ["i07"]},
        "again": {"weights": {"watch": 1.0}, "exclude_seen": False},
    }
    recommender = _changed(draft, tmp_path, surfaces=surfaces)
    assert sorted(_shown(recommender, Query(surface="few"))) == ["i03", "i04"]
    assert sorted(_shown(recommender, Query(surface="few", allow=("i04", "i05")))) == ["i04"]
    stopped = recommender.explain(Query(surface="few"), "i07")
    assert (stopped.stage, stopped.rule) == ("filters", "in the deny list of the surface")
    assert recommender.explain(Query(surface="few"), "i05").rule == "not in the allow list of the surface"
    items, _ = Popular(recommender.retriever.folder).run(Query(surface="few", k=20))
    assert sorted(item.item for item in items) == ["i03", "i04"]
    seen = recommender.embedder.items.ids[recommender.embedder.people.find("u06").items_S[0]]
    assert seen in _shown(recommender, Query(user="u06", k=20, surface="again"))
    assert seen not in _shown(recommender, Query(user="u06", k=20, surface="again", exclude_seen=True))
    assert seen not in _shown(recommender, Query(user="u06", k=20))


def test_what_users_met_is_known_without_the_embedder(draft: Path, tmp_path: Path) -> None:
    items, store = ItemTable.load_names(draft), Segments(tmp_path / "events")
    met = Met(draft, items, Watch(tmp_path))
    met.follow(store)
    stored = People.load(draft).find("u06").items_S
    assert met.of("u06").tolist() == stored.tolist()
    store.append([Event(f"e{n}", user, item, n) for n, (user, item) in enumerate(
        [("u06", "i02"), ("new", "i04"), ("new", "i01"), ("new", "i04"), ("new", "unheard of")])])  # fmt: skip
    assert met.of("new").tolist() == met.of(None).tolist() == []  # nobody waits for the log
    met.catch_up()
    assert met.of("new").tolist() == [1, 4]
    assert met.of("u06").tolist() == [*stored, 2]
    for name in ("u06", "new"):
        add_tombstones(tmp_path, name)
    time.sleep(0.3)  # a watch looks four times a second
    met.catch_up()
    assert met.of("new").tolist() == met.of("u06").tolist() == []
    store.close()
