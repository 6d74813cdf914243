"""The three steps over a tiny release: who asks, which items, in which order."""

from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from motet.errors import DataError, ReleaseError, RequestError
from motet.kinds.calibration import sigmoid
from motet.recommend import Query, Recommender, Retriever, read_recipe
from motet.recommend.memo import Memo
from motet.release.publish import Releases
from motet.storage import read_json, write_json
from tests.builders import ITEMS
from tests.serve.bad_releases import without_numbers


def _ids(recommender: Recommender, query: Query) -> list[str]:
    return [item.item for item in recommender.recommend(query)[1]]


@pytest.fixture
def changed(draft: Path, tmp_path: Path):
    """The draft's folder with another recipe section."""
    import shutil

    def change(section: str, **values: object) -> Path:
        folder = Path(shutil.copytree(draft, tmp_path / "changed"))
        recipe = read_json(folder / "recipe.json")
        recipe[section] |= values
        write_json(folder / "recipe.json", recipe)
        return folder

    return change


QUERIES = [
    Query(user="u03"),
    Query(user="u03", surface="ratings", k=3),
    Query(user="nobody"),
    Query(history=("i01", "i02", "i01")),
    Query(text="fast red car", k=4),
    Query(user="u05", text="blue boat"),
    Query(),
]


@pytest.mark.parametrize("query", QUERIES)
def test_the_same_question_has_the_same_answer_of_k_items(recommender: Recommender, query: Query) -> None:
    first, second = recommender.recommend(query)[1], recommender.recommend(query)[1]
    assert first == second
    assert len({item.item for item in first}) == query.k
    assert all(np.isfinite(item.value) for item in first)
    assert all(item.sources for item in first)


def test_a_batch_gives_what_single_queries_give(recommender: Recommender) -> None:
    together = recommender.embedder.run(QUERIES)
    for query, state in zip(QUERIES, together, strict=True):
        alone = recommender.embedder.run([query])[0]
        assert alone.level == state.level
        np.testing.assert_allclose(alone.vector_D, state.vector_D, atol=1e-6)
        np.testing.assert_allclose(alone.content_W, state.content_W, atol=1e-6)
        shown = recommender.reranker.run(state, recommender.retriever.run(state, query), query)
        assert [item.item for item in shown] == _ids(recommender, query)


@pytest.mark.parametrize("user", ["u00", "u04", "u09"])
def test_what_the_user_met_is_left_out_and_all_else_qualifies(recommender: Recommender, user: str) -> None:
    met = {recommender.embedder.items.ids[place] for place in recommender.embedder.people.find(user).items_S}
    assert len(met) == 5 + int(user[1:]) % 5
    shown = _ids(recommender, Query(user=user, k=50))
    assert set(shown) == set(recommender.embedder.items.ids) - met
    assert len(shown) == ITEMS - len(met)
    assert len(_ids(recommender, Query(user=user, k=50, exclude_seen=False))) == ITEMS


@pytest.mark.parametrize("query", [Query(user="u01", k=12), Query(text="red", k=12), Query(k=12)])
def test_k_items_come_even_if_each_source_gives_fewer_candidates(changed, query: Query) -> None:
    folder = changed("retrieval", candidates=1)
    assert len(Recommender(folder, threads=1).recommend(query)[1]) == 12


def test_candidates_are_cut_to_the_recipes_number(changed) -> None:
    recommender = Recommender(changed("retrieval", candidates=4), threads=1)
    state = recommender.embedder.run([Query(user="u01")])[0]
    candidates = recommender.retriever.run(state, Query(user="u01", k=2))
    assert len(candidates.places_C) == 4
    assert (np.diff(candidates.fused_C) <= 0).all()


@pytest.mark.parametrize(
    ("query", "level"),
    [
        (Query(user="u01"), "known"),
        (Query(user="stranger"), "popular"),
        (Query(), "popular"),
        (Query(user="u01", history=("i03",)), "history"),
        (Query(user="u01", history=()), "popular"),
        (Query(user="u01", text="red car"), "text"),
        (Query(history=("i03",), text="red car"), "text"),
    ],
)
def test_the_state_says_how_the_user_was_recognised(recommender: Recommender, query: Query, level: str) -> None:
    assert recommender.embedder.run([query])[0].level == level


def test_the_stored_profile_is_the_one_computed_from_the_history(recommender: Recommender) -> None:
    embedder = recommender.embedder
    for user in embedder.people.rows:
        person = embedder.people.find(user)
        stored = embedder.content(person)
        assert len(person.profile_W)
        computed = embedder.content(replace(person, profile_W=np.zeros(0, np.float32)))
        np.testing.assert_allclose(stored, computed, atol=1e-6)
        assert np.linalg.norm(stored) == pytest.approx(1, abs=1e-5)


