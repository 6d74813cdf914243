"""Gateway: the HTTP ingress. It validates, chains Embedder -> Retriever -> Reranker, and shapes the answer.

Whatever headers a client sends, an answer comes within `serve.deadline_ms`: of all steps, or of fewer (`serve.ladder`).
"""

import asyncio
import uuid
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import Path as InPath
from fastapi import Query as InQuery
from fastapi.responses import JSONResponse
from ray import serve
from ray.serve.handle import DeploymentHandle

from motet.errors import RequestError
from motet.guard_settings import LimitSettings
from motet.privacy.watch import Watch
from motet.recommend import Query, read_recipe
from motet.release.keys import Keys
from serve.admin import FIXED, Admin
from serve.answer_log import AnswerLog
from serve.answers import to_about, to_query, to_response
from serve.calls import Deadline, RetryBudget, Step, StepFailed
from serve.door import Guard
from serve.event_log import UNAVAILABLE, Recorder
from serve.event_schemas import EventsBody, EventsResponse
from serve.follower import Follower
from serve.front import Front
from serve.gate import Gate
from serve.held import Held
from serve.item_log import LogPlace
from serve.item_schemas import (
    AttributesResponse,
    ItemRemoved,
    ItemsAdded,
    ItemsQuery,
    ItemsResponse,
    NewItemsBody,
    Range,
)
from serve.item_writer import ItemWriter
from serve.ladder import Ladder
from serve.meters import Meters
from serve.places import workspace_of
from serve.schemas import (
    MOST_ITEMS,
    Health,
    Id,
    Name,
    RecommendRequest,
    RecommendResponse,
    ReleaseResponse,
    SimilarItem,
    SimilarResponse,
    SurfaceRequest,
    SurfaceResponse,
)
from serve.trace_schemas import ExplainResponse
from serve.web import BUSY, NOT_FOUND, REFUSED, make_app, refuse

app = make_app()
_WARM_UP_S, _PING_S = 60.0, 1.0
_FOR_STEPS = 0.9
"""Share of the deadline that the steps have; the rest is for shaping the answer."""


