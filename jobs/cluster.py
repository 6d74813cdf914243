"""Connect to Ray: the cluster that this job runs on, or a private one on this machine."""

import logging
import os
from pathlib import Path
from typing import Literal

import ray
from ray.data import DataContext

from jobs.stages import say
from motet.devices import Ask, Devices, choose
from motet.errors import TrainingError
from motet.mirror import runtime_env
from motet.recipe import Recipe
from motet.settings import ResourceSettings

ROOT = Path(__file__).resolve().parent.parent


def connect(resources: ResourceSettings) -> None:
    """Join the cluster named by RAY_ADDRESS (set inside `ray job submit`), or start Ray here.

    A private Ray takes the recipe's CPUs and object store; it ends with this process.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "120")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR, runtime_env=runtime_env() or None)
    else:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        paths = [str(ROOT), str(ROOT / "platform"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        ray.init(
            address="local",
            num_cpus=resources.num_cpus,
            object_store_memory=resources.object_store_mb << 20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    quiet_ray_data()


def quiet_ray_data() -> None:
    """Keep Ray Data's own bars and notes out of the stage lines."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)


def devices_for(recipe: Recipe, stage: str) -> Devices:
    """Return what the stages compute on, after what one of them needs is there.

    Raises:
        TrainingError: as `require`.
    """
    devices = choose(recipe, ray.cluster_resources())
    for ask in devices.asks[stage]:
        require(ask.resource, ask.amount, ask.setting)
    return devices


def require(resource: Literal["CPU", "GPU"], wanted: float, setting: str) -> None:
    """Refuse what this machine's Ray can never give, instead of waiting for ever.

    On a cluster, whose autoscaler may bring what is missing, it is only said.

    Args:
        resource: CPU or GPU.
        wanted: how many in all.
        setting: the setting that asks for them.

    Raises:
        TrainingError: with what there is and the setting to change.
    """
    message = Ask(resource, wanted, setting).lacking(ray.cluster_resources())
    if message is None:
        return
    if os.environ.get("RAY_ADDRESS"):
        say(f"{message}; waiting for the autoscaler to bring them")
    else:
        raise TrainingError(f"{message}; lower it or add nodes")
