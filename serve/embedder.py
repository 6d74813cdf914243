"""Embedder: who is asking. The user tower, and the language model for requests with a text."""

import asyncio
from pathlib import Path

from ray import serve

from motet.recommend import Embedder as Step
from motet.recommend import Query
from motet.retrieval.state import UserState


@serve.deployment(name="Embedder")
class Embedder:
    """Holds the user side of a release.

    Args:
        folder: the release.
    """

    def __init__(self, folder: str) -> None:
        self.step = Step(Path(folder), threads=1)
        self.step.require_encoder()

    async def run(self, query: Query) -> UserState:
        """Return the state of the user who asks."""
        return (await asyncio.to_thread(self.step.run, [query]))[0]

    def ping(self) -> bool:
        """Answer."""
        return True

    def check_health(self) -> None:
        """Run the tower on a stranger."""
        self.step.run([Query()])
