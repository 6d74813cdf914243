"""The graph: Gateway -> Embedder -> Retriever -> Reranker, each a deployment that autoscales by itself.

serve deploy serve/config.yaml          (import_path: serve.app:build)
"""

from pathlib import Path
from typing import Any

from ray.serve import Application
from ray.serve import Deployment as ServeDeployment

from motet.recommend import read_recipe
from motet.release.publish import Releases
from motet.settings import Deployment, ServeSettings
from serve.embedder import Embedder
from serve.gateway import Gateway
from serve.reranker import Reranker
from serve.retriever import Retriever


def build(args: dict[str, Any]) -> Application:
    """Build the graph over the current release of a workspace.

    Args:
        args: `workspace`, the folder that the pipeline wrote; or `release`, a release's folder. Settings come from
            the recipe inside the release. The pointer is read once, here, so all four serve the same release.

    Raises:
        ReleaseError: if there is no release, or it does not verify.
    """
    folder = release_folder(args)
    recipe = read_recipe(folder)
    settings, path = recipe.serve, str(folder)
    embedder = scaled(Embedder, settings.embedder, settings, recipe.encoder.num_gpus).bind(path)
    retriever = scaled(Retriever, settings.retriever, settings).bind(path)
    reranker = scaled(Reranker, settings.reranker, settings).bind(path)
    return scaled(Gateway, settings.gateway, settings).bind(path, embedder, retriever, reranker)


def release_folder(args: dict[str, Any]) -> Path:
    """Return the verified folder that `args` names."""
    from motet.release.bundle import verify

    if "release" in args:
        folder = Path(args["release"]).expanduser().absolute()
        verify(folder)
        return folder
    return Releases(Path(args.get("workspace", "workspace")).expanduser().absolute()).current()


def scaled(deployment: ServeDeployment, one: Deployment, settings: ServeSettings, gpus: float = 0.0) -> ServeDeployment:
    """Return a deployment with the recipe's autoscaling, limits and health checks."""
    return deployment.options(
        autoscaling_config={
            "min_replicas": one.min_replicas,
            "max_replicas": one.max_replicas,
            "target_ongoing_requests": one.target_ongoing_requests,
            "upscale_delay_s": settings.upscale_delay_s,
            "downscale_delay_s": settings.downscale_delay_s,
            "look_back_period_s": max(settings.upscale_delay_s, 2.0),
            "metrics_interval_s": 1.0,
        },
        max_ongoing_requests=one.max_ongoing_requests,
        max_surge_percent=100,
        health_check_period_s=settings.health_check_period_s,
        health_check_timeout_s=settings.health_check_timeout_s,
        graceful_shutdown_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": one.num_cpus, "num_gpus": gpus},
    )