@serve.deployment(name="Gateway")
@serve.ingress(app)
class Gateway:
    """The endpoint.

    Args:
        folder: the release to begin with.
        watched: the current release may change.
        embedder: handle of the Embedder.
        retriever: handle of the Retriever.
        reranker: handle of the Reranker.
        events: handle of the EventLog; None records no events and takes no items.
        conductor: handle of the Conductor; None stays with one release.
        records: where answers are logged, as `place_of_records` says; None logs none.
        items: where the item log lies; None reads none.
        log: where events go and the recipe's name, as `open_log` takes them; None reads none.
        guarded: who may ask and how often, as `serve.places.guard_of` says; None is the recipe's.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        folder: str,
        watched: bool,
        embedder: DeploymentHandle,
        retriever: DeploymentHandle,
        reranker: DeploymentHandle,
        events: DeploymentHandle | None = None,
        conductor: DeploymentHandle | None = None,
        records: dict[str, Any] | None = None,
        items: LogPlace | None = None,
        log: LogPlace | None = None,
        guarded: tuple[str, dict[str, Any]] | None = None,
    ) -> None:
        recipe = read_recipe(Path(folder))
        self.watch = Watch(workspace_of(Path(folder)), recipe.privacy.pseudonymise)
        fronts = Held(lambda release: Front(release, self.watch, items, log), Path(folder), watched)
        self.meters, settings = Meters(), recipe.serve
        self.gate, self.seconds = Gate(settings.gateway.max_queued, self.meters), settings.deadline_ms / 1000
        handles = {"embedder": embedder, "retriever": retriever, "reranker": reranker}
        self.embedder, self.retriever, self.reranker = (
            Step(name, handle, RetryBudget(settings.retry_share), self.meters) for name, handle in handles.items()
        )
        self.ladder = Ladder(self.embedder, self.retriever, self.reranker, self.meters)
        self.recorder = Recorder(events, recipe, self.watch)
        required, limits = guarded or (settings.keys, settings.limits.model_dump())
        keys = None if conductor is None else Keys(Path(folder).parent.parent)
        self.guard = Guard(keys, required == "required", LimitSettings.model_validate(limits), self.meters)
        self.follower, self.admin = Follower(conductor, fronts), Admin(conductor)
        self.answer_log = AnswerLog(records or {"store": "none"}, self.meters, self.watch)
        self.item_writer = ItemWriter(events, self.embedder, self.follower, settings.gateway.max_queued)
        self._following = asyncio.create_task(self.follower.keep_up())
        await self._warm_up()

    def __del__(self) -> None:
        """Write the records that wait; Serve calls this when it ends a replica."""
        if (log := getattr(self, "answer_log", None)) is not None:
            log.close()

    async def _warm_up(self) -> None:
        """Ask the steps until they all answer in time, for a minute at most: first calls are slow."""
        limit, front = Deadline(_WARM_UP_S), self.follower.front
        for query in (Query(), Query(user=next(iter(front.examples), None)), Query(text="anything")):
            level = ""
            while level != "full" and limit.left > 0:
                await self.ladder.climb(front, query, Deadline(max(self.seconds, limit.left / 4)))
                level = (await self.ladder.climb(front, query, self.deadline())).level

    def deadline(self) -> Deadline:
        """Return the moment by which the steps must have answered."""
        return Deadline(self.seconds * _FOR_STEPS)

    def _user(self, asked: str | None) -> str | None:
        """Return the name by which one who asks is stored; who was forgotten is nobody in particular.

        Raises:
            NotTheirs: if the key may not name them.
            TooOften: if they must wait.
        """
        if asked is None:
            return None
        self.guard.require_theirs([asked])
        privacy = self.watch.now
        name = privacy.stored(asked)
        self.guard.admit({name: 1})
        return None if privacy.forgets(name) else name

    @app.post("/v1/recommend", responses=REFUSED | BUSY)
    async def recommend(
        self,
        request: RecommendRequest,
        trace: Annotated[bool, InQuery(description="Say how the list came about.")] = False,
    ) -> RecommendResponse:
        """Recommend items with task scores, sources and reasons."""
        user = self._user(request.user_id)
        name, deadline, front = uuid.uuid4().hex, self.deadline(), self.follower.front_for(user)
        query = front.weighed(replace(to_query(request), user=user), self.follower.state.surfaces)
        query = replace(query, request=name, recorded=self.answer_log.wants(name))
        with self.gate.enter(), self.follower.counts_failure(front):
            answer = await self.ladder.climb(front, query, deadline, trace)
        self.meters.answer(answer.level, front.release, deadline.passed, answer.shortfall is not None)
        self.follower.count(front, deadline.passed, answer.level == "full")
        self.answer_log.put(answer, query, front)
        return to_response(answer, name, front.release, front.surface(query), trace)

    @app.get("/v1/explain", responses=REFUSED | BUSY)
    async def explain(
        self,
        item: Annotated[Id, InQuery(description="The item's id.")],
        user_id: Annotated[Id | None, InQuery(description="Who asks; anyone if not given.")] = None,
        surface: Annotated[Name | None, InQuery(description="Where; the recipe's first surface by default.")] = None,
        k: Annotated[int, InQuery(ge=1, le=MOST_ITEMS, description="Length of the list.")] = 10,
    ) -> ExplainResponse:
        """Say what keeps an item out of a user's list: the stage, and the rule or the rank."""
        user = self._user(user_id)
        deadline, front = self.deadline(), self.follower.front_for(user)
        query = front.weighed(Query(user=user, surface=surface, k=k), self.follower.state.surfaces)
        with self.gate.enter():
            found = await self.ladder.explain(front, query, item, deadline)
        return ExplainResponse(release=front.release, item=item, **asdict(found))

    @app.post("/v1/events", responses=REFUSED | NOT_FOUND | BUSY | UNAVAILABLE, response_model=EventsResponse)
    async def record(self, events: EventsBody) -> Any:
        """Record one event, or a list of at most 500; they are durable when this answers, and known to the next one."""
        asked = events if isinstance(events, list) else [events]
        self.guard.require_theirs(one.user_id for one in asked)
        self.guard.admit(Counter(map(self.watch.now.stored, (one.user_id for one in asked))))
        return await self.recorder.record(asked)

    @app.get("/v1/items", responses=REFUSED | BUSY)
    async def items(self, asked: Annotated[ItemsQuery, InQuery()]) -> ItemsResponse:
        """Return items by part of a title, by ids, or those that most people met."""
        front = self.follower.front
        with self.gate.enter():
            found = await asyncio.to_thread(front.shelf.find, asked)
        return ItemsResponse(release=front.release, items=found)

    @app.post("/v1/items", responses=REFUSED | NOT_FOUND | BUSY | UNAVAILABLE, response_model=ItemsAdded)
    async def add_items(self, items: NewItemsBody) -> Any:
        """Add one item, or a list of at most 100, or replace those with the same ids; the next answer knows them."""
        return await self.item_writer.add(items)

    @app.delete("/v1/items/{item}", responses=REFUSED | NOT_FOUND | BUSY | UNAVAILABLE, response_model=ItemRemoved)
    async def remove_item(self, item: Annotated[Id, InPath(description="The item's id.")]) -> Any:
        """Remove an item from all answers, whether the release has it or it came since."""
        return await self.item_writer.remove(item)

    @app.get("/v1/attributes", responses=BUSY)
    async def attributes(self) -> AttributesResponse:
        """Say what filters may name: the values of each category, the range of each number."""
        front = self.follower.front
        with self.gate.enter():
            known = await asyncio.to_thread(front.shelf.attributes)
        ranges = {name: Range(low=low, high=high) for name, (low, high) in known.numbers.items()}
        return AttributesResponse(release=front.release, categories=known.categories, numbers=ranges)

    @app.get("/v1/items/{item}/similar", responses=REFUSED | NOT_FOUND | BUSY, response_model=SimilarResponse)
    async def similar(
        self,
        item: Annotated[Id, InPath(description="The item's id.")],
        k: Annotated[int, InQuery(ge=1, le=MOST_ITEMS, description="How many items.")] = 10,
    ) -> Any:
        """Return the items nearest to one."""
        release = self.follower.front.release
        try:
            with self.gate.enter():
                found = await self.retriever.call("similar", release, item, k, deadline=self.deadline())
        except RequestError as error:
            return refuse(str(error), where="path", status=404)
        near = [SimilarItem(id=other, title=title, cosine=round(cosine, 6)) for other, title, cosine in found]
        return SimilarResponse(release=release, item=item, items=near)

    @app.get("/v1/release")
    async def about(self) -> ReleaseResponse:
        """Say what is being served, what it reached offline, and what is tried out beside it."""
        about = to_about(self.follower.front, self.follower.state)
        return about.model_copy(update={"example_users": list(filter(self.guard.may_name, about.example_users))})

    @app.patch("/v1/surfaces/{surface}", responses=REFUSED | NOT_FOUND | FIXED, response_model=SurfaceResponse)
    async def change_surface(
        self,
        surface: Annotated[Name, InPath(description="The surface.")],
        request: SurfaceRequest,
    ) -> Any:
        """Change what counts on a surface, for all who ask from now on and after a restart."""
        return await self.admin.change_surface(self.follower, surface, request.weights)

    @app.get("/healthz", responses={503: {"model": Health}}, response_model=Health)
    async def healthz(self) -> Any:
        """Answer 200 if every step of the graph answers."""
        try:
            for step in (self.embedder, self.retriever, self.reranker):
                await step.call("ping", deadline=Deadline(_PING_S))
        except StepFailed:
            return JSONResponse({"status": "a step does not answer", "release": self.follower.front.release}, 503)
        return Health(status="ok", release=self.follower.front.release)
