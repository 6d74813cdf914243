"""Someone without a history of whom the request says attributes."""

import numpy as np
import pytest

from motet.errors import RequestError
from motet.recommend import Query
from motet.recommend.popular import Popular
from motet.retrieval.state import UserState


def state_of(recommender, **asked) -> UserState:
    return recommender.embedder.run([Query(**asked)])[0]


@pytest.mark.parametrize("user", [None, "nobody knows"])
def test_attributes_make_of_anyone_what_a_stored_user_is_before_any_event(recommender, user) -> None:
    """u04 is of the team green and 24 years old."""
    stored = recommender.embedder.people.find("u04").with_history(np.zeros(0, np.int64), "attributes")
    said = {"team": "green", "age": 24}
    person = recommender.embedder.person(Query(user=user, attributes=said))
    assert (person.level, person.slots) == ("attributes", stored.slots)
    assert person.numbers_M == pytest.approx(stored.numbers_M)
    assert person.text_X == pytest.approx(stored.text_X, abs=1e-5)
    expected = recommender.embedder.states([stored])[0]
    assert state_of(recommender, user=user, attributes=said).vector_D == pytest.approx(expected.vector_D, abs=1e-5)


def test_other_attributes_are_another_user_and_none_are_nobody(recommender) -> None:
    vectors = [
        state_of(recommender, attributes=said).vector_D
        for said in (None, {"team": "red"}, {"team": "blue"}, {"team": "blue", "age": 90.0}, {"age": 90})
    ]
    for place, one in enumerate(vectors):
        assert all(np.abs(one - other).max() > 1e-4 for other in vectors[place + 1 :])
    assert state_of(recommender).level == "popular"


def test_a_value_that_the_release_has_not_seen_and_a_list_are_taken(recommender) -> None:
    assert state_of(recommender, attributes={"team": "none of these"}).level == "attributes"
    spec = recommender.embedder.people.spec.categories[0]
    both = state_of(recommender, attributes={"team": ["red", "blue"]}).slots
    assert set(both) == {spec.offset + 1 + spec.vocabulary.index(name) for name in ("red", "blue")}


def test_a_history_is_kept_and_attributes_are_replaced(recommender) -> None:
    before, now = (state_of(recommender, user="u03", attributes=said) for said in (None, {"team": "blue"}))
    assert (now.level, now.items_S.tolist()) == ("known", before.items_S.tolist())
    assert np.abs(now.vector_D - before.vector_D).max() > 1e-4
    assert state_of(recommender, history=("i03",), attributes={"team": "blue"}).level == "history"
    assert state_of(recommender, history=(), attributes={"team": "blue"}).level == "attributes"


def test_an_answer_by_attributes_is_whole(recommender) -> None:
    user, items = recommender.recommend(Query(user="new", attributes={"team": "red", "age": 30}, k=5))
    assert user.level == "attributes"
    assert len(items) == 5
    assert all(item.reason.text != "" for item in items)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"gender": "F"}, r"attributes: no column of that name; this release's users have \['team', 'age'\]"),
        ({"user_id": "u03"}, "no column of that name"),
        ({"age": "30"}, "attributes: age is a number"),
        ({"age": 1e39}, "attributes: age is beyond 3.4e"),
        ({"team": 7}, "attributes: team is a category"),
    ],
)
def test_attributes_that_the_users_do_not_have_are_refused(recommender, draft, attributes, said) -> None:
    query = Query(attributes=attributes)
    with pytest.raises(RequestError, match=said):
        recommender.recommend(query)
    with pytest.raises(RequestError, match=said):
        Popular(draft).check(query)
