"""What the steps pass to one another: the user's state and the candidates."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from motet.estimates import Later

Level = Literal["known", "history", "text", "attributes", "popular"]


@dataclass(frozen=True)
class UserState:
    """A user as the Embedder leaves them."""

    vector_D: np.ndarray
    """Unit vector of the user tower."""
    content_W: np.ndarray
    """Unit vector of the profile or of the request's text; zeros if there is neither."""
    items_S: np.ndarray
    """Places of the user's events, oldest first."""
    liking_S: np.ndarray
    """0 disliked, 1 liked, 2 unknown."""
    level: Level
    """How the user was recognised: by a stored or given history, a text, attributes, or not at all."""
    raw_D: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """The user tower's output before it is cut to unit length; the task heads read it."""

    asked_ms: int | None = None
    """When they ask; None is the end of the log."""
    first_ms: int | None = None
    """Their first event."""
    last_ms: int | None = None
    """Their latest event."""
    moments_S: np.ndarray | None = None
    """When each of the events was, in milliseconds; None if that is unknown."""
    slots: tuple[int, ...] = ()
    """Their categories."""
    labels_ST: np.ndarray | None = None
    """Labels of the events by scored task, then their signals, NaN for unknown; None if all are."""
    release: str = ""
    """The release whose places and vectors these are, where several are served side by side."""
    known_to: str | None = None
    """Position in the event log up to which their events are known; None if it was not looked at."""
    later: Later | None = None
    """Events after the moment of asking that are known all the same, in an evaluation."""
    older_S: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Places of items that they met in events that are not among these."""

    def within(self, items: int) -> "UserState":
        """Return this state with those events only whose items are among the first `items` places."""
        kept_S, older_S = self.items_S < items, self.older_S[self.older_S < items]
        if kept_S.all() and len(older_S) == len(self.older_S):
            return self
        labels_ST = None if self.labels_ST is None else self.labels_ST[kept_S]
        moments_S = None if self.moments_S is None else self.moments_S[kept_S]
        items_S, liking_S = self.items_S[kept_S], self.liking_S[kept_S]
        return replace(
            self, items_S=items_S, liking_S=liking_S, labels_ST=labels_ST, moments_S=moments_S, older_S=older_S
        )

    @property
    def seen_S(self) -> np.ndarray:
        """Places of all items that they met; one may be there twice."""
        return np.append(self.items_S, self.older_S)

    @property
    def has_history(self) -> bool:
        """Whether there is any event to go by."""
        return len(self.items_S) > 0


@dataclass(frozen=True)
class Stages:
    """What became of the catalogue on the way to the candidates."""

    items: int
    """Size of the catalogue."""
    allowed: int
    """Items that pass all filters."""
    removed: dict[str, int]
    """Items that each rule was the first to stop."""
    listed: dict[str, int]
    """Items that each source listed."""
    found: int
    """Items that any source listed, or that filled the list up."""
    filled: int
    """Popular items that filled the list up because the sources' lists did not hold k."""


@dataclass(frozen=True)
class Candidates:
    """C items that the Retriever found, best first."""

    places_C: np.ndarray
    fused_C: np.ndarray
    """Log-probability of being the next item, among all candidates."""
    scores_CS: np.ndarray
    """Score of each source, NaN where the source did not list the item."""
    sources: tuple[str, ...]
    stages: Stages | None = None
    """What came before; None if it is not known."""
    release: str = ""
    """The release whose places these are, where several are served side by side."""
    items_to: str | None = None
    """Position in the item log up to which the catalogue is known; None if it is not looked at."""

    def found_by(self, row: int) -> list[str]:
        """Return the sources that listed the item in this row."""
        return [name for name, score in zip(self.sources, self.scores_CS[row], strict=True) if not np.isnan(score)]

    def source_scores(self, row: int) -> dict[str, float]:
        """Return the score of each source that listed the item in this row."""
        return {name: float(self.scores_CS[row, self.sources.index(name)]) for name in self.found_by(row)}

    def within(self, items: int) -> "Candidates":
        """Return those candidates only that are among the first `items` places."""
        kept_C = self.places_C < items
        return self if kept_C.all() else self.take(np.flatnonzero(kept_C))

    def take(self, rows: np.ndarray) -> "Candidates":
        """Return some rows."""
        return replace(self, places_C=self.places_C[rows], fused_C=self.fused_C[rows], scores_CS=self.scores_CS[rows])
