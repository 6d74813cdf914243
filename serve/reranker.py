"""Reranker: in which order, and why. Task heads, calibration, value, diversity, reasons."""

import asyncio
from pathlib import Path

import numpy as np
from ray import serve

from motet.recommend import Query, Whereabouts, explain_ranking
from motet.recommend import Reranker as Step
from motet.recommend.trace import Ranked
from motet.retrieval.state import Candidates, UserState
from serve.item_log import LogPlace, open_item_log


@serve.deployment(name="Reranker")
class Reranker:
    """Holds the task heads of a release.

    Args:
        folder: the release.
        items: where its item log lies; None reads none.
    """

    def __init__(self, folder: str, items: LogPlace | None = None) -> None:
        self.step = Step(Path(folder), threads=1)
        if (store := open_item_log(items)) is not None:
            self.step.follow_items(store)

    async def run(self, user: UserState, candidates: Candidates, query: Query, trace: bool = False) -> Ranked:
        """Return the items to show, and if wished how they were chosen."""
        return await asyncio.to_thread(self.step.rank, user, candidates, query, trace)

    async def explain(self, user: UserState, candidates: Candidates, query: Query, item: str) -> Whereabouts:
        """Return where a candidate stands."""
        return await asyncio.to_thread(explain_ranking, self.step, user, candidates, query, item)

    def ping(self) -> bool:
        """Answer."""
        return True

    def check_health(self) -> None:
        """Score the first item for someone without a history, and read the item log."""
        self.step.catch_up()
        nobody = np.zeros(self.step.items.vectors_ID.shape[1], np.float32)
        none = np.zeros(0, np.int64)
        state = UserState(nobody, np.zeros(0, np.float32), none, none, "popular", raw_D=nobody)
        self.step.raw_scores(state, np.zeros(1, np.int64))
