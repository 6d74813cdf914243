"""Embedder: who is asking. The user tower, and the language model for requests with a text."""

import asyncio
from dataclasses import replace
from pathlib import Path

from ray import serve

from motet.encoders.text import TextEncoder
from motet.errors import RequestError
from motet.itemlog.entry import TextVector
from motet.privacy.watch import Watch
from motet.recommend import Embedder as Step
from motet.recommend import Query
from motet.retrieval.state import UserState
from serve.event_log import open_log
from serve.held import Held, Holder, each_by_its_release, unpacked
from serve.item_log import LogPlace, open_item_log
from serve.places import workspace_of


@serve.deployment(name="Embedder")
class Embedder(Holder[Step]):
    """Holds the user side of releases; those of one language model share it.

    Args:
        folder: the release to begin with.
        watched: the current release may change.
        log: where its events go and the recipe's name, as `open_log` takes them; None reads no events.
        items: where its item log lies; None reads none.
    """

    def __init__(
        self,
        folder: str,
        watched: bool = False,
        log: LogPlace | None = None,
        items: LogPlace | None = None,
    ) -> None:
        self.log, self.items, self.encoders = log, items, dict[str, TextEncoder]()
        self.held = Held(self._make, Path(folder), watched)

    def _make(self, folder: Path) -> Step:
        step = Step(folder, threads=1, encoders=self.encoders)
        step.require_encoder()
        if (item_store := open_item_log(self.items)) is not None:
            step.follow_items(item_store)
        watch = Watch(workspace_of(folder))
        step.watch(watch)
        store = open_log(*self.log, watch) if self.log is not None else None
        if store is not None:
            step.follow(store)
        return step

    async def run(self, release: str, query: Query) -> UserState:
        """Return the state of the user who asks, as a release sees them.

        Raises:
            RequestError: if the release cannot answer the query.
        """
        return replace(unpacked(await self._together((release, query))), release=release)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def _together(self, asked: list[tuple[str, Query]]) -> list[tuple[UserState | RequestError]]:
        await self.held.ready({release for release, _ in asked})
        if any(query.text or query.attributes for _, query in asked):
            return await asyncio.to_thread(self._answers, asked)  # the language model may have to read something
        return self._answers(asked)

    def _answers(self, asked: list[tuple[str, Query]]) -> list[tuple[UserState | RequestError]]:
        return each_by_its_release(asked, lambda name, own: self.held.of(name).answers(own))

    async def encode(self, release: str, texts: list[str]) -> list[TextVector]:
        """Return what a release's language model makes of texts of items."""
        return await asyncio.to_thread(lambda: self.held.of(release).encode(texts))

    def check_health(self) -> None:
        """Run the tower on a stranger, and read the log, so that a request never meets a long one."""
        self.held.oldest.catch_up()
        self.held.oldest.run([Query()])
