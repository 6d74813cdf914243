"""Held-out users, examples for fitting, and the evaluation by the steps of serving."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from motet.data.split import TEST, VALIDATION
from motet.data_settings import Split
from motet.evaluation.fitting import gather_examples
from motet.evaluation.held_out import HeldOut, held_out
from motet.evaluation.offline import PROTOCOLS, evaluate_users, target_rows
from motet.evaluation.ranking_metrics import EMPTY, rank_metrics
from motet.recipe import Recipe
from motet.recommend import Query, Recommender
from motet.storage import read_json, write_json
from tests.builders import DAY_MS, ITEMS, Tiny


@pytest.mark.parametrize("part", [VALIDATION, TEST])
def test_a_held_out_user_has_only_what_came_before(tiny: Tiny, part: int) -> None:
    rows = tiny.histories.to_pylist()
    for user, row in zip(held_out(tiny.histories, part, "label:like"), rows, strict=True):
        place = row["parts"].index(part)
        assert user.items_S.tolist() == row["items"][:place]
        assert user.timestamps_S.tolist() == [day * DAY_MS for day in range(place)]
        assert user.targets_N.tolist() == [row["items"][place]]
        expected = [2 if label is None else int(label) for label in row["label:like"][:place]]
        assert user.liking_S.tolist() == expected
        assert user.labels["rating"].tolist() == pytest.approx([row["label:rating"][place]], nan_ok=True)


def test_users_without_an_event_of_the_part_are_left_out_and_liking_may_be_unknown(tiny: Tiny) -> None:
    assert held_out(tiny.histories, 7, None) == []
    assert set(held_out(tiny.histories, TEST, None)[0].liking_S.tolist()) == {2}


def test_the_person_asks_with_the_history_up_to_then_and_no_stored_profile(
    tiny: Tiny, recommender: Recommender
) -> None:
    user = held_out(tiny.histories, TEST, "label:like")[2]
    stored = recommender.embedder.people.find(user.user)
    person = user.person(stored)
    assert len(person.items_S) == len(stored.items_S) - 1
    assert (person.level, len(person.profile_W)) == ("known", 0)
    assert person.timestamps_S.tolist() == stored.timestamps_S[:-1].tolist()
    nothing = HeldOut("u", *(np.zeros(0, np.int64),) * 3, np.array([1]), {})
    assert nothing.person(stored).level == "attributes"


def test_targets_are_all_events_or_the_liked_ones_and_new_to_the_user(tiny: Tiny) -> None:
    user = HeldOut(
        "u", np.array([5, 6]), np.zeros(2), np.zeros(2), np.array([5, 7, 8, 9]),
        {"like": np.array([1, 1, 0, np.nan], np.float32)},
    )  # fmt: skip

    def recipe(repeats: str, target: str | None) -> Recipe:
        value = tiny.recipe.resolved()
        value["data"]["interactions"]["repeats"] = repeats
        value["evaluate"]["target"] = target
        return Recipe.model_validate(value)

    assert target_rows(user, recipe("last", None)).tolist() == [False, True, True, True]
    assert target_rows(user, recipe("keep", None)).tolist() == [True, True, True, True]
    assert target_rows(user, recipe("last", "like")).tolist() == [False, True, False, False]
    assert target_rows(user, recipe("keep", "like")).tolist() == [True, True, False, False]


def test_lists_are_those_that_serving_gives_and_sources_alone(tiny: Tiny, recommender: Recommender) -> None:
    users = held_out(tiny.histories, TEST, "label:like")
    rows = evaluate_users(recommender, users)
    assert [row["user"] for row in rows] == [user.user for user in users]
    for user, row in zip(users, rows, strict=True):
        assert list(row["lists"]) == ["motet", *tiny.recipe.retrieval.sources]
        for name, places in row["lists"].items():
            assert len(places) == 10
            assert not set(places) & set(user.items_S.tolist())
            found = [place for place in places if place != EMPTY]
            assert len(set(found)) == len(found)
            assert row["metrics"][name] == rank_metrics(places, set(user.targets_N.tolist()), 10)
        state = recommender.embedder.states([user.person(recommender.embedder.people.find(user.user))])[0]
        shown = recommender.reranker.run(state, recommender.retriever.run(state, Query()), Query())
        assert [recommender.embedder.items.place_of[item.item] for item in shown] == row["lists"]["motet"]
        popularity = recommender.retriever.sources["popularity"].ask(state).order_I
        rest = [place for place in popularity if place not in user.items_S]
        assert row["lists"]["popularity"] == rest[:10]


def test_a_list_that_the_surface_s_filter_cuts_short_is_filled_up_with_nothing(
    tiny: Tiny, draft: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(draft, tmp_path / "draft"))
    recipe = read_json(folder / "recipe.json")
    recipe["evaluate"]["surface"] = "reds"
    write_json(folder / "recipe.json", recipe)
    users = held_out(tiny.histories, TEST, "label:like")
    for user, row in zip(users, evaluate_users(Recommender(folder, threads=1), users), strict=True):
        reds = {0, 5, 10, 15} - set(user.items_S.tolist())
        for places in row["lists"].values():
            assert len(places) == 10
            assert set(places) <= {*reds, EMPTY}
        assert set(row["lists"]["motet"]) == {*reds, EMPTY}


def test_task_predictions_stand_beside_their_labels(tiny: Tiny, recommender: Recommender) -> None:
    user = held_out(tiny.histories, TEST, "label:like")[4]
    (row,) = evaluate_users(recommender, [user])
    state = recommender.embedder.states([user.person(recommender.embedder.people.find(user.user))])[0]
    raw = recommender.reranker.raw_scores(state, user.targets_N)[0]
    ((like, like_label, like_slate),), ((rating, rating_label, _),) = row["tasks"]["like"], row["tasks"]["rating"]
    assert like_slate == -1
    assert (like_label, rating_label) == (user.labels["like"][0], user.labels["rating"][0])
    assert like == pytest.approx(1 / (1 + np.exp(-raw[0])), rel=1e-5)
    scale = tiny.card.scales["rating"]
    assert rating == pytest.approx(np.clip(raw[1] * scale.std + scale.mean, scale.low, scale.high), rel=1e-5)


def test_a_user_without_a_target_has_no_list_but_task_predictions(tiny: Tiny, recommender: Recommender) -> None:
    user = held_out(tiny.histories, TEST, "label:like")[0]
    again = HeldOut(user.user, user.items_S, user.liking_S, user.timestamps_S, user.items_S[:1], user.labels)
    (row,) = evaluate_users(recommender, [again])
    assert (row["lists"], row["metrics"]) == ({}, {})
    assert len(row["tasks"]["like"]) == 1


def test_examples_hold_candidates_and_which_of_them_came(tiny: Tiny, recommender: Recommender) -> None:
    users = held_out(tiny.histories, VALIDATION, "label:like")
    examples = gather_examples(recommender, users)
    retriever, embedder = recommender.retriever, recommender.embedder
    for user, example in zip(users, examples, strict=True):
        state = embedder.states([user.person(embedder.people.find(user.user))])[0]
        found = retriever.collect(state, retriever.allowed(state, Query()))
        places, scores, ranks = found.places_C, found.scores_CS, found.ranks_CS
        assert sorted(places.tolist()) == sorted(set(range(ITEMS)) - set(user.items_S.tolist()))
        np.testing.assert_allclose(example.scores_CS, scores, atol=1e-5)
        np.testing.assert_array_equal(np.isnan(example.ranks_CS), np.isnan(ranks))
        assert places[example.rows].tolist() == user.targets_N.tolist()
        assert example.labels_NT.tolist() == pytest.approx(
            np.array([[user.labels["like"][0], user.labels["rating"][0]]]), nan_ok=True
        )
        assert example.raw_NT.shape == (1, 2)
        assert example.moments_N.tolist() == [len(user.items_S) * DAY_MS]
        np.testing.assert_allclose(example.features_CF, retriever.features.of(state, found), atol=1e-5)
        assert example.missed == 0


def test_a_sample_of_the_candidates_keeps_all_that_came(tiny: Tiny, recommender: Recommender) -> None:
    users = held_out(tiny.histories, VALIDATION, "label:like")
    whole = gather_examples(recommender, users, withheld=("vectors",))
    some = gather_examples(recommender, users, withheld=("vectors",), most=5, seed=1)
    column = recommender.retriever.features.names.index("vectors rank")
    for all_of, few in zip(whole, some, strict=True):
        assert np.isnan(all_of.features_CF[:, column]).all()
        assert len(few.features_CF) == min(5, len(all_of.features_CF))
        assert len(few.rows) == len(all_of.rows)
        np.testing.assert_array_equal(few.features_CF[few.rows], all_of.features_CF[all_of.rows])


def test_every_kind_of_split_has_a_protocol_in_words() -> None:
    assert set(PROTOCOLS) == set(get_args(Split.model_fields["kind"].annotation))


def test_the_gates_of_the_held_out_events_are_the_network_s(tiny: Tiny, recommender: Recommender) -> None:
    user = held_out(tiny.histories, TEST, "label:like")[3]
    (row,) = evaluate_users(recommender, [user])
    state = recommender.embedder.states([user.person(recommender.embedder.people.find(user.user))])[0]
    weights_NTE = recommender.reranker.gates(state, user.targets_N)
    assert weights_NTE is not None
    np.testing.assert_allclose(row["gates"], weights_NTE[0], rtol=1e-6)
    assert np.array(row["gates"]).shape == (2, 2)
    assert recommender.reranker.gates(state, np.zeros(0, np.int64)) is None


def test_what_was_asked_is_the_same_hash_for_the_same_question_only(tiny: Tiny, recommender: Recommender) -> None:
    user = held_out(tiny.histories, TEST, "label:like")[3]
    others = [
        user,
        replace(user, items_S=user.items_S[:-1], liking_S=user.liking_S[:-1], timestamps_S=user.timestamps_S[:-1],
                events_ST=user.events_ST[:-1]),
        replace(user, targets_N=(user.targets_N + 1) % ITEMS),
        replace(user, asked_ms=1 + (user.asked_ms or 0)),
    ]  # fmt: skip
    asked = [row["asked"] for row in evaluate_users(recommender, [user, *others])]
    assert asked[0] == asked[1]
    assert len(set(asked)) == 4


def test_the_policy_of_a_user_by_hand(tiny: Tiny, recommender: Recommender) -> None:
    """One item of the list of 10 and one that is not: 1/10 and 0; its expected reward is the list's mean score."""
    user = held_out(tiny.histories, TEST, "label:like")[3]
    (plain,) = evaluate_users(recommender, [user])
    assert plain["policy"] is None
    shown = plain["lists"]["motet"]
    left_out = next(place for place in range(ITEMS) if place not in shown)
    came = np.array([shown[4], left_out, shown[0]])
    labels = {"like": np.array([1, 0, np.nan], np.float32), "rating": np.array([5, 1, np.nan], np.float32)}
    logged = replace(user, targets_N=came, labels=labels, propensities_N=np.array([0.2, 0.5, np.nan]))
    (row,) = evaluate_users(recommender, [logged])
    assert row["policy"]["target"] == [0.1, 0.0, 0.1]
    np.testing.assert_array_equal(row["policy"]["propensity"], [0.2, 0.5, np.nan])
    state = recommender.embedder.states([user.person(recommender.embedder.people.find(user.user))])[0]
    raw_KT = recommender.reranker.raw_scores(state, np.array(shown))
    expected = recommender.reranker.calibrated("like", raw_KT[:, 0]).mean()
    assert row["policy"]["expected"] == {"like": pytest.approx(expected, rel=1e-5)}


def test_a_user_whose_events_are_no_targets_still_has_a_policy(tiny: Tiny, recommender: Recommender) -> None:
    """Who liked nothing is a reward of 0, not somebody to leave out."""
    user = held_out(tiny.histories, TEST, "label:like")[0]
    again = replace(user, targets_N=user.items_S[:1], propensities_N=np.array([0.5]))
    (row,) = evaluate_users(recommender, [again])
    assert row["lists"] == {}
    assert row["policy"]["target"] == [0.0]
    assert 0 < row["policy"]["expected"]["like"] < 1