def test_an_unknown_user_is_a_stranger_with_the_features_of_missing_values(recommender: Recommender) -> None:
    known, unknown, nobody = recommender.embedder.run([Query(user="u01"), Query(user="ü"), Query()])
    np.testing.assert_array_equal(unknown.vector_D, nobody.vector_D)
    assert not np.allclose(known.vector_D, nobody.vector_D)
    assert not nobody.content_W.any()
    person = recommender.embedder.people.find("ü")
    assert (person.slots, person.numbers_M.tolist()) == ((1,), [0.0])  # the unknown team; the median age, standardised


def test_items_of_the_history_that_are_not_in_the_catalogue_are_left_out(recommender: Recommender) -> None:
    assert _ids(recommender, Query(history=("x", "i03", "y"))) == _ids(recommender, Query(history=("i03",)))
    with pytest.raises(RequestError, match="none of these items is in the catalogue"):
        recommender.recommend(Query(history=("x", "y")))


def test_a_given_history_stands_in_place_of_the_stored_one(recommender: Recommender) -> None:
    embedder = recommender.embedder
    person = embedder.person(Query(user="u02", history=("i05", "i06")))
    assert embedder.items.ids[5] == "i05"
    assert (person.items_S.tolist(), person.liking_S.tolist()) == ([5, 6], [2, 2])
    assert person.slots == embedder.people.find("u02").slots
    content_W = embedder.items.content_IW[5] + embedder.items.content_IW[6]  # two events of one moment, alike in weight
    np.testing.assert_allclose(embedder.content(person), content_W / np.linalg.norm(content_W), atol=1e-6)


def test_a_text_is_answered_by_the_contents_of_the_items(recommender: Recommender) -> None:
    query = Query(text="title: white plane", k=3)
    state = recommender.embedder.run([query])[0]
    width = recommender.embedder.people.text_dim
    assert np.linalg.norm(state.content_W[:width]) == pytest.approx(1, abs=1e-5)
    assert not state.content_W[width:].any()
    candidates = recommender.retriever.run(state, query)
    cosine_I = recommender.embedder.items.content_IW @ state.content_W
    assert candidates.places_C[0] == int(np.argmax(cosine_I))
    # P(next) is the softmax of 20 x cosine among what the contents listed.
    expected_C = np.exp(20 * cosine_I[candidates.places_C])
    np.testing.assert_allclose(np.exp(candidates.fused_C), expected_C / expected_C.sum(), rtol=1e-4)


def test_the_user_vector_is_that_of_the_latest_events_only(recommender: Recommender) -> None:
    # history: 6 in this recipe; an earlier event beyond them changes nothing.
    long = tuple(f"i{i:02d}" for i in range(8))
    other = ("i19", "i18", *long[2:])
    one, two, three = recommender.embedder.run([Query(history=long), Query(history=other), Query(history=long[3:])])
    np.testing.assert_allclose(one.vector_D, two.vector_D, atol=1e-6)
    assert not np.allclose(one.vector_D, three.vector_D)


def test_values_are_the_weighted_calibrated_scores(recommender: Recommender) -> None:
    query = Query(user="u06", k=5)
    state, items = recommender.recommend(query)
    candidates = recommender.retriever.run(state, query)
    places = [recommender.embedder.items.place_of[item.item] for item in items]
    raw_NT = recommender.reranker.raw_scores(state, np.array(places))
    watch = {int(p): float(np.exp(f)) for p, f in zip(candidates.places_C, candidates.fused_C, strict=True)}
    for item, place, (like, rating) in zip(items, places, raw_NT, strict=True):
        scale = recommender.reranker.card.scales["rating"]
        assert item.scores["watch"] == pytest.approx(watch[place], abs=1e-6)
        assert item.scores["like"] == pytest.approx(float(sigmoid(like)), abs=1e-5)
        assert item.scores["rating"] == pytest.approx(np.clip(rating * scale.std + scale.mean, 1, 5), abs=1e-5)
        assert item.value == pytest.approx(item.scores["watch"] + 0.1 * item.scores["like"], abs=2e-6)
    assert [item.value for item in items] == sorted((item.value for item in items), reverse=True)
    assert sum(watch.values()) == pytest.approx(1, abs=1e-5)


