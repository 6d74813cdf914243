"""Exploration: its probabilities against the closed form and a simulation, and that a request's id decides all."""

from collections import Counter

import numpy as np
import pytest

from motet.ranking.caps import Caps
from motet.ranking.exploration import Explored, chances, explore, explored_places, hands
from motet.surface_settings import Exploration

VALUES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], np.float32)
LIST, REST = np.arange(4), np.arange(4, 8)
NONE = Caps({}, {})


def asked(settings: Exploration, request: str) -> Explored:
    return explore(LIST, VALUES, settings, request, NONE)


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({"slots": 1}, [9]),
        ({"slots": 3}, [7, 8, 9]),
        ({"slots": 20}, list(range(10))),
        ({"slots": 1, "places": "spread"}, [5]),
        ({"slots": 2, "places": "spread"}, [2, 7]),
        ({"slots": 10, "places": "spread"}, list(range(10))),
    ],
)
def test_which_places_are_explored(settings, places):
    assert explored_places(Exploration(**settings), 10).tolist() == places
    assert explored_places(Exploration(**settings), 0).tolist() == []


def test_candidates_are_dealt_by_value_and_drawn_by_softmax():
    values = np.array([9.0, 1.0, 3.0, 2.0, 4.0])
    dealt = hands(np.array([1, 2]), np.array([1, 2, 3, 4]), values, NONE)
    assert [(place, hand.tolist()) for place, hand in dealt] == [(1, [4, 3]), (2, [2, 1])]
    by_hand = np.exp([4 / 2, 2 / 2])
    np.testing.assert_allclose(chances(np.array([4, 3]), values, 2.0), by_hand / by_hand.sum())
    assert [(place, hand.tolist()) for place, hand in hands(np.array([1, 2]), np.array([1]), values, NONE)] == [
        (1, [1])
    ]


def test_caps_leave_out_what_would_not_fit_whatever_else_is_drawn():
    """At most two red: one is in the list, so red ones come to one of two hands only."""
    colours = [["red"], ["blue"], ["red"], ["red"], ["blue"], ["green"], ["red"], ["blue"]]
    caps = Caps({"colour": 2}, {"colour": colours})
    caps.take(0)
    dealt = hands(np.array([2, 3]), np.arange(1, 8), VALUES, caps)
    assert [(place, hand.tolist()) for place, hand in dealt] == [(2, [1, 5, 7]), (3, [2, 4, 6])]


@pytest.mark.parametrize(("share", "slots", "places"), [(0.3, 1, "last"), (0.5, 2, "last"), (1.0, 2, "spread")])
def test_propensities_are_the_shares_of_a_simulation(share, slots, places):
    """20,000 requests: at each place each item is shown as often as its propensity says, which sum to one."""
    settings, count = Exploration(share=share, slots=slots, places=places, temperature=0.2), 20_000
    shown: Counter[tuple[int, int]] = Counter()
    said: dict[tuple[int, int], float] = {}
    for number in range(count):
        found = asked(settings, f"request {number}")
        for place, (row, propensity) in enumerate(zip(found.rows_K, found.propensity_K, strict=True)):
            shown[place, int(row)] += 1
            assert said.setdefault((place, int(row)), float(propensity)) == propensity
    for key, propensity in said.items():
        error = np.sqrt(propensity * (1 - propensity) / count)
        assert abs(shown[key] / count - propensity) <= 4.5 * error + 1e-9
    for place in range(4):
        assert sum(p for (at, _), p in said.items() if at == place) == pytest.approx(1.0)
    drawn = explored_places(settings, 4).tolist()
    for number, place in enumerate(drawn):
        hand = REST[number::slots]
        closed = dict(zip(hand.tolist(), share * chances(hand, VALUES, 0.2), strict=True))
        assert {row: p for (at, row), p in said.items() if at == place and row in REST} == pytest.approx(closed)
        assert said.get((place, place), 0.0) == pytest.approx(1 - share)


def test_the_same_request_draws_the_same_and_nothing_is_shown_twice():
    settings = Exploration(share=1.0, slots=2, temperature=5.0)
    for number in range(200):
        one, again = asked(settings, f"r{number}"), asked(settings, f"r{number}")
        assert one.rows_K.tolist() == again.rows_K.tolist()
        assert len(set(one.rows_K.tolist())) == 4
        assert one.drawn_K.tolist() == [False, False, True, True]
    assert len({tuple(asked(settings, f"r{number}").rows_K.tolist()) for number in range(200)}) == 4


def test_without_candidates_beyond_the_list_nothing_is_drawn():
    settings = Exploration(share=1.0, slots=2)
    found = explore(LIST, VALUES[:4], settings, "r", NONE)
    assert (found.rows_K.tolist(), found.propensity_K.tolist()) == ([0, 1, 2, 3], [1.0] * 4)
    one = explore(LIST, VALUES[:5], settings, "r", NONE)
    assert (one.rows_K.tolist(), one.drawn_K.tolist()) == ([0, 1, 4, 3], [False, False, True, False])


def test_a_list_is_not_changed_in_place():
    before = LIST.copy()
    asked(Exploration(share=1.0), "r")
    assert LIST.tolist() == before.tolist()
