"""Why an item is recommended: the event of the user's past that speaks most for it, and by what measure.

If item-based collaborative filtering found the item, the event with the largest neighbour weight; else the event
with the largest cosine between item vectors. Liked events are preferred; disliked ones never speak for anything.
A text that was asked for is the reason for what it found. Without an event that speaks for anything the reason names
a source that listed the item: the vectors, popularity, else other people.
"""

from dataclasses import dataclass

import numpy as np

from motet.retrieval.rows import Rows
from motet.retrieval.sources import NeighbourSource
from motet.retrieval.state import UserState

_WITHOUT_HISTORY = {
    "profile": "matches what you asked for",
    "vectors": "chosen by people like you",
    "popularity": "popular now",
    "popularity_all": "popular",
    "popularity_segment": "chosen by people like you",
    "ease": "chosen by people like you",
    "als": "chosen by people like you",
    "again": "you chose it before",
    "user_knn": "chosen by people like you",
    "item_knn": "chosen by people like you",
    "transitions": "chosen by people like you",
    "fill": "popular now",
}


@dataclass(frozen=True)
class Reason:
    """A sentence, the measure behind it, and the event it speaks of, if any."""

    text: str
    by: str
    item: str | None = None


def explain(
    place: int,
    found_by: list[str],
    user: UserState,
    unit_ID: Rows | np.ndarray,
    item_knn: NeighbourSource | None,
    ids: list[str],
    titles: list[str],
) -> Reason:
    """Return the reason for one item."""
    if user.level == "text" and "profile" in found_by:
        return Reason(_WITHOUT_HISTORY["profile"], "profile")
    usable = np.flatnonzero(user.liking_S != 0)
    if len(usable) == 0:
        name = next((source for source in _WITHOUT_HISTORY if source in found_by), "popularity")
        if name == "profile" and user.level != "text":
            name = "vectors"
        return Reason(_WITHOUT_HISTORY[name], name)
    liked = usable[user.liking_S[usable] == 1]
    events = user.items_S[liked if len(liked) else usable]
    by, weights = "item_knn", np.zeros(0)
    if item_knn is not None and "item_knn" in found_by:
        weights = item_knn.weights(events, place)
    if not weights.any():
        by, weights = "cosine", unit_ID[events] @ unit_ID[place]
    best = int(events[len(events) - 1 - int(np.argmax(weights[::-1]))])
    verb = "liked" if len(liked) else "chose"
    return Reason(f"because you {verb} {titles[best]}", by, ids[best])
