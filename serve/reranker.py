"""Reranker: in which order, and why. Task heads, calibration, value, diversity, reasons."""

import asyncio
from pathlib import Path

import numpy as np
from ray import serve

from motet.recommend import Item, Query
from motet.recommend import Reranker as Step
from motet.retrieval.state import Candidates, UserState


@serve.deployment(name="Reranker")
class Reranker:
    """Holds the task heads of a release.

    Args:
        folder: the release.
    """

    def __init__(self, folder: str) -> None:
        self.step = Step(Path(folder), threads=1)

    async def run(self, user: UserState, candidates: Candidates, query: Query) -> list[Item]:
        """Return the items to show."""
        return await asyncio.to_thread(self.step.run, user, candidates, query)

    def ping(self) -> bool:
        """Answer."""
        return True

    def check_health(self) -> None:
        """Score the first item for someone without a history."""
        nobody = np.zeros(self.step.items.vectors_ID.shape[1], np.float32)
        none = np.zeros(0, np.int64)
        state = UserState(nobody, np.zeros(0, np.float32), none, none, "popular", raw_D=nobody)
        self.step.raw_scores(state, np.zeros(1, np.int64))
