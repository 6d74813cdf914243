"""Embedder: who is asking. The user tower, and the language model for requests with a text."""

import asyncio
from pathlib import Path
from typing import Any

from ray import serve

from motet.itemlog.entry import TextVector
from motet.recommend import Embedder as Step
from motet.recommend import Query
from motet.retrieval.state import UserState
from serve.event_log import open_log
from serve.item_log import LogPlace, open_item_log


@serve.deployment(name="Embedder")
class Embedder:
    """Holds the user side of a release.

    Args:
        folder: the release.
        log: where its events go and the recipe's name, as `open_log` takes them; None reads no events.
        items: where its item log lies; None reads none.
    """

    def __init__(
        self, folder: str, log: tuple[dict[str, Any], str] | None = None, items: LogPlace | None = None
    ) -> None:
        self.step = Step(Path(folder), threads=1)
        self.step.require_encoder()
        if (item_store := open_item_log(items)) is not None:
            self.step.follow_items(item_store)
        store = open_log(*log) if log is not None else None
        if store is not None:
            self.step.follow(store)

    async def run(self, query: Query) -> UserState:
        """Return the state of the user who asks."""
        return (await asyncio.to_thread(self.step.run, [query]))[0]

    async def encode(self, texts: list[str]) -> list[TextVector]:
        """Return what the language model makes of texts of items."""
        return await asyncio.to_thread(self.step.encode, texts)

    def ping(self) -> bool:
        """Answer."""
        return True

    def check_health(self) -> None:
        """Run the tower on a stranger, and read the log, so that a request never meets a long one."""
        self.step.catch_up()
        self.step.run([Query()])
