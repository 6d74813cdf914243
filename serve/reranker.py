"""Reranker: in which order, and why. Task heads, calibration, value, diversity, reasons."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
from ray import serve

from motet.errors import RequestError
from motet.recommend import Query, Whereabouts, explain_ranking
from motet.recommend import Reranker as Step
from motet.recommend.reranker import Asked
from motet.recommend.trace import Ranked
from motet.retrieval.state import Candidates, UserState
from serve.held import Held, Holder, SameRelease, each_by_its_release, unpacked
from serve.item_log import LogPlace, open_item_log


@serve.deployment(name="Reranker")
class Reranker(Holder[Step]):
    """Holds the task heads of releases.

    Args:
        folder: the release to begin with.
        watched: the current release may change.
        items: where its item log lies; None reads none.
    """

    def __init__(self, folder: str, watched: bool = False, items: LogPlace | None = None) -> None:
        self.held = Held(lambda release: _make(release, items), Path(folder), watched)
        self.same = SameRelease("reranker")

    async def run(
        self, release: str, user: UserState, candidates: Candidates, query: Query, trace: bool = False
    ) -> Ranked:
        """Return the items to show, and if wished how they were chosen.

        Raises:
            RequestError: if the release cannot answer the query.
        """
        self.same.require(release, user, candidates)
        answer = await self._together((release, (user, candidates, query, trace)))
        return replace(unpacked(answer), release=release)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def _together(self, asked: list[tuple[str, Asked]]) -> list[tuple[Ranked | RequestError]]:
        await self.held.ready({release for release, _ in asked})
        return each_by_its_release(asked, lambda name, own: self.held.of(name).answers(own))

    async def explain(
        self, release: str, user: UserState, candidates: Candidates, query: Query, item: str
    ) -> Whereabouts:
        """Return where a candidate stands."""
        self.same.require(release, user, candidates)
        return await asyncio.to_thread(lambda: explain_ranking(self.held.of(release), user, candidates, query, item))

    def check_health(self) -> None:
        """Score the first item for someone without a history, and read the item log."""
        step = self.held.oldest
        step.catch_up()
        nobody = np.zeros(step.items.vectors_ID.shape[1], np.float32)
        none = np.zeros(0, np.int64)
        state = UserState(nobody, np.zeros(0, np.float32), none, none, "popular", raw_D=nobody)
        step.raw_scores(state, np.zeros(1, np.int64))


def _make(folder: Path, items: LogPlace | None) -> Step:
    step = Step(folder, threads=1)
    if (store := open_item_log(items)) is not None:
        step.follow_items(store)
    return step
