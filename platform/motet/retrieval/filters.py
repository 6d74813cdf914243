"""Filters: which items may be shown, and for each of the others the first rule that stopped it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Screen:
    """What is left of a catalogue of I items.

    Args:
        rules: what could stop an item, in order.
        stopped_I: for each item 0 if it may be shown, n if the n-th rule was the first to stop it.
    """

    rules: tuple[str, ...]
    stopped_I: np.ndarray

    @property
    def allowed_I(self) -> np.ndarray:
        """Which items may be shown, bool [I]."""
        return self.stopped_I == 0

    @property
    def counts(self) -> tuple[int, dict[str, int]]:
        """How many items may be shown, and how many each rule stopped; rules that stopped none are left out."""
        counts = np.bincount(self.stopped_I, minlength=len(self.rules) + 1)
        removed: dict[str, int] = {}
        for rule, count in zip(self.rules, counts[1:], strict=True):
            if count:
                removed[rule] = removed.get(rule, 0) + int(count)
        return int(counts[0]), removed

    def why(self, place: int) -> str | None:
        """Return the rule that stopped an item; None if it may be shown."""
        number = int(self.stopped_I[place])
        return self.rules[number - 1] if number else None


def apply_rules(items: int, rules: Iterable[tuple[str, np.ndarray]]) -> Screen:
    """Return the screen of rules (name, which items pass it [I]) over a catalogue."""
    names: list[str] = []
    stopped_I = np.zeros(items, np.int16)
    for name, passes_I in rules:
        names.append(name)
        stopped_I[(stopped_I == 0) & ~passes_I] = len(names)
    return Screen(tuple(names), stopped_I)
