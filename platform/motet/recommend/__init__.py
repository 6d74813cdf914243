"""The three steps of a recommendation, as the offline evaluation AND the Serve graph call them.

    query -> Embedder   who is asking: history, profile, user vector
          -> Retriever  which items: sources, filters, fusion
          -> Reranker   in which order and why: task scores, calibration, value, diversity, reasons

Each step loads its part of a bundle's folder and can stand in a process of its own.
"""

from pathlib import Path

from motet.events.store import Readable
from motet.itemlog.entry import ItemEntry
from motet.recommend.embedder import Embedder
from motet.recommend.explain import Whereabouts, explain_ranking, explain_retrieval
from motet.recommend.query import Item, Query, find_surface, read_recipe
from motet.recommend.reranker import Reranker
from motet.recommend.retriever import Retriever
from motet.retrieval.state import Candidates, UserState

__all__ = [
    "Embedder", "Item", "Query", "Recommender", "Reranker", "Retriever", "Whereabouts", "explain_ranking",
    "explain_retrieval", "find_surface", "read_recipe",
]  # fmt: skip


class Recommender:
    """The three steps in one process.

    Args:
        folder: a bundle.
        threads: torch threads; None leaves them.
        fitted: folder of sources that were fitted as of another moment; the bundle's own if None.
    """

    def __init__(self, folder: Path, threads: int | None = None, fitted: Path | None = None) -> None:
        self.embedder, self.retriever = Embedder(folder, threads), Retriever(folder, fitted)
        self.reranker = Reranker(folder, threads)

    def follow_items(self, store: Readable[ItemEntry]) -> None:
        """Know from now on the items that an item log adds, changes and removes."""
        self.embedder.follow_items(store)
        self.retriever.follow_items(store)
        self.reranker.follow_items(store)

    def catch_up(self) -> None:
        """Read what the followed logs have by now; answers do so by themselves."""
        for step in (self.embedder, self.retriever, self.reranker):
            step.catch_up()

    def recommend(self, query: Query) -> tuple[UserState, list[Item]]:
        """Answer one query."""
        user = self.embedder.run([query])[0]
        return user, self.reranker.run(user, self.retriever.run(user, query), query)

    def explain(self, query: Query, item: str) -> Whereabouts:
        """Say how far an item came on the way into a query's list."""
        user = self.embedder.run([query])[0]
        found = explain_retrieval(self.retriever, user, query, item)
        if not isinstance(found, Candidates):
            return found
        return explain_ranking(self.reranker, user, found, query, item)
