"""Gateway: the HTTP ingress. It validates, chains Embedder -> Retriever -> Reranker, and shapes the answer.

Whatever headers a client sends, an answer comes within `serve.deadline_ms`: of all steps, or of fewer (`serve.ladder`).
"""

import asyncio
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import Path as InPath
from fastapi import Query as InQuery
from fastapi.responses import JSONResponse
from ray import serve
from ray.serve.handle import DeploymentHandle

from motet.errors import RequestError
from motet.recommend import Query, Whereabouts, find_surface, read_recipe
from motet.recommend.popular import Popular
from motet.release.bundle import read_report, release_id
from motet.release.golden import golden_users
from motet.storage import read_manifest
from serve.answers import to_query, to_response
from serve.calls import Deadline, RetryBudget, Step, StepFailed
from serve.event_log import UNAVAILABLE, Recorder
from serve.event_schemas import EventsBody, EventsResponse
from serve.gate import Gate
from serve.item_log import LogPlace, keep_up, open_item_log
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
)
from serve.shelf import Shelf
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
        folder: the release that the whole graph serves.
        embedder: handle of the Embedder.
        retriever: handle of the Retriever.
        reranker: handle of the Reranker.
        events: handle of the EventLog; None records no events and takes no items.
        items: where the item log lies; None reads none.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        folder: str,
        embedder: DeploymentHandle,
        retriever: DeploymentHandle,
        reranker: DeploymentHandle,
        events: DeploymentHandle | None = None,
        items: LogPlace | None = None,
    ) -> None:
        self.recipe = read_recipe(Path(folder))
        self.manifest = read_manifest(Path(folder))
        self.report = read_report(Path(folder))
        self.release = release_id(self.manifest)
        self.examples, self.shelf = golden_users(Path(folder)), Shelf(Path(folder))
        self.meters, settings = Meters(), self.recipe.serve
        self.gate, self.seconds = Gate(settings.gateway.max_queued, self.meters), settings.deadline_ms / 1000
        handles = {"embedder": embedder, "retriever": retriever, "reranker": reranker}
        self.embedder, self.retriever, self.reranker = (
            Step(name, handle, RetryBudget(settings.retry_share), self.meters) for name, handle in handles.items()
        )
        popular = Popular(Path(folder), self.shelf.items)
        self.ladder = Ladder(self.embedder, self.retriever, self.reranker, popular, self.meters)
        self.recorder = Recorder(events, self.recipe)
        self.item_writer = ItemWriter(events, self.embedder, self.shelf, self.recipe)
        if (store := open_item_log(items)) is not None:
            await asyncio.to_thread(popular.follow_items, store)
            self.shelf.catch_up = popular.catch_up
            self._following = asyncio.create_task(keep_up(popular.catch_up))
        await self._warm_up()

    async def _warm_up(self) -> None:
        """Ask the steps until they all answer in time, for a minute at most: first calls are slow."""
        limit = Deadline(_WARM_UP_S)
        for query in (Query(), Query(user=next(iter(self.examples), None)), Query(text="anything")):
            level = ""
            while level != "full" and limit.left > 0:
                await self.ladder.climb(query, Deadline(max(self.seconds, limit.left / 4)))
                level = (await self.ladder.climb(query, self.deadline())).level

    def deadline(self) -> Deadline:
        """Return the moment by which the steps must have answered."""
        return Deadline(self.seconds * _FOR_STEPS)

    @app.post("/v1/recommend", responses=REFUSED | BUSY)
    async def recommend(
        self,
        request: RecommendRequest,
        trace: Annotated[bool, InQuery(description="Say how the list came about.")] = False,
    ) -> RecommendResponse:
        """Recommend items with task scores, sources and reasons."""
        query, deadline = to_query(request), self.deadline()
        surface = find_surface(self.recipe, query.surface)
        with self.gate.enter():
            answer = await self.ladder.climb(query, deadline, trace)
        self.meters.answer(answer.level, deadline.passed, answer.shortfall is not None)
        return to_response(answer, uuid.uuid4().hex, self.release, surface, trace)

    @app.get("/v1/explain", responses=REFUSED | BUSY)
    async def explain(
        self,
        item: Annotated[Id, InQuery(description="The item's id.")],
        user_id: Annotated[Id | None, InQuery(description="Who asks; anyone if not given.")] = None,
        surface: Annotated[Name | None, InQuery(description="Where; the recipe's first surface by default.")] = None,
        k: Annotated[int, InQuery(ge=1, le=MOST_ITEMS, description="Length of the list.")] = 10,
    ) -> ExplainResponse:
        """Say what keeps an item out of a user's list: the stage, and the rule or the rank."""
        query, deadline = Query(user=user_id, surface=surface, k=k), self.deadline()
        with self.gate.enter():
            user = await self.embedder.call("run", query, deadline=deadline)
            found = await self.retriever.call("explain", user, query, item, deadline=deadline)
            if not isinstance(found, Whereabouts):
                found = await self.reranker.call("explain", user, found, query, item, deadline=deadline)
        return ExplainResponse(release=self.release, item=item, **asdict(found))

    @app.post("/v1/events", responses=REFUSED | NOT_FOUND | BUSY | UNAVAILABLE, response_model=EventsResponse)
    async def record(self, events: EventsBody) -> Any:
        """Record one event, or a list of at most 500; they are durable when this answers, and known to the next one."""
        return await self.recorder.record(events)

    @app.get("/v1/items", responses=REFUSED)
    async def items(self, asked: Annotated[ItemsQuery, InQuery()]) -> ItemsResponse:
        """Return items by part of a title, by ids, or those that most people met."""
        return ItemsResponse(release=self.release, items=await asyncio.to_thread(self.shelf.find, asked))

    @app.post("/v1/items", responses=REFUSED | NOT_FOUND | BUSY | UNAVAILABLE, response_model=ItemsAdded)
    async def add_items(self, items: NewItemsBody) -> Any:
        """Add one item, or a list of at most 100, or replace those with the same ids; the next answer knows them."""
        return await self.item_writer.add(items)

    @app.delete("/v1/items/{item}", responses=REFUSED | NOT_FOUND | BUSY | UNAVAILABLE, response_model=ItemRemoved)
    async def remove_item(self, item: Annotated[Id, InPath(description="The item's id.")]) -> Any:
        """Remove an item from all answers, whether the release has it or it came since."""
        return await self.item_writer.remove(item)

    @app.get("/v1/attributes")
    async def attributes(self) -> AttributesResponse:
        """Say what filters may name: the values of each category, the range of each number."""
        known = await asyncio.to_thread(self.shelf.attributes)
        ranges = {name: Range(low=low, high=high) for name, (low, high) in known.numbers.items()}
        return AttributesResponse(release=self.release, categories=known.categories, numbers=ranges)

    @app.get("/v1/items/{item}/similar", responses=REFUSED | NOT_FOUND | BUSY, response_model=SimilarResponse)
    async def similar(
        self,
        item: Annotated[Id, InPath(description="The item's id.")],
        k: Annotated[int, InQuery(ge=1, le=MOST_ITEMS, description="How many items.")] = 10,
    ) -> Any:
        """Return the items nearest to one."""
        try:
            with self.gate.enter():
                found = await self.retriever.call("similar", item, k, deadline=self.deadline())
        except RequestError as error:
            return refuse(str(error), where="path", status=404)
        near = [SimilarItem(id=other, title=title, cosine=round(cosine, 6)) for other, title, cosine in found]
        return SimilarResponse(release=self.release, item=item, items=near)

    @app.get("/v1/release")
    async def about(self) -> ReleaseResponse:
        """Say what is being served and what it reached offline."""
        systems = self.report["ranking"]["systems"]
        return ReleaseResponse(
            release=self.release,
            recipe=self.recipe.name,
            created=self.manifest["created"],
            items=self.report["counts"]["items"],
            users=self.report["counts"]["users"],
            surfaces={name: dict(surface.weights) for name, surface in self.recipe.surfaces.items()},
            protocol=self.report["protocol"],
            ndcg={name: one["ndcg"]["mean"] for name, one in systems.items()},
            example_users=self.examples,
        )

    @app.get("/healthz", responses={503: {"model": Health}}, response_model=Health)
    async def healthz(self) -> Any:
        """Answer 200 if every step of the graph answers."""
        try:
            for step in (self.embedder, self.retriever, self.reranker):
                await step.call("ping", deadline=Deadline(_PING_S))
        except StepFailed:
            return JSONResponse({"status": "a step does not answer", "release": self.release}, 503)
        return Health(status="ok", release=self.release)
