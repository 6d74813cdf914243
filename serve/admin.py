"""What only a key with the scope admin may do while the graph serves."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse
from ray.serve.handle import DeploymentHandle

from motet.errors import ReleaseError
from motet.release.keys import Keys
from serve.follower import Follower
from serve.schemas import Problems, SurfaceResponse
from serve.web import refuse

DENIED: dict[int | str, dict[str, Any]] = {
    401: {"model": Problems, "description": "The key is missing, or is none with the scope admin."},
    403: {"model": Problems, "description": "This endpoint cannot be changed."},
}
_log = logging.getLogger("ray.serve")


class Admin:
    """Checks the key and does what it allows.

    Args:
        workspace: whose keys count.
        conductor: handle of the Conductor; None changes nothing.
    """

    def __init__(self, workspace: Path, conductor: DeploymentHandle | None) -> None:
        self.keys = Keys(workspace)
        self.conductor = None if conductor is None else conductor.options(_by_reference=False)

    def _opens(self, authorization: str) -> bool:
        scheme, _, secret = authorization.partition(" ")
        try:
            return scheme.lower() == "bearer" and self.keys.opens(secret, "admin")
        except ReleaseError as error:
            _log.warning("no key opens anything: %s", error)
            return False

    async def change_surface(
        self, authorization: str | None, follower: Follower, surface: str, weights: dict[str, float] | None
    ) -> SurfaceResponse | JSONResponse:
        """Change the weights of a surface, or give it back the recipe's; or say why not."""
        if self.conductor is None:
            said = "this endpoint serves a release outside of a workspace, which cannot be changed"
            return refuse(said, where="path", kind="forbidden", status=403)
        if not await asyncio.to_thread(self._opens, authorization or ""):
            said = "this asks for `authorization: Bearer KEY`; motet keys add NAME makes a key"
            return refuse(said, where="header", kind="unauthorized", status=401)
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
