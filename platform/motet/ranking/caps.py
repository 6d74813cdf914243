"""Caps: at most so many items with one value of a category in a list, such as two of one brand."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence


class Caps:
    """What a list may still take, while it is filled.

    Args:
        most: most items of one value, by category.
        values: by category the values of each candidate, by row; a candidate with several counts for each of them.
    """

    def __init__(self, most: Mapping[str, int], values: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.most, self.values = dict(most), dict(values)
        self._taken: dict[str, Counter[str]] = {name: Counter() for name in self.most}
        self._hands: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self.stopped: dict[int, str] = {}
        """The rows that were refused, each with the category."""

    def admits(self, row: int) -> bool:
        """Return whether a candidate still fits; if not, remember it."""
        for name, most in self.most.items():
            taken = self._taken[name]
            if any(taken[value] >= most for value in set(self.values[name][row])):
                self.stopped[row] = name
                return False
        return True

    def reserve(self, row: int, hand: int) -> bool:
        """Return whether a candidate may be in a hand; then whichever one of each hand is taken, all of these fit."""
        wanted = [(name, value) for name in self.most for value in set(self.values[name][row])]
        for name, value in wanted:
            others = len(self._hands[name, value] - {hand})
            if self._taken[name][value] + others >= self.most[name]:
                return False
        for key in wanted:
            self._hands[key].add(hand)
        return True

    def take(self, row: int) -> None:
        """Count a candidate that was put into the list."""
        for name in self.most:
            self._taken[name].update(set(self.values[name][row]))

    def fill(self, rows: Iterable[int], wanted: int) -> list[int]:
        """Return the first rows that fit, one after the other, at most `wanted`."""
        chosen: list[int] = []
        for row in rows:
            if len(chosen) == wanted:
                break
            if self.admits(row):
                self.take(row)
                chosen.append(row)
        return chosen
