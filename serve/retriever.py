"""Retriever: which items. FAISS, collaborative filtering, popularity, filters, fusion."""

import asyncio
from pathlib import Path

from ray import serve

from motet.recommend import Query, Whereabouts, explain_retrieval
from motet.recommend import Retriever as Step
from motet.retrieval.state import Candidates, UserState


@serve.deployment(name="Retriever")
class Retriever:
    """Holds the index and the sources of a release.

    Args:
        folder: the release.
    """

    def __init__(self, folder: str) -> None:
        self.step = Step(Path(folder))

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
        """Search for the first item's neighbours."""
        self.step.similar(self.step.items.ids[0], 1)
