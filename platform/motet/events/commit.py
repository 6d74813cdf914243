"""Group commit: requests that wait at the same time share one append, and so one sync.

While one group is being synced the next one gathers. So a lone request waits for one sync, and many together take
hardly longer than one. `wait_ms` lets a group gather for longer before it is written.
"""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Generic, TypeVar

from motet.events.store import Store

T = TypeVar("T")
_Waiting = tuple[Sequence[T], "asyncio.Future[list[bool]]"]


class GroupCommit(Generic[T]):
    """Appends to a store for many tasks of one event loop.

    Args:
        store: appended to by one thread at a time.
        wait_ms: how long the first request of a group waits for others.
    """

    def __init__(self, store: Store[T], wait_ms: float = 0.0) -> None:
        self.store, self.wait_s = store, wait_ms / 1000
        self.groups = 0
        """Appends so far."""
        self._waiting: list[_Waiting[T]] = []
        self._task: asyncio.Task[None] | None = None

    async def append(self, entries: Sequence[T]) -> list[bool]:
        """Return, once they are durable, for each entry whether it is new.

        Raises:
            EventLogError: if they were not written; their group fails as one.
        """
        done: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await done

    async def _work(self) -> None:
        while self._waiting:
            if self.wait_s:
                await asyncio.sleep(self.wait_s)
            group, self._waiting = self._waiting, []
            await self._commit(group)

    async def _commit(self, group: list[_Waiting[T]]) -> None:
        self.groups += 1
        try:
            new = iter(await asyncio.to_thread(self.store.append, list(chain(*(entries for entries, _ in group)))))
        except Exception as error:
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        for entries, done in group:
            flags = [next(new) for _ in entries]
            if not done.done():  # who asked may have gone
                done.set_result(flags)
