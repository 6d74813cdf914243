"""What one worker of the train stage does: builds the network, trains it, reports each epoch with a checkpoint."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.train

from jobs.histories import item_inputs
from jobs.warm import warm_up
from motet.devices import TrainDevices
from motet.mirror import at_hand
from motet.model.io import ModelCard
from motet.recipe import Recipe
from motet.storage import new_folder, write_atomic
from motet.training.checkpoint import (
    epoch_folder,
    keep_only,
    load_checkpoint,
    newest_whole,
    save_checkpoint,
    stepped_weights,
)


def set_up(config: dict[str, Any], device: Any) -> tuple[Any, ModelCard]:
    """Return (the Trainer of a network as the last checkpoint left it, its card).

    Args:
        config: from `jobs.fit`.
        device: torch's.
    """
    import torch

    from motet.training.catalogue import Catalogue
    from motet.training.compiling import compile_tower
    from motet.training.loop import Progress, Trainer
    from motet.training.step import TrainStep

    recipe = Recipe.model_validate(config["recipe"])
    torch.set_num_threads(recipe.train.threads_per_worker)
    torch.manual_seed(recipe.seed)
    card = ModelCard.from_dict(config["card"])
    inputs = item_inputs(Path(config["prepared"]), Path(config["embedded"]), config["counts"])
    catalogue = Catalogue(inputs, torch.from_numpy(np.asarray(config["counts"], np.float32)))
    step = TrainStep(card.build(), catalogue, card.tasks, card.scales, recipe.train).to(device)
    devices: TrainDevices = config["devices"]
    if devices.compiled:
        compile_tower(step.model, device)
    trainer = Trainer(step, recipe, device, -(-config["rows"] // recipe.train.batch_size), devices.place)
    newest = newest_whole(Path(config["checkpoints"]))
    if newest is None and config["warm"] is not None:
        warm_up(step.model, config["warm"], Path(config["prepared"]))
    if newest is not None:
        state = load_checkpoint(newest, step.model, trainer.optimizer)
        trainer.restore(Progress(**state["progress"]), stepped_weights(newest))
        torch.manual_seed(recipe.seed + trainer.progress.epoch)
    return trainer, card


def train_worker(config: dict[str, Any]) -> None:
    """One worker: build the model, go on from the last checkpoint, train, report each epoch."""
    from ray.train.torch import get_device

    from motet.training.batches import collate
    from motet.training.distributed import world
    from motet.training.row_cache import RowCache

    trainer, card = set_up(config, get_device())
    recipe, ahead = trainer.recipe, config["devices"].place.ahead
    rank, workers = world()
    names = [task.name for task in recipe.scored_tasks]
    batch_size = max(1, recipe.train.batch_size // workers)

    def train_stream(epoch: int) -> Any:
        return ray.train.get_dataset_shard("train").iter_batches(
            batch_size=batch_size,
            batch_format="pyarrow",
            prefetch_batches=2 + ahead,
            local_shuffle_buffer_size=max(batch_size, 10_000),
            local_shuffle_seed=recipe.seed + epoch,
        )

    def held_stream(epoch: int) -> Any:
        tables = ray.train.get_dataset_shard("validation").iter_batches(batch_size=256, batch_format="pyarrow")
        mine = (table.take(pa.array(range(rank, table.num_rows, workers))) for table in tables)
        return (table for table in mine if table.num_rows)

    limit = recipe.train.rows_in_memory
    windows, held = RowCache(train_stream, limit), RowCache(held_stream, limit)

    def batches(epoch: int) -> Iterator[Any]:
        tables = windows.batches(epoch, batch_size, recipe.seed)
        return (collate(table, names, recipe.model.history) for table in tables)

    def validation() -> Iterator[Any]:
        return (collate(table, names, recipe.model.history) for table in held.batches(0, 256, None))

    report = partial(_report, trainer=trainer, card=card, config=config, rank=rank)
    trainer.run(batches, validation if config["validates"] else None, report, config["last"])


def _report(epoch: Any, trainer: Any, card: ModelCard, config: dict[str, Any], rank: int) -> None:
    """Report an epoch; rank 0 first writes the checkpoint and the line of metrics.jsonl.

    The latest checkpoint and the best one are kept. Workers that start again take the newest whole one from the
    folder itself, so one that was written just before a crash counts.
    """
    row = epoch.metrics()
    if rank == 0:
        checkpoints = Path(config["checkpoints"])
        state = {"epoch": row["epoch"], "progress": asdict(trainer.progress)}
        with new_folder(epoch_folder(checkpoints, row["epoch"])) as folder:
            save_checkpoint(folder, trainer.step_module.model, card, trainer.optimizer, state, trainer.stepped)
        kept = {row["epoch"], row["epoch"] - 1, trainer.progress.best_epoch}  # the one before, should this be damaged
        keep_only(checkpoints, kept)
        _append_metrics(checkpoints / "metrics.jsonl", row)
    if config["tell"] is not None:
        config["tell"](row)
    else:
        ray.train.report({"epoch": row["epoch"], **row["validation"]})


def _append_metrics(path: Path, row: dict[str, Any]) -> None:
    """Write the line of an epoch after those before it; lines of a lost attempt are dropped."""
    lines = path.read_text().splitlines() if at_hand(path).exists() else []
    kept = [line for line in lines if json.loads(line)["epoch"] < row["epoch"]]
    write_atomic(path, "\n".join([*kept, json.dumps(row, allow_nan=False)]) + "\n")
