"""What changes the graph for all while it serves; `serve.door` lets in those who may."""

from typing import Any

from fastapi.responses import JSONResponse
from ray.serve.handle import DeploymentHandle

from serve.follower import Follower
from serve.schemas import Problems, SurfaceResponse
from serve.web import refuse

FIXED: dict[int | str, dict[str, Any]] = {
    403: {"model": Problems, "description": "The key has another scope, or this endpoint cannot be changed."}
}


class Admin:
    """Changes weights.

    Args:
        conductor: handle of the Conductor; None changes nothing.
    """

    def __init__(self, conductor: DeploymentHandle | None) -> None:
        self.conductor = None if conductor is None else conductor.options(_by_reference=False)

    async def change_surface(
        self, follower: Follower, surface: str, weights: dict[str, float] | None
    ) -> SurfaceResponse | JSONResponse:
        """Change the weights of a surface, or give it back the recipe's; or say why not."""
        if self.conductor is None:
            said = "this endpoint serves a release outside of a workspace, which cannot be changed"
            return refuse(said, where="path", kind="forbidden", status=403)
        front = follower.front
        if surface not in front.recipe.surfaces:
            known = sorted(front.recipe.surfaces)
            return refuse(f"no such surface; this release has {known}", where="path", status=404)
        if weights is not None and not set(weights) <= set(front.recipe.weighable):
            return refuse(f"weights: no task of that name; this release has {front.recipe.weighable}")
        state = await self.conductor.change_weights.remote(surface, weights)
        await follower.take(state)
        now = front.surfaces(state.surfaces)[surface]
        return SurfaceResponse(surface=surface, weights=now, changed=surface in state.surfaces)
