"""The graph: Gateway -> Embedder -> Retriever -> Reranker, each a deployment that autoscales by itself.

Beside it stand the EventLog, one replica that writes what users do and which items come and go, and the Conductor, one
that leads the graph from release to release.

serve deploy serve/config.yaml          (import_path: serve.app:build)
"""

from pathlib import Path
from typing import Any

from ray.serve import Application
from ray.serve import Deployment as ServeDeployment
from ray.serve.config import BackpressureConfig

from motet.devices import choose
from motet.mirror import runtime_env, workspace_folder
from motet.recommend import read_recipe
from motet.release.publish import Releases
from motet.serve_settings import Deployment, GatewayDeployment, ServeSettings
from serve.answer_log import place_of_records
from serve.conductor import Conductor
from serve.embedder import Embedder
from serve.event_log import EventLog, place_of_log
from serve.fast import LOGGING
from serve.gate import Busy
from serve.gateway import Gateway
from serve.item_log import place_of_items
from serve.places import guard_of, workspace_of
from serve.reranker import Reranker
from serve.retriever import Retriever
from serve.shard import Shard


def build(args: dict[str, Any]) -> Application:
    """Build the graph over the current release of a workspace.

    Args:
        args: `workspace`, the folder that the pipeline wrote, whose current release is served, and followed when it
            changes; or `release`, a release's folder, which stays. Settings of the deployments come from the recipe
            inside the release at the beginning; `events`, `records` and `limits`, mappings, and `keys` change some of
            `serve.events`, `serve.records`, `serve.limits` and `serve.keys`.

    Raises:
        ReleaseError: if there is no release, it does not verify, or its events or records have no place.
    """
    folder = release_folder(args)
    recipe = read_recipe(folder)
    workspace = str(folder.parent.parent) if workspace_of(folder) else None
    settings, path, watched = recipe.serve, str(folder), "release" not in args
    place = place_of_log(args, recipe, folder)
    log = (place.model_dump(), recipe.name)
    records, items = place_of_records(args, recipe, folder).model_dump(), place_of_items(place, folder, recipe.name)
    gpus = choose(recipe, {}).embedder_gpus
    embedder = scaled(Embedder, settings.embedder, settings, gpus).bind(path, watched, log, items)
    parts = recipe.index.shards if recipe.index.shards > 1 else 0
    shards = [
        scaled(Shard, settings.retriever, settings).options(name=f"Shard{number}").bind(path, watched, number, parts)
        for number in range(parts)
    ]
    retriever = scaled(Retriever, settings.retriever, settings).bind(path, watched, items, *shards)
    reranker = scaled(Reranker, settings.reranker, settings).bind(path, watched, items)
    events = None if place.store == "none" else single(EventLog, settings).bind(*log, items, workspace)
    conductor = None
    if workspace is not None:
        conductor = single(Conductor, settings).bind(path, watched, embedder, retriever, reranker, *shards)
    gateway = at_the_door(scaled(Gateway, settings.gateway, settings), settings.gateway)
    guarded = guard_of(args, recipe, folder)
    return gateway.bind(path, watched, embedder, retriever, reranker, events, conductor, records, items, log, guarded)


def release_folder(args: dict[str, Any]) -> Path:
    """Return the verified folder that `args` names."""
    from motet.release.bundle import verify

    if "release" in args:
        folder = Path(args["release"]).expanduser().absolute()
        verify(folder)
        return folder
    return Releases(workspace_folder(args.get("workspace", "workspace"))).current()


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
        ray_actor_options={"num_cpus": one.num_cpus, "num_gpus": gpus, "runtime_env": runtime_env()},
        logging_config=LOGGING,
    )


def at_the_door(deployment: ServeDeployment, one: GatewayDeployment) -> ServeDeployment:
    """Return the ingress with its limits: it refuses what is above `max_queued` itself, and Serve what is far above."""
    return deployment.options(
        max_ongoing_requests=max(one.max_ongoing_requests, 2 * one.max_queued),
        max_queued_requests=one.max_queued,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=Busy.retry_after_s),
    )


def single(deployment: ServeDeployment, settings: ServeSettings) -> ServeDeployment:
    """Return the deployment with one replica; the old one ends before a new one begins, so that the lock is free."""
    return deployment.options(
        num_replicas=1,
        max_ongoing_requests=512,
        max_surge_percent=0,
        health_check_period_s=settings.health_check_period_s,
        health_check_timeout_s=settings.health_check_timeout_s,
        graceful_shutdown_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": 0.1, "runtime_env": runtime_env()},
    )
