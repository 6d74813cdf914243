"""Shard: one part of a release's indexes. The Retriever asks all parts and merges what they find."""

import asyncio
from pathlib import Path

import faiss
import numpy as np
from ray import serve
from ray.serve.handle import DeploymentHandle

from motet.errors import ReleaseError
from motet.recommend import read_recipe
from motet.retrieval.index import Scored, VectorIndex
from motet.retrieval.sharded import load_part
from serve.held import Held, Holder, Turns

Mask = tuple[np.ndarray, int] | None
"""Bits of a mask, packed, and how many there are; None for all."""


def pack(mask_I: np.ndarray | None) -> Mask:
    """Return a mask in an eighth of its bytes."""
    return None if mask_I is None else (np.packbits(mask_I), len(mask_I))


def unpack(mask: Mask) -> np.ndarray | None:
    """Return what `pack` was given."""
    return None if mask is None else np.unpackbits(mask[0], count=mask[1]).astype(bool)


@serve.deployment(name="Shard")
class Shard(Holder[dict[str, VectorIndex]]):
    """Holds one part of the indexes of releases.

    Args:
        folder: the release to begin with.
        watched: the current release may change.
        number: of the part.
        of: how many parts there are.
    """

    def __init__(self, folder: str, watched: bool, number: int, of: int) -> None:
        self.number, self.of, self.turns = number, of, Turns()
        self.held = Held(self._load, Path(folder), watched)

    def _load(self, folder: Path) -> dict[str, VectorIndex]:
        faiss.omp_set_num_threads(1)
        settings = read_recipe(folder).index
        if settings.shards != self.of:
            raise ReleaseError(
                f"{folder.name} has index.shards = {settings.shards}, and this endpoint was started with {self.of}; "
                "start it again to serve this release"
            )
        return load_part(folder, settings, self.number)

    async def search(self, release: str, index: str, query_D: np.ndarray, k: int, mask: Mask) -> Scored:
        """Return (places in the part, scores) of its k best items."""
        await self.held.ready([release])
        return await self.turns.do(lambda: self.held.of(release)[index].search(query_D, k, unpack(mask)))

    def check_health(self) -> None:
        """Search both indexes."""
        for one in self.held.oldest.values():
            one.search(np.ones(one.rows_ID[np.zeros(1, np.int64)].shape[1], np.float32), 1)


class Shards:
    """The Retriever's way to the parts, from a thread that waits for them.

    Args:
        handles: of the Shards, in the order of the parts.
        loop: of the replica.
        patience_s: how long they may take.
    """

    def __init__(
        self, handles: tuple[DeploymentHandle, ...], loop: asyncio.AbstractEventLoop, patience_s: float
    ) -> None:
        self.handles = [handle.options(_by_reference=False) for handle in handles]
        self.loop, self.patience_s = loop, patience_s

    def ask(self, release: str, index: str, query_D: np.ndarray, k: int, masks: list[Mask]) -> list[Scored]:
        """Ask all parts at once; not from the loop itself."""
        asked = asyncio.run_coroutine_threadsafe(self._ask(release, index, query_D, k, masks), self.loop)
        return asked.result(self.patience_s)

    async def _ask(self, release: str, index: str, query_D: np.ndarray, k: int, masks: list[Mask]) -> list[Scored]:
        calls = [
            handle.search.remote(release, index, query_D, k, mask)
            for handle, mask in zip(self.handles, masks, strict=True)
        ]
        return [await call for call in calls]
