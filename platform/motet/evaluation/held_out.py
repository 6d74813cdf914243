"""The users whose next events are known: their history up to then, and what came."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from motet.people import Person
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

    def person(self, stored: Person) -> Person:
        """Return the stored person with the history up to the held-out part."""
        known = stored.with_history(self.items_S, "known" if len(self.items_S) else "attributes", self.liking_S)
        return Person(**{**known.__dict__, "timestamps_S": self.timestamps_S})


def held_out(histories: pa.Table, part: int, liked: str | None) -> list[HeldOut]:
    """Return the users with events in a part; their history is everything in the parts before it.

    Args:
        histories: rows of `histories/`.
        part: VALIDATION or TEST of `motet.data.split`.
        liked: the label column that says whether an event was liked.
    """
    found = []
    columns = [name for name in histories.column_names if name.startswith("label:")]
    for row in histories.to_pylist():
        parts_S = np.array(row["parts"])
        before_S, now_S = parts_S < part, parts_S == part
        if not now_S.any():
            continue
        items_S = np.array(row["items"], np.int64)
        labels = {name.removeprefix("label:"): np.array(row[name], np.float32)[now_S] for name in columns}
        liking_S = (
            liking_of(np.array(row[liked], np.float32)) if liked else np.full(len(items_S), LIKING_UNKNOWN, np.int8)
        )
        moments_S = np.array(row["timestamps"], np.int64)
        found.append(
            HeldOut(
                row["user"],
                items_S[before_S],
                liking_S[before_S],
                moments_S[before_S],
                items_S[now_S],
                labels,
            )
        )
    return found
