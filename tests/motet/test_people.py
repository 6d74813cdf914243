"""The users of a release, and people who are not in it."""

import numpy as np
import pytest

from motet.people import People
from tests.builders import DAY_MS


@pytest.fixture(scope="module")
def people(draft) -> People:
    return People.load(draft)


def test_a_stored_user_has_events_liking_and_attributes(people: People, tiny) -> None:
    row = tiny.histories.to_pylist()[3]
    person = people.find("u03")
    assert person.items_S.tolist() == row["items"]
    assert person.timestamps_S.tolist() == [day * DAY_MS for day in range(8)]  # 5 + 3 events, one a day
    expected = [2 if rating is None else int(rating >= 4) for rating in row["label:rating"]]
    assert person.liking_S.tolist() == expected
    assert set(expected) == {0, 1, 2}
    assert person.level == "known"


def test_the_stranger_is_the_same_for_no_name_and_an_unknown_one(people: People) -> None:
    assert people.find(None) is people.find("nobody") is people.stranger
    assert people.stranger.level == "popular"
    assert not people.stranger.text_X.any()


def test_inputs_are_padded_on_the_left_and_cut_to_the_latest(people: People) -> None:
    person = people.find("u04").with_history(np.array([7, 8, 9]), "history", np.array([0, 1, 2], np.int8))
    inputs = people.inputs([person, people.stranger, people.find("u04")], 5)
    assert inputs["items"].tolist()[:2] == [[0, 0, 7, 8, 9], [0, 0, 0, 0, 0]]
    assert np.isnan(inputs["labels"][:2]).all()  # of a history that is given nothing is known but its items
    assert np.isnan(inputs["gaps"][:2]).all()
    stored = people.find("u04")
    np.testing.assert_array_equal(inputs["labels"][2], stored.labels_ST[-5:])
    assert inputs["gaps"][2].tolist() == [86_400.0] * 5  # one event a day, in seconds
    # The log ends on the ninth day, as this user's events do; u03's last event was the day before.
    assert inputs["away"][2, -1] == 0
    assert people.inputs([people.find("u03")], 5)["away"][0, -1] == 86_400
    assert inputs["valid"].tolist()[:2] == [[False, False, True, True, True], [False] * 5]
    assert inputs["items"][2].tolist() == people.find("u04").items_S[-5:].tolist()  # 9 events


def test_another_history_drops_the_profile_and_keeps_the_attributes(people: People) -> None:
    before = people.find("u05")
    after = before.with_history(np.array([1]), "history")
    assert (len(before.profile_W) > 0, len(after.profile_W)) == (True, 0)
    assert (after.slots, after.numbers_M.tolist()) == (before.slots, before.numbers_M.tolist())
    assert after.liking_S.tolist() == [2]
    asked = before.with_text(np.ones(16, np.float32))
    assert (asked.level, asked.items_S.tolist()) == ("text", before.items_S.tolist())


def test_inputs_of_users_without_numbers_have_one_zero_column(people: People) -> None:
    from dataclasses import replace

    bare = replace(people.stranger, numbers_M=np.zeros(0, np.float32))
    assert people.inputs([bare, bare], 2)["numbers"].tolist() == [[0.0], [0.0]]


def test_a_text_is_what_is_asked_for_and_not_who_asks(people: People) -> None:
    """The user tower reads the same person with and without the text; only the query differs."""
    person = people.find("u01")
    asked = person.with_text(np.ones(people.text_dim, np.float32))
    assert asked.level == "text"
    assert asked.query_X.tolist() == [1.0] * people.text_dim
    before, after = people.inputs([person], 4), people.inputs([asked], 4)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])
