"""Gateway: the HTTP ingress. It validates, chains Embedder -> Retriever -> Reranker, and shapes the answer."""

import uuid
from pathlib import Path
from typing import Annotated, Any

from fastapi import Path as InPath
from fastapi import Query as InQuery
from fastapi.responses import JSONResponse
from ray import serve
from ray.serve.handle import DeploymentHandle

from motet.errors import RequestError
from motet.recommend import Item, Query, find_surface, read_recipe
from motet.release.bundle import read_report, release_id
from motet.storage import read_manifest
from serve.schemas import (
    MOST_ITEMS,
    Health,
    Id,
    ReasonModel,
    RecommendedItem,
    RecommendRequest,
    RecommendResponse,
    ReleaseResponse,
    SimilarItem,
    SimilarResponse,
)
from serve.web import NOT_FOUND, REFUSED, make_app, refuse

app = make_app()


def to_query(request: RecommendRequest) -> Query:
    """Return the query of a request."""
    filters = {
        name: (value,) if isinstance(value, str) else tuple(str(one) for one in value)
        for name, value in request.filters.items()
    }
    return Query(
        user=request.user_id,
        history=tuple(request.history) if request.history is not None else None,
        text=request.text,
        surface=request.surface,
        k=request.k,
        exclude_seen=request.exclude_seen,
        filters=filters,
    )


def to_model(item: Item) -> RecommendedItem:
    """Return the response's form of an item."""
    reason = ReasonModel(text=item.reason.text, by=item.reason.by, item=item.reason.item)
    return RecommendedItem(
        id=item.item,
        title=item.title,
        value=item.value,
        scores=item.scores,
        sources=item.sources,
        reason=reason,
    )


@serve.deployment(name="Gateway")
@serve.ingress(app)
class Gateway:
    """The endpoint.

    Args:
        folder: the release that the whole graph serves.
        embedder: handle of the Embedder.
        retriever: handle of the Retriever.
        reranker: handle of the Reranker.
    """

    def __init__(
        self, folder: str, embedder: DeploymentHandle, retriever: DeploymentHandle, reranker: DeploymentHandle
    ) -> None:
        self.recipe = read_recipe(Path(folder))
        self.manifest = read_manifest(Path(folder))
        self.report = read_report(Path(folder))
        self.release = release_id(self.manifest)
        self.embedder, self.retriever, self.reranker = (
            handle.options(_by_reference=False) for handle in (embedder, retriever, reranker)
        )

    @app.post("/v1/recommend", responses=REFUSED)
    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Recommend items with task scores, sources and reasons."""
        query = to_query(request)
        surface = find_surface(self.recipe, query.surface)
        user = await self.embedder.run.remote(query)
        candidates = await self.retriever.run.remote(user, query)
        items = await self.reranker.run.remote(user, candidates, query)
        return RecommendResponse(
            request_id=uuid.uuid4().hex,
            release=self.release,
            surface=surface,
            user=user.level,
            items=[to_model(item) for item in items],
        )

    @app.get("/v1/items/{item}/similar", responses=REFUSED | NOT_FOUND, response_model=SimilarResponse)
    async def similar(
        self,
        item: Annotated[Id, InPath(description="The item's id.")],
        k: Annotated[int, InQuery(ge=1, le=MOST_ITEMS, description="How many items.")] = 10,
    ) -> Any:
        """Return the items nearest to one."""
        try:
            found = await self.retriever.similar.remote(item, k)
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
        )

    @app.get("/healthz", responses={503: {"model": Health}}, response_model=Health)
    async def healthz(self) -> Any:
        """Answer 200 if every step of the graph answers."""
        try:
            for step in (self.embedder, self.retriever, self.reranker):
                await step.ping.remote()
        except Exception:
            return JSONResponse({"status": "a step does not answer", "release": self.release}, 503)
        return Health(status="ok", release=self.release)
