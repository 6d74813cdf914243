"""Retriever: which items. FAISS, collaborative filtering, popularity, filters, fusion."""

import asyncio
from pathlib import Path

from ray import serve

from motet.recommend import Query, Whereabouts, explain_retrieval
from motet.recommend import Retriever as Step
from motet.retrieval.state import Candidates, UserState
from serve.item_log import LogPlace, open_item_log


@serve.deployment(name="Retriever")
class Retriever:
    """Holds the index and the sources of a release.

    Args:
        folder: the release.
        items: where its item log lies; None reads none.
    """

    def __init__(self, folder: str, items: LogPlace | None = None) -> None:
        self.step = Step(Path(folder))
        if (store := open_item_log(items)) is not None:
            self.step.follow_items(store, threads=1)

    async def run(self, user: UserState, query: Query) -> Candidates:
        """Return the fused candidates."""
        return await asyncio.to_thread(self.step.run, user, query)

    async def explain(self, user: UserState, query: Query, item: str) -> Whereabouts | Candidates:
        """Return where an item was lost, or the candidates if it is among them."""
        return await asyncio.to_thread(explain_retrieval, self.step, user, query, item)

    async def similar(self, item: str, k: int) -> list[tuple[str, str, float]]:
        """Return (id, title, cosine) of the items nearest to one."""
        return await asyncio.to_thread(self.step.similar, item, k)

    def ping(self) -> bool:
        """Answer."""
        return True

    def check_health(self) -> None:
        """Search for the first item's neighbours, and read the item log, so that a request never meets a long one."""
        self.step.catch_up()
        self.step.near(0, 1)
