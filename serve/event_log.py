"""EventLog: the one process that writes events, and what the Gateway does to have them written.

    Gateway --append--> EventLog (one replica) --one sync a group--> log <--read up to its end-- each Embedder

One replica, since a log of files has one writer, and since one writer lets all waiting requests share a sync. If it
dies, Serve starts another, which mends the log and goes on; the Gateway, which gave each event its id before it first
sent it, sends it again meanwhile, so it counts once. A second endpoint over the same log answers from it but cannot
write: its events get 503 until the first one ends.

Each Embedder reads the log up to its end before each answer (`motet.events.live`), so that its answer knows all that
was acknowledged, whichever Gateway and however many Embedders there are. A Gateway reads it twice a second, for answers
that it must give without the Embedder (`motet.recommend.met`).
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from motet.errors import EventLogError, ReleaseError, RequestError, user_mistake
from motet.event_settings import EventSettings
from motet.events.commit import GroupCommit
from motet.events.event import Event
from motet.events.sieve import Sieve
from motet.events.store import EventStore, open_store
from motet.itemlog.entry import ItemEntry
from motet.mirror import mirror_of
from motet.privacy.watch import Watch
from motet.recipe import Recipe
from serve.event_schemas import EventRequest, EventsResponse
from serve.gate import Busy
from serve.item_log import LogPlace, open_item_log
from serve.places import changed, folder_of_log
from serve.schemas import Problems
from serve.web import refuse

UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: {"model": Problems, "description": "The events are not acknowledged; send them again with their ids."}
}
PATIENCE_S = 10.0
"""How long the Gateway tries to have events written."""
_PAUSE_S = 0.2
_log = logging.getLogger("ray.serve")


def place_of_log(args: dict[str, Any], recipe: Recipe, release: Path) -> EventSettings:
    """Return where the events of a graph go: the recipe's `serve.events`, changed by `events` of the arguments.

    Raises:
        ReleaseError: for segments without a path beside a release that is in no workspace or in one on a store, or
            wrong arguments.
    """
    given, own = args.get("events", {}), recipe.serve.events.model_dump(exclude_unset=True)
    if given.get("store", recipe.serve.events.store) != recipe.serve.events.store:
        own = {"fsync_ms": recipe.serve.events.fsync_ms}
    settings = changed(EventSettings, own, given, "events")
    if settings.store != "segments":
        return settings
    if settings.path is None and mirror_of(release) is not None:
        raise ReleaseError(
            f"the workspace of {release.name} is on a store, where segments have nothing to be appended to; set "
            "serve.events.path to a folder, or store to redis, kafka or none, and publish again"
        )
    return settings.model_copy(update={"path": folder_of_log(settings.path, release, "events", "events")})


def open_log(settings: dict[str, Any], name: str, watch: Watch) -> EventStore | None:
    """Return the log that `place_of_log` found, as plain types, without those who were forgotten; None without one."""
    store = open_store(EventSettings.model_validate(settings), Path(), name)
    return None if store is None else Sieve(store, watch)


@serve.deployment(name="EventLog")
class EventLog:
    """The writer.

    Args:
        settings: from `place_of_log`, as plain types.
        name: the recipe's.
        items: from `item_log.place_of_items`.
        workspace: whose forgotten users' events are not written; None if there is none.
    """

    def __init__(self, settings: dict[str, Any], name: str, items: LogPlace, workspace: str | None = None) -> None:
        watch = Watch(Path(workspace) if workspace is not None else None)
        store, item_store = open_log(settings, name, watch), open_item_log(items)
        assert store is not None
        assert item_store is not None
        self.commit = GroupCommit(store, settings["fsync_ms"])
        self.items = GroupCommit(item_store, settings["fsync_ms"])
        try:
            store.open()
            item_store.open()
        except EventLogError as error:
            _log.warning("nothing can be written yet: %s", error)  # the next append tries again

    async def append(self, events: list[Event]) -> list[bool]:
        """Return, once they are durable, for each event whether it is new."""
        return await self.commit.append(events)

    async def append_items(self, entries: list[ItemEntry]) -> list[bool]:
        """Return, once they are durable, for each entry of the item log whether it is new."""
        return await self.items.append(entries)

    def ping(self) -> bool:
        """Answer."""
        return True


def to_events(asked: Sequence[EventRequest], future_seconds: int) -> list[Event]:
    """Return the events of a request, with an id and a time for those that have none.

    Raises:
        RequestError: if one lies in the future.
    """
    now_ms = round(time.time() * 1000)
    events = []
    for one in asked:
        moment_ms = now_ms if one.timestamp is None else round(one.timestamp * 1000)
        if moment_ms > now_ms + 1000 * future_seconds:
            raise RequestError(f"timestamp: more than {future_seconds} s in the future; give seconds since 1970")
        name = one.event_id or uuid.uuid4().hex
        events.append(Event(name, one.user_id, one.item_id, moment_ms, one.kind, one.value, one.request_id))
    return events


class Recorder:
    """The Gateway's part: it has events written and answers POST /v1/events.

    Args:
        log: handle of the EventLog; None records nothing.
        recipe: says how far a time may lie in the future, and how many requests the Gateway takes; events may be half
            of these, so that a writer that is down leaves room for recommendations.
        watch: says who was forgotten, and by which names users are stored.
    """

    def __init__(self, log: DeploymentHandle | None, recipe: Recipe, watch: Watch) -> None:
        self.watch = watch
        self.log = None if log is None else log.options(_by_reference=False)
        self.future_seconds = recipe.data.clean.future_seconds
        self.most, self.waiting = max(1, recipe.serve.gateway.max_queued // 2), 0

    async def record(self, asked: Sequence[EventRequest]) -> EventsResponse | JSONResponse:
        """Return the ids once all events are durable, or 503 if that cannot be said.

        Raises:
            RequestError: if an event is refused; then all are.
            Busy: if too many requests wait already.
        """
        if self.log is None:
            return refuse("this endpoint records no events (serve.events.store is none)", where="path", status=404)
        events = to_events(asked, self.future_seconds)
        privacy = self.watch.now
        events = [replace(event, user=privacy.stored(event.user)) for event in events]
        kept = [event for event in events if not privacy.forgets(event.user)]
        if self.waiting >= self.most:
            raise Busy
        self.waiting += 1
        try:
            recorded = sum(await append_to(self.log.append, kept)) if kept else 0
        except EventLogError as error:
            _log.warning("events were not acknowledged: %s", error)
            said = "the events are not acknowledged; send them again with the same event_id, so that they count once"
            return refuse(said, kind="unavailable", status=503, wait_s=Busy.retry_after_s)
        finally:
            self.waiting -= 1
        names = [event.event_id for event in events]
        gone = len(events) - len(kept)
        return EventsResponse(event_ids=names, recorded=recorded, repeated=len(kept) - recorded, forgotten=gone)


async def append_to(log: Any, entries: Sequence[Any]) -> list[bool]:
    """Have entries written, again if the writer dies meanwhile.

    Args:
        log: the method of the EventLog's handle.
        entries: what it takes.

    Raises:
        EventLogError: if they could not be, or nobody answered in time.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + PATIENCE_S
    while True:
        try:
            async with asyncio.timeout_at(end):
                new: list[bool] = await log.remote(entries)
                return new
        except TimeoutError as error:
            raise EventLogError(f"no answer of the EventLog within {PATIENCE_S:g} s") from error
        except (RayActorError, DeploymentUnavailableError) as error:
            if clock() + _PAUSE_S > end:
                raise EventLogError(f"the EventLog is down ({type(error).__name__})") from error
            await asyncio.sleep(_PAUSE_S)
        except BackPressureError as error:
            raise EventLogError("the EventLog has too many requests waiting") from error
        except Exception as error:
            if isinstance(mistake := user_mistake(error), EventLogError):
                raise EventLogError(str(mistake)) from error
            raise
