"""The Gateway's part in adding, changing and removing items: POST /v1/items and DELETE /v1/items/{item}.

Gateway   columns of the recipe? -> the contract of files
-> Embedder.encode             the vector of the text, once for all who read it
-> EventLog.append_items       one sync a group; then it is acknowledged
"""

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fastapi.responses import JSONResponse
from ray.serve.handle import DeploymentHandle

from motet.errors import EventLogError, RequestError
from motet.itemlog.columns import to_columns
from motet.itemlog.entry import ItemEntry
from motet.itemlog.rows import problems, texts
from motet.recipe import Recipe
from serve.calls import Deadline, Step
from serve.event_log import PATIENCE_S, append_to
from serve.follower import Follower
from serve.gate import Busy
from serve.item_schemas import ItemRemoved, ItemsAdded, NewItem
from serve.web import refuse

_NO_LOG = "this endpoint takes no items (serve.events.store is none)"
_UNWRITTEN = "nothing is acknowledged; send it again: the same content counts once"
_log = logging.getLogger("ray.serve")


class ItemWriter:
    """Has items written.

    Args:
        log: handle of the EventLog; None takes none.
        embedder: encodes their texts.
        follower: knows what is served.
        most: requests that the Gateway takes; items may be a quarter of them.
    """

    def __init__(self, log: DeploymentHandle | None, embedder: Step, follower: Follower, most: int) -> None:
        self.log = None if log is None else log.options(_by_reference=False)
        self.embedder, self.follower = embedder, follower
        self.most, self.waiting = max(1, most // 4), 0

    async def add(self, asked: NewItem | Sequence[NewItem]) -> ItemsAdded | JSONResponse:
        """Return, once all items are durable, how many of them are new; or a refusal.

        Raises:
            RequestError: if an item is refused; then all are.
            Busy: if too many requests wait already.
            StepFailed: if the texts could not be encoded.
        """
        if self.log is None:
            return refuse(_NO_LOG, where="path", status=404)
        front = self.follower.front
        entries = to_entries([asked] if isinstance(asked, NewItem) else asked, front.recipe)
        with self._in_line():
            contents, limit = texts(entries, front.recipe), Deadline(PATIENCE_S)
            vectors = await self.embedder.call("encode", front.release, contents, deadline=limit)
            entries = [replace(entry, text=vector) for entry, vector in zip(entries, vectors, strict=True)]
            names = {entry.item for entry in entries}
            new = len(names) - len(await front.shelf.known(names))
            if (refused := await self._write(entries)) is not None:
                return refused
        return ItemsAdded(ids=[entry.item for entry in entries], added=new, replaced=len(names) - new)

    async def remove(self, item: str) -> ItemRemoved | JSONResponse:
        """Return, once it is durable, that an item is removed; or a refusal.

        Raises:
            Busy: if too many requests wait already.
        """
        if self.log is None:
            return refuse(_NO_LOG, where="path", status=404)
        if not await self.follower.front.shelf.known({item}):
            return refuse("item: not in the catalogue; it may have been removed already", where="path", status=404)
        with self._in_line():
            refused = await self._write([ItemEntry(uuid.uuid4().hex, item, _now_ms())])
        return ItemRemoved(id=item) if refused is None else refused

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        if self.waiting >= self.most:
            raise Busy
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def _write(self, entries: list[ItemEntry]) -> JSONResponse | None:
        assert self.log is not None
        try:
            await append_to(self.log.append_items, entries)
        except EventLogError as error:
            _log.warning("items were not acknowledged: %s", error)
            return refuse(_UNWRITTEN, kind="unavailable", status=503, wait_s=Busy.retry_after_s)
        return None


def to_entries(asked: Sequence[NewItem], recipe: Recipe) -> list[ItemEntry]:
    """Return the entries of a request, without the vectors of their texts.

    Raises:
        RequestError: for a column that the recipe does not have, or an item that breaks the contract of its files.
    """
    items, now_ms = recipe.data.items, _now_ms()
    columns: list[Any] = [to_columns(one.text, one.attributes, items) for one in asked]
    entries = [ItemEntry(uuid.uuid4().hex, one.id, now_ms, values) for one, values in zip(asked, columns, strict=True)]
    for number, problem in enumerate(problems(entries, recipe)):
        if problem is not None:
            hint = f"; its text is made of {list(items.text)}" if problem == "no text" else ""
            raise RequestError(f"item {number}: {problem}{hint}")
    return entries


def _now_ms() -> int:
    return round(time.time() * 1000)