def test_a_surface_orders_by_its_own_value_within_its_filters(recommender: Recommender) -> None:
    rated = recommender.recommend(Query(user="u06", surface="ratings"))[1]
    assert all(item.value == pytest.approx(item.scores["rating"], abs=1e-6) for item in rated)
    reds = _ids(recommender, Query(surface="reds", k=20))
    assert sorted(reds) == ["i00", "i05", "i10", "i15"]  # every fifth item is red
    both = _ids(recommender, Query(surface="reds", k=20, filters={"year": ("1950", "1970")}))
    assert sorted(both) == ["i00", "i05"]  # 1950 and 1965
    with pytest.raises(RequestError, match=r"surface: unknown; this release has \['home', 'ratings', 'reds'\]"):
        recommender.recommend(Query(surface="nowhere"))


def test_similar_items_are_the_nearest_by_cosine_without_the_item_itself(recommender: Recommender, changed) -> None:
    items = recommender.embedder.items
    cosine_I = items.unit_ID @ items.unit_ID[7]
    expected = [place for place in np.argsort(-cosine_I, kind="stable") if place != 7][:5]
    without_index = Retriever(changed("retrieval", sources=["popularity"]))
    for retriever in (recommender.retriever, without_index):
        found = retriever.similar("i07", 5)
        assert [item for item, _, _ in found] == [items.ids[place] for place in expected]
        np.testing.assert_allclose([score for _, _, score in found], cosine_I[expected], atol=1e-6)
    with pytest.raises(RequestError, match="not in the catalogue"):
        recommender.retriever.similar("i99", 5)


def test_the_recipe_of_a_bundle_is_the_one_it_was_made_with(tiny, draft: Path) -> None:
    assert read_recipe(draft) == tiny.recipe


def test_a_recipe_with_a_setting_of_another_version_is_refused_by_its_name(changed) -> None:
    folder = changed("train", momentum=0.9)
    with pytest.raises(DataError, match=r"recipe\.json: train\.momentum: Extra inputs .*; another version of Motet"):
        Recommender(folder)


def test_several_requests_at_once_are_answered_as_one_by_one(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tower and the task layers run once for all; who asks what cannot be answered is told so alone."""
    queries = [Query(user="u03", k=4), Query(history=("i02", "i07"), k=3), Query(), Query(weights={"watch": 2.0})]
    wrong = Query(history=("nothing",))
    embedder, retriever, reranker = recommender.embedder, recommender.retriever, recommender.reranker
    calls = []
    for of, method in ((embedder.model.users, "forward"), (reranker.model, "task_scores")):
        whole = getattr(of, method)
        monkeypatch.setattr(of, method, lambda *rows, w=whole, m=method: calls.append((m, len(rows[0]))) or w(*rows))
    monkeypatch.setattr(embedder, "_memo", Memo(0))
    states = embedder.answers([queries[0], wrong, *queries[1:]])
    assert isinstance(states[1], RequestError)
    users = [state for state in states if not isinstance(state, RequestError)]
    asked = [(user, retriever.run(user, query), query, False) for user, query in zip(users, queries, strict=True)]
    bad = replace(queries[0], weights={"bliss": 1.0})
    found = reranker.answers([*asked, (*asked[0][:2], bad, False)])
    assert isinstance(found[-1], RequestError)
    pairs = sum(len(candidates.places_C) for _, candidates, _, _ in [*asked, asked[0]])
    assert calls == [("forward", 4), ("task_scores", pairs)]
    for query, one in zip(queries, found[:-1], strict=True):
        assert not isinstance(one, RequestError)
        alone = recommender.recommend(query)[1]
        assert [item.item for item in one.items] == [item.item for item in alone]
        assert [item.value for item in one.items] == pytest.approx([item.value for item in alone], abs=2e-6)
    with pytest.raises(RequestError, match="none of these items is in the catalogue"):
        embedder.run([queries[0], wrong])
    with pytest.raises(RequestError, match="weights: no task of that name"):
        reranker.rank(*asked[0][:2], bad)


def test_the_retriever_keeps_to_its_threads(draft: Path) -> None:
    before = faiss.omp_get_max_threads(), torch.get_num_threads()
    try:
        for threads in (2, 1):
            Retriever(draft, threads=threads)
            assert (faiss.omp_get_max_threads(), torch.get_num_threads()) == (threads, threads)
    finally:
        faiss.omp_set_num_threads(before[0])
        torch.set_num_threads(before[1])


def test_scores_that_are_no_numbers_are_no_answer(workspace: Path) -> None:
    releases = Releases(workspace)
    spoilt = releases.find(without_numbers(releases, releases.current_id()))
    for query in (Query(user="u03"), Query()):
        with pytest.raises(ReleaseError, match=f"release {spoilt.name} gives scores that are no numbers; roll back"):
            Recommender(spoilt, threads=1).recommend(query)
