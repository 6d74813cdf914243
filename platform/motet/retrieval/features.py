"""What the fusion reads of each candidate: sources, crowd, contents, and the user, all as of the moment of asking.

<source>, <source> rank         its score and -log(1 + place) in its list; NaN where it has none
<trend>                         the columns of `trends`
since events, since liked       what others did with the item since the user's last visit (log)
new                             1 if the item appeared since then
item <number>, and distance     the item's number, and how far it is from the mean of the user's items
taste                           cosine between the item's attributes and liked minus disliked ones
user events, away, span, liking log of their events, log days since the last, days from first to last, share of liked
"""

from dataclasses import dataclass

import numpy as np

from motet.data.histories import DAY_MS
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.sources import scores_at
from motet.retrieval.state import UserState
from motet.retrieval.trends import Trends
from motet.training.windows import LIKING_UNKNOWN

_OF_USER = ("user events", "user away", "user span", "user liking")


@dataclass(frozen=True)
class Collected:
    """The union of the sources' lists for one user: places [C], scores [C, S] and ranks [C, S], NaN where none."""

    places_C: np.ndarray
    scores_CS: np.ndarray
    ranks_CS: np.ndarray

    def take(self, rows: np.ndarray) -> "Collected":
        """Return some rows."""
        return Collected(self.places_C[rows], self.scores_CS[rows], self.ranks_CS[rows])


class RankFeatures:
    """Turns collected candidates into rows of features.

    Args:
        sources: names, in the order of the columns of scores.
        items: the catalogue.
        trends: the crowd's counts.
    """

    def __init__(self, sources: tuple[str, ...], items: ItemTable, trends: Trends) -> None:
        self.sources, self.items, self.trends = sources, items, trends
        names = [name for name in items.table.column_names if name.startswith("num:")]
        self.numbers, self.numbers_IM = [name.removeprefix("num:") for name in names], items.numbers_IM

    @property
    def names(self) -> list[str]:
        """Names of the features, in order."""
        return [
            *self.sources, *(f"{name} rank" for name in self.sources), *Trends.names, "since events", "since liked",
            "new", *(f"item {name}" for name in self.numbers), *(f"item {name} distance" for name in self.numbers),
            "taste", *_OF_USER,
        ]  # fmt: skip

    def of(self, user: UserState, found: Collected) -> np.ndarray:
        """Return float32 [C, len(names)]."""
        places_C = found.places_C
        asked = self.trends.last_ms if user.asked_ms is None else user.asked_ms
        last = asked if user.last_ms is None else user.last_ms
        away_days = max(0.0, (asked - last) / DAY_MS)
        crowd_CF = self.trends.of(asked, places_C)
        age_C = crowd_CF[:, Trends.names.index("age")]
        numbers_CM = self.numbers_IM[places_C]
        columns = [
            found.scores_CS, -np.log1p(found.ranks_CS), crowd_CF, scores_at(self.trends.since(last, asked), places_C),
            (age_C < away_days)[:, None], numbers_CM, np.abs(numbers_CM - self._usual(user)),
            self._taste(user, places_C),
            np.broadcast_to(self._of_user(user, away_days), (len(places_C), len(_OF_USER))),
        ]  # fmt: skip
        return np.concatenate(columns, 1).astype(np.float32)

    def _usual(self, user: UserState) -> np.ndarray:
        """Return the mean of each number over the user's items [M], NaN where it is unknown."""
        numbers_SM = self.numbers_IM[user.items_S]
        known_M = (~np.isnan(numbers_SM)).sum(0)
        return np.where(known_M > 0, np.nansum(numbers_SM, 0) / np.maximum(known_M, 1), np.nan)

    def _taste(self, user: UserState, places_C: np.ndarray) -> np.ndarray:
        attributes_IW = self.items.attributes_IW
        says_S = np.where(user.liking_S == 1, 1.0, np.where(user.liking_S == 0, -1.0, 0.5)).astype(np.float32)
        taste_W = says_S @ attributes_IW[user.items_S]
        length = float(np.linalg.norm(taste_W))
        if length == 0:
            return np.full((len(places_C), 1), np.nan, np.float32)
        return np.asarray((attributes_IW[places_C] @ (taste_W / length))[:, None], np.float32)

    @staticmethod
    def _of_user(user: UserState, away_days: float) -> np.ndarray:
        known = user.liking_S[user.liking_S != LIKING_UNKNOWN]
        liking = float((known == 1).mean()) if len(known) else np.nan
        span = (user.last_ms - user.first_ms) / DAY_MS if user.last_ms is not None and user.first_ms is not None else 0
        return np.array([np.log1p(len(user.items_S)), np.log1p(away_days), span, liking], np.float32)
