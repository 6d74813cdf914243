"""Retriever: which items. FAISS, collaborative filtering, popularity, filters, fusion."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from ray import serve
from ray.serve.handle import DeploymentHandle

from motet.recommend import Query, Whereabouts, explain_retrieval, read_recipe
from motet.recommend import Retriever as Step
from motet.recommend.recall import Recall, RecallWatch
from motet.retrieval.index import Scored
from motet.retrieval.sharded import AskParts
from motet.retrieval.state import Candidates, UserState
from serve.held import Held, Holder, SameRelease, Turns
from serve.item_log import LogPlace, open_item_log
from serve.shard import Shards, pack


@serve.deployment(name="Retriever")
class Retriever(Holder["_Watched"]):
    """Holds the index and the sources of releases.

    Args:
        folder: the release to begin with.
        watched: the current release may change.
        items: where its item log lies; None reads none.
        shards: handles of the Shards, if they hold the indexes.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, folder: str, watched: bool = False, items: LogPlace | None = None, *shards: DeploymentHandle
    ) -> None:
        seconds = read_recipe(Path(folder)).serve.deadline_ms / 1000
        self.shards = Shards(shards, asyncio.get_running_loop(), seconds) if shards else None
        self.held = Held(lambda release: _Watched(release, items, self.shards), Path(folder), watched)
        self.same, self.turns = SameRelease("retriever"), Turns()

    async def run(self, release: str, user: UserState, query: Query) -> Candidates:
        """Return the fused candidates."""
        self.same.require(release, user)
        await self.held.ready([release])
        if self.shards is not None:  # whose answers a thread waits for
            return await asyncio.to_thread(self._run, release, user, query)
        return await self.turns.do(lambda: self._run(release, user, query))

    def _run(self, release: str, user: UserState, query: Query) -> Candidates:
        one = self.held.of(release)
        found = replace(one.step.run(user, query), release=release)
        one.watch.pass_by(one.step, user, query)
        return found

    async def explain(self, release: str, user: UserState, query: Query, item: str) -> Whereabouts | Candidates:
        """Return where an item was lost, or the candidates if it is among them."""
        self.same.require(release, user)
        found = await asyncio.to_thread(lambda: explain_retrieval(self.held.of(release).step, user, query, item))
        return found if isinstance(found, Whereabouts) else replace(found, release=release)

    async def similar(self, release: str, item: str, k: int) -> list[tuple[str, str, float]]:
        """Return (id, title, cosine) of the items nearest to one."""
        return await asyncio.to_thread(lambda: self.held.of(release).step.similar(item, k))

    async def recall(self, release: str) -> Recall:
        """Return what this replica found out of its searches over a release."""
        return (await asyncio.to_thread(self.held.of, release)).watch.recall

    def check_health(self) -> None:
        """Search for the first item's neighbours, and read the item log, so that a request never meets a long one.

        Shards are not asked: one that is ill says nothing of this replica's health.
        """
        step = self.held.oldest.step
        step.catch_up()
        if self.shards is None:
            step.near(0, 1)


class _Watched:
    """A Retriever of a release, and its recall."""

    def __init__(self, folder: Path, items: LogPlace | None, shards: Shards | None) -> None:
        ask = None if shards is None else partial(_asker, shards, folder.name)
        self.step = Step(folder, threads=1, ask=ask)
        if (store := open_item_log(items)) is not None:
            self.step.follow_items(store)
        self.watch = RecallWatch(self.step.recipe.serve.recall_share)


def _asker(shards: Shards, release: str, index: str) -> AskParts:
    """Return who asks the parts of a release's index."""

    def ask(query_D: np.ndarray, k: int, masks: Sequence[np.ndarray | None]) -> list[Scored]:
        return shards.ask(release, index, query_D, k, [pack(mask) for mask in masks])

    return ask
