"""The users whose next events are known: their history up to then, and what came."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from motet.estimates import Later
from motet.people import Person, stack_labels
from motet.recipe import Recipe
from motet.training.windows import LIKING_UNKNOWN, liking_of


@dataclass(frozen=True)
class HeldOut:
    """One user before the held-out part, and the events of that part."""

    user: str
    items_S: np.ndarray
    liking_S: np.ndarray
    timestamps_S: np.ndarray
    targets_N: np.ndarray
    labels: dict[str, np.ndarray]
    slates: dict[str, np.ndarray] = field(default_factory=dict)
    """Number of each target's slate by ranking task, -1 for none and for those that began in the history."""
    events_ST: np.ndarray | None = None
    """Labels of the history by scored task, then its signals."""
    asked_ms: int | None = None
    """The moment of asking."""
    warm: bool = True
    """Whether there is an event in the parts before; someone new may have a history all the same (rolling)."""
    moments_N: np.ndarray | None = None
    """When each target came, in milliseconds."""
    propensities_N: np.ndarray | None = None
    """Probability with which each target was shown, NaN for unknown; None if the log has none."""
    later: Later | None = None
    """Events after the held-out one that are known all the same."""

    def person(self, stored: Person) -> Person:
        """Return the stored person with the history up to the held-out part."""
        known = stored.with_history(self.items_S, "known" if len(self.items_S) else "attributes", self.liking_S)
        return replace(
            known, timestamps_S=self.timestamps_S, labels_ST=self.events_ST, asked_ms=self.asked_ms, later=self.later
        )


def held_out(
    histories: pa.Table,
    part: int,
    liked: str | None,
    known: str = "parts",
    asked_ms: int | None = None,
    least: int = 0,
) -> list[HeldOut]:
    """Return the users with events in a part, and what was known of them before.

    Args:
        histories: rows of `histories/`.
        part: VALIDATION or TEST of `motet.data.split`.
        liked: the label column that says whether an event was liked.
        known: `evaluate.history` of the recipe: parts (everything in the parts before), before (of these the events
            before each held-out one), around (as before, and the events after it are known to the estimates) or
            rolling (all events before each held-out one, but for later parts).
        asked_ms: the moment of asking; that of the first target if None.
        least: fewest events of a history (rolling).

    Returns:
        One entry per user, or one per held-out event for all but `parts`.
    """
    found = []
    columns = [name for name in histories.column_names if name.startswith("label:")]
    signals = [name for name in histories.column_names if name.startswith("signal:")]
    slates = [name for name in histories.column_names if name.startswith("slate:")]
    for row in histories.to_pylist():
        parts_S = np.array(row["parts"])
        held = np.flatnonzero(parts_S == part)
        arrays = _Row(row, columns, signals, slates, liked, bool((parts_S < part).any()))
        if known == "parts":
            if len(held):
                found.append(arrays.entry(np.flatnonzero(parts_S < part), held, asked_ms))
            continue
        usable_S = parts_S <= part if known == "rolling" else parts_S < part
        for place in held:
            before, after = np.flatnonzero(usable_S[:place]), place + np.flatnonzero(usable_S[place:])
            if known != "rolling" or len(before) >= least:
                entry = arrays.entry(before, np.array([place]), None)
                found.append(replace(entry, later=arrays.later(after)) if known == "around" else entry)
    return found


class _Row:
    """A user's history as arrays."""

    def __init__(
        self,
        row: dict[str, Any],
        columns: list[str],
        signals: list[str],
        slates: list[str],
        liked: str | None,
        warm: bool,
    ) -> None:
        self.user, self.warm = row["user"], warm
        self.items_S = np.array(row["items"], np.int64)
        self.moments_S = np.array(row["timestamps"], np.int64)
        count = len(self.items_S)
        unknown_S = np.full(count, LIKING_UNKNOWN, np.int8)
        self.liking_S = liking_of(np.array(row[liked], np.float32)) if liked else unknown_S
        self.labels = {name.removeprefix("label:"): np.array(row[name], np.float32) for name in columns}
        self.slates = {name.removeprefix("slate:"): np.array(row[name], np.int64) for name in slates}
        self.labels_ST = stack_labels([row[name] for name in (*columns, *signals)], count)
        known = row.get("propensities")
        self.propensities_S = None if known is None else np.array(known, np.float64)

    def later(self, after: np.ndarray) -> Later:
        """Return what is known of the places `after`."""
        return Later(self.items_S[after], self.labels_ST[after])

    def entry(self, before: np.ndarray, now: np.ndarray, asked_ms: int | None) -> HeldOut:
        """Return what was known at the places `before`, and what came at the places `now`."""
        slates = {
            name: np.where(np.isin(codes_S[now], codes_S[before]), -1, codes_S[now])
            for name, codes_S in self.slates.items()
        }
        return HeldOut(
            self.user,
            self.items_S[before],
            self.liking_S[before],
            self.moments_S[before],
            self.items_S[now],
            {name: labels_S[now] for name, labels_S in self.labels.items()},
            slates,
            self.labels_ST[before],
            int(self.moments_S[now][0]) if asked_ms is None else asked_ms,
            self.warm,
            self.moments_S[now],
            None if self.propensities_S is None else self.propensities_S[now],
        )


def target_rows(user: HeldOut, recipe: Recipe) -> np.ndarray:
    """Return which held-out events are targets: all, or the positives of `evaluate.target`; new items only."""
    wanted_N = np.ones(len(user.targets_N), bool)
    if recipe.evaluate.target is not None:
        wanted_N = user.labels[recipe.evaluate.target] == 1
    if recipe.excludes_seen:
        wanted_N &= ~np.isin(user.targets_N, user.items_S)
    return wanted_N
