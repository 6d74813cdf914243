"""Rules over a catalogue: what passes, and the first rule that stopped each of the others."""

import numpy as np

from motet.retrieval.filters import apply_rules


def _passes(text: str) -> np.ndarray:
    return np.array([letter == "y" for letter in text])


def test_the_first_rule_that_stops_an_item_is_named() -> None:
    screen = apply_rules(4, [("a", _passes("ynyy")), ("b", _passes("nnyy")), ("a", _passes("yynn"))])
    assert screen.allowed_I.tolist() == [False] * 4
    assert [screen.why(place) for place in range(4)] == ["b", "a", "a", "a"]
    assert screen.counts == (0, {"a": 3, "b": 1})


def test_without_rules_all_pass_and_idle_rules_are_not_counted() -> None:
    assert apply_rules(3, []).counts == (3, {})
    screen = apply_rules(2, [("a", _passes("yy")), ("b", _passes("yn"))])
    assert screen.counts == (1, {"b": 1})
    assert screen.why(0) is None
