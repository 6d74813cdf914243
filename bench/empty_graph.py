"""The graph with empty bodies: the same four hops, and nothing done at any of them."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from motet.serve_settings import ServeSettings
from serve.app import at_the_door, scaled

app = FastAPI()


class _Hop:
    async def run(self) -> int:
        """Answer."""
        return 0


@serve.deployment(name="EmptyEmbedder")
class EmptyEmbedder(_Hop):
    """Does nothing."""


@serve.deployment(name="EmptyRetriever")
class EmptyRetriever(_Hop):
    """Does nothing."""


@serve.deployment(name="EmptyReranker")
class EmptyReranker(_Hop):
    """Does nothing."""


@serve.deployment(name="EmptyGateway")
@serve.ingress(app)
class EmptyGateway:
    """Asks the three, one after another."""

    def __init__(self, *hops: DeploymentHandle) -> None:
        self.hops = [hop.options(_by_reference=False) for hop in hops]

    @app.post("/v1/recommend")
    async def recommend(self, request: dict[str, Any]) -> dict[str, int]:
        """Answer once all three have."""
        del request
        return {"hops": sum([await hop.run.remote() for hop in self.hops])}


def build_empty(settings: ServeSettings) -> Application:
    """Return the graph with the deployments' settings of a recipe."""
    hops = [
        scaled(EmptyEmbedder, settings.embedder, settings).bind(),
        scaled(EmptyRetriever, settings.retriever, settings).bind(),
        scaled(EmptyReranker, settings.reranker, settings).bind(),
    ]
    return at_the_door(scaled(EmptyGateway, settings.gateway, settings), settings.gateway).bind(*hops)
