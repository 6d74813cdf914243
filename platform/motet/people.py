"""The users of a release: attributes, text vectors, histories; and people who are not in it.

users.parquet   user, slots, numbers, text and profile (float32 lists), items, timestamps, liking, label:<task>,
                signal:<name>
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from motet.data.features import FeatureSpec
from motet.data.parquet import read_parquet
from motet.encoders.whitening import Whitening
from motet.estimates import Later
from motet.model.items import pad_slots
from motet.retrieval.state import Level
from motet.storage import read_json
from motet.training.windows import LIKING_UNKNOWN, gaps_of


@dataclass(frozen=True)
class Person:
    """One who asks."""

    items_S: np.ndarray
    liking_S: np.ndarray
    timestamps_S: np.ndarray
    text_X: np.ndarray
    slots: tuple[int, ...]
    numbers_M: np.ndarray
    level: Level
    query_X: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """Vector of the text that the request asks for."""
    profile_W: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """Stored profile over item contents; empty if it must be computed from the history."""
    labels_ST: np.ndarray | None = None
    """Labels of the events by scored task, then their signals, NaN for unknown; None if all are."""
    asked_ms: int | None = None
    """When they ask; None is unknown."""
    known_to: str | None = None
    """Position in the event log up to which their events are known; None if it was not looked at."""
    later: Later | None = None
    """Events after the moment of asking that are known all the same, in an evaluation."""
    older_S: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Places of items that they met in events that are not among these."""

    def with_history(self, places_S: np.ndarray, level: Level, liking_S: np.ndarray | None = None) -> "Person":
        """Return this person with another history; events count as of the same moment and of unknown liking."""
        unknown_S = np.full(len(places_S), LIKING_UNKNOWN, np.int8) if liking_S is None else liking_S
        moments_S = np.zeros(len(places_S), np.int64)
        return replace(
            self, items_S=places_S, liking_S=unknown_S, timestamps_S=moments_S, level=level, profile_W=_none(),
            labels_ST=None, asked_ms=None, known_to=None, later=None, older_S=np.zeros(0, np.int64),
        )  # fmt: skip

    def gaps(self) -> np.ndarray:
        """Return the seconds before each event, and from the last one until they ask; NaN is unknown."""
        count = len(self.items_S)
        if self.asked_ms is None or count == 0:
            return np.full(count + 1, np.nan, np.float32)
        return gaps_of(np.append(self.timestamps_S, self.asked_ms))

    def with_text(self, query_X: np.ndarray) -> "Person":
        """Return this person with the vector of a text as what they ask for."""
        return replace(self, query_X=query_X, level="text")


def _none() -> np.ndarray:
    return np.zeros(0, np.float32)


def stack_labels(columns: Sequence[Sequence[float | None] | np.ndarray], events: int) -> np.ndarray:
    """Return lists of labels by task, and of signals, as [S, T], float32 with NaN for unknown."""
    stacked_TS = np.array(columns, np.float32).reshape(len(columns), events)
    return np.ascontiguousarray(stacked_TS.T)


@dataclass(frozen=True)
class People:
    """The user table and what an unknown person looks like."""

    table: pa.Table
    spec: FeatureSpec
    whitening: Whitening

    @classmethod
    def load(cls, folder: Path) -> "People":
        """Read users.parquet, features.json and the whitening of a bundle."""
        spec = FeatureSpec.model_validate(read_json(folder / "features.json")["users"])
        return cls(read_parquet(folder / "users.parquet"), spec, Whitening.load(folder / "whitening.safetensors"))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row by user id."""
        return {user: row for row, user in enumerate(self.table.column("user").to_pylist())}

    @cached_property
    def read(self) -> tuple[str, ...]:
        """The stored columns that the user tower reads of each event: labels of scored tasks, then signals."""
        names = self.table.column_names
        return tuple(name for kind in ("label:", "signal:") for name in names if name.startswith(kind))

    @cached_property
    def latest_ms(self) -> int | None:
        """The last known moment of the log, at which stored users count as asking."""
        moments_N = self.table.column("timestamps").combine_chunks().flatten()
        return int(moments_N.to_numpy().max()) if len(moments_N) else None

    def without(self, forgets: Callable[[str], bool]) -> "People":
        """Return the table without some users."""
        kept = [not forgets(user) for user in self.table.column("user").to_pylist()]
        return self if all(kept) else replace(self, table=self.table.filter(pa.array(kept, pa.bool_())))

    @property
    def text_dim(self) -> int:
        """Width of text vectors."""
        return len(self.whitening.mean_D)

    @cached_property
    def stranger(self) -> Person:
        """Someone of whom nothing is known: the features of missing values, no text, no event."""
        features = self.spec.apply(pa.table({"user": [""]}))
        return Person(
            items_S=np.zeros(0, np.int64),
            liking_S=np.zeros(0, np.int8),
            timestamps_S=np.zeros(0, np.int64),
            text_X=np.zeros(self.text_dim, np.float32),
            slots=tuple(features.column("slots")[0].as_py()),
            numbers_M=np.array(features.column("numbers")[0].as_py(), np.float32),
            level="popular",
        )

    def find(self, user: str | None) -> Person:
        """Return what is stored of a user, or the stranger."""
        row = self.rows.get(user) if user is not None else None
        if row is None:
            return self.stranger

        def stored(name: str, kind: type[np.generic]) -> np.ndarray:
            values = self.table.column(name)[row].values
            return np.asarray(values.to_numpy(zero_copy_only=False), kind)

        items_S = stored("items", np.int64)
        return Person(
            items_S=items_S,
            liking_S=stored("liking", np.int8),
            timestamps_S=stored("timestamps", np.int64),
            text_X=stored("text", np.float32),
            slots=tuple(stored("slots", np.int64).tolist()),
            numbers_M=stored("numbers", np.float32),
            level="known" if len(items_S) else "attributes",
            profile_W=stored("profile", np.float32),
            labels_ST=stack_labels([stored(name, np.float32) for name in self.read], len(items_S)),
            asked_ms=self.latest_ms,
        )

    def inputs(self, people: Sequence[Person], history: int) -> dict[str, np.ndarray]:
        """Return the user tower's inputs for B people: text, slots, numbers, items, labels, gaps, away, valid."""
        count = len(people)
        items_BS = np.zeros((count, history), np.int64)
        labels_BST = np.full((count, history, len(self.read)), np.nan, np.float32)
        gaps_BS = np.full((count, history), np.nan, np.float32)
        away_BP = np.full((count, history + 1), np.nan, np.float32)
        valid_BS = np.zeros((count, history), bool)
        for row, person in enumerate(people):
            length = min(history, len(person.items_S))
            if length:
                items_BS[row, -length:] = person.items_S[-length:]
                if person.labels_ST is not None:
                    labels_BST[row, -length:] = person.labels_ST[-length:]
                gaps_N = person.gaps()
                gaps_BS[row, -length:], away_BP[row, -1] = gaps_N[-length - 1 : -1], gaps_N[-1]
                valid_BS[row, -length:] = True
        numbers_BM = np.stack([person.numbers_M for person in people]).astype(np.float32)
        if numbers_BM.shape[1] == 0:
            numbers_BM = np.zeros((count, 1), np.float32)
        return {
            "text": np.stack([person.text_X for person in people]).astype(np.float32),
            "slots": pad_slots([list(person.slots) for person in people]),
            "numbers": numbers_BM,
            "items": items_BS,
            "labels": labels_BST,
            "gaps": gaps_BS,
            "away": away_BP,
            "valid": valid_BS,
        }
