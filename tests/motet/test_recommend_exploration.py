"""Exploration in the Reranker: what an answer says of it, caps, and that a query without a request's id has none."""

from dataclasses import replace

import pytest

from motet.recommend import Query, Reranker
from motet.recommend.trace import Ranked
from motet.storage import read_json, write_json


@pytest.fixture
def exploring(draft, tmp_path):
    """Makes a Reranker whose surface home explores so, with caps."""

    def make(caps=None, **settings) -> Reranker:
        for name in draft.iterdir():
            if not (tmp_path / name.name).exists():
                (tmp_path / name.name).symlink_to(name)
        (tmp_path / "recipe.json").unlink()
        recipe = read_json(draft / "recipe.json")
        recipe["surfaces"]["home"] |= {"exploration": settings, "caps": caps or {}}
        write_json(tmp_path / "recipe.json", recipe)
        return Reranker(tmp_path, threads=1)

    return make


def ranked(reranker: Reranker, recommender, query: Query, trace: bool = False) -> Ranked:
    user = recommender.embedder.run([query])[0]
    return reranker.rank(user, recommender.retriever.run(user, query), query, trace)


def test_a_drawn_item_says_so_and_the_others_stay(exploring, recommender):
    reranker, query = exploring(share=1.0, slots=1, temperature=10.0), Query(user="u03", k=4)
    plain = ranked(reranker, recommender, query)
    found = ranked(reranker, recommender, replace(query, request="r1", recorded=True), trace=True)
    assert [one.item for one in found.items[:3]] == [one.item for one in plain.items[:3]]
    last = found.items[3]
    assert last.item not in [one.item for one in plain.items]
    assert last.sources[-1] == "explore"
    assert (last.reason.by, last.reason.text) == ("explore", "shown to learn whether you like it")
    assert found.numbers.drawn_K.tolist() == [False, False, False, True]
    assert found.numbers.propensity_K[:3].tolist() == [1.0, 1.0, 1.0]
    assert 0 < found.numbers.propensity_K[3] < 0.2
    because = {one.item: one.because for one in found.trace}
    assert because[plain.items[3].item] == "exploration"
    assert because[last.item] is None


def test_without_a_request_or_a_share_nothing_is_drawn(exploring, recommender):
    query = Query(user="u03", k=4)
    reranker = exploring(share=1.0)
    assert "explore" not in str([one.sources for one in ranked(reranker, recommender, query).items])
    named = replace(query, request="r1", recorded=True)
    found = ranked(exploring(share=0.0), recommender, named)
    assert found.numbers.propensity_K.tolist() == [1.0] * 4
    assert ranked(reranker, recommender, query).numbers is None


def test_the_share_of_explored_requests_is_that_of_the_recipe(exploring, recommender):
    reranker, query = exploring(share=0.25), Query(user="u03", k=4, recorded=True)
    user = recommender.embedder.run([query])[0]
    candidates = recommender.retriever.run(user, query)
    values_C = reranker.weigh(user, candidates, query).values_C
    rows, _ = reranker.pick(candidates, values_C, query)
    drawn = [
        reranker.explore(rows, candidates, values_C, replace(query, request=f"r{n}")).drawn_K.any() for n in range(2000)
    ]
    assert sum(drawn) / 2000 == pytest.approx(0.25, abs=0.04)


def test_caps_hold_for_what_is_drawn(exploring, recommender):
    """At most two of one colour: each list with three drawn items keeps to it."""
    reranker = exploring(caps={"colour": 2}, share=1.0, slots=3, temperature=100.0)
    query, drawn = Query(user="u03", k=6), 0
    for number in range(40):
        found = ranked(reranker, recommender, replace(query, request=f"r{number}", recorded=True))
        places = [reranker.items.place_of[one.item] for one in found.items]
        colours = [value for values in reranker.items.values_of("colour", places) for value in values]
        assert max(colours.count(colour) for colour in colours) <= 2
        drawn += int(found.numbers.drawn_K.sum())
    uncapped = exploring(share=1.0, slots=3, temperature=100.0)
    assert drawn <= 40 * int(
        ranked(uncapped, recommender, replace(query, request="r", recorded=True)).numbers.drawn_K.sum()
    )
