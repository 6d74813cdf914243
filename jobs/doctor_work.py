"""The doctor's work on Ray's workers: networks loaded once per process, scores of the test part, probes of the run."""

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from jobs.asking import held_out_users
from jobs.doctor_runs import Subject
from jobs.histories import UserTexts, item_inputs
from jobs.train import released
from motet.data.parquet import read_parquet
from motet.data.split import TEST
from motet.errors import EvaluationError
from motet.estimates import ESTIMATES, Estimates
from motet.mirror import at_hand, names_in
from motet.model.io import ModelCard
from motet.recipe import Recipe
from motet.storage import read_json
from motet.train_settings import TrainSettings

PROBE_BATCHES = 20


def _settings(subject: Subject) -> dict[str, Any]:
    """Return what a worker needs to load networks and rows."""
    encoder = read_json(subject.embedded.folder / "encoder.json")
    return {
        "recipe": subject.run.recipe.resolved(),
        "prepared": str(subject.prepared.folder),
        "embedded": str(subject.embedded.folder),
        "cache": str(subject.run.workspace / "embeddings" / encoder["key"]),
        "dim": encoder["dim"],
    }


def held_out_scores(subject: Subject, networks: Mapping[str, Path]) -> pa.Table:
    """Return the rows of `doctor_scores.score_rows` over the test part (Ray Data), users in order."""
    recipe = subject.run.recipe
    users = held_out_users(subject.prepared.folder / "histories", TEST, recipe.evaluate.max_users, recipe.seed)
    folders = {name: str(released(one)) for name, one in networks.items()}
    score = partial(_score_chunk, networks=folders, settings=_settings(subject))
    tables = [pa.table(one) for one in users.map_batches(score, batch_size=1, batch_format="pyarrow").iter_batches(
        batch_size=None, batch_format="pyarrow")]  # fmt: skip
    tables = [one for one in tables if one.num_rows]
    if not tables:
        raise EvaluationError("doctor: the test part holds no event; enlarge data.split.test")
    return pa.concat_tables(tables).sort_by("user")


def _score_chunk(batch: pa.Table, networks: Mapping[str, str], settings: Mapping[str, Any]) -> pa.Table:
    from motet.evaluation.doctor_scores import held_rows, score_rows

    recipe = Recipe.model_validate(settings["recipe"])
    steps = {
        name: _network(folder, settings["prepared"], settings["embedded"], recipe.train.model_dump_json())
        for name, folder in networks.items()
    }
    tables, estimates = [], _estimates(next(iter(networks.values())))
    for chunk in batch.to_pylist():
        histories, users = _people(chunk["file"], chunk["users"])
        held = held_rows(histories, users, TEST, recipe.model.history, _texts(settings), estimates)
        names = [task.name for task in recipe.scored_tasks]
        tables.append(score_rows(held, steps, names, recipe.model.history, recipe.excludes_seen))
    return pa.concat_tables(tables)


def _people(file: str, chosen: list[str] | None = None) -> tuple[pa.Table, pa.Table]:
    """Return the histories and users of a shard, of all people or of some."""
    histories = read_parquet(Path(file))
    users = read_parquet(Path(file).parents[1] / "users" / Path(file).name, ["user", "text", "slots", "numbers"])
    if chosen is None:
        return histories, users
    wanted = pa.array(chosen)
    histories, users = (one.filter(pc.is_in(one.column("user"), value_set=wanted)) for one in (histories, users))
    return histories, users


@lru_cache(maxsize=8)
def _estimates(folder: str) -> Estimates | None:
    """Return what the heads of a network read of labels; networks of the same rows and labels read the same."""
    if not at_hand(Path(folder) / ESTIMATES).exists():
        return None
    card = ModelCard.from_dict(read_json(Path(folder) / "model.json"))
    return Estimates.load(Path(folder) / ESTIMATES, [card.scales[task.name] for task in card.tasks if task.scored])


def _texts(settings: Mapping[str, Any]) -> Any:
    return UserTexts(settings["cache"], settings["embedded"], settings["dim"])


@lru_cache(maxsize=64)
def _network(folder: str, prepared: str, embedded: str, train: str) -> Any:
    """Load a network with its catalogue once per worker process, on one torch thread."""
    import torch

    from motet.model.io import load_model
    from motet.training.catalogue import Catalogue
    from motet.training.step import TrainStep

    torch.set_num_threads(1)
    counts_I = read_parquet(Path(folder) / "counts.parquet").column("count").to_numpy()
    catalogue = Catalogue(
        item_inputs(Path(prepared), Path(embedded), counts_I), torch.from_numpy(counts_I.astype(np.float32))
    )
    model, card = load_model(Path(folder))
    return TrainStep(model, catalogue, card.tasks, card.scales, TrainSettings.model_validate_json(train))


def probe(subject: Subject, weights: Mapping[str, float]) -> dict[str, Any]:
    """Return `gradients` and `experts` of the run over a fixed number of training batches (one task of Ray)."""
    look = partial(
        _look, folder=str(released(subject.trained.folder)), weights=dict(weights), settings=_settings(subject)
    )
    rows = ray.data.from_items([{"probe": 0}]).map_batches(look, batch_size=1, batch_format="pyarrow").take_all()
    found = json.loads(rows[0]["found"])
    assert isinstance(found, dict)
    return found


def _look(_: pa.Table, folder: str, weights: dict[str, float], settings: Mapping[str, Any]) -> pa.Table:
    from motet.evaluation.doctor_probe import expert_use, gradients

    recipe = Recipe.model_validate(settings["recipe"])
    step = _network(folder, settings["prepared"], settings["embedded"], recipe.train.model_dump_json())
    batches = _probe_batches(recipe, settings, _estimates(folder))
    found = {
        "gradients": gradients(step, batches, weights, recipe.seed),
        "experts": expert_use(step, batches, recipe.model.experts),
    }
    return pa.table({"found": [json.dumps(found)]})


def _probe_batches(recipe: Recipe, settings: Mapping[str, Any], estimates: Estimates | None) -> list[Any]:
    """Return the windows of some users, drawn by the recipe's seed, as batches of the recipe's size."""
    from motet.training.batches import collate
    from motet.training.windows import train_rows

    wanted, history = PROBE_BATCHES * recipe.train.batch_size, recipe.model.history
    random = np.random.default_rng(recipe.seed)
    tables: list[pa.Table] = []
    for file in names_in(Path(settings["prepared"]) / "histories"):
        histories, users = _people(str(file))
        drawn = random.permutation(histories.num_rows)[:wanted]
        of_user = None if estimates is None else lambda _: estimates
        tables.append(train_rows(histories.take(pa.array(drawn)), users, history, _texts(settings), 1, of_user))
        if sum(one.num_rows for one in tables) >= wanted:
            break
    rows = pa.concat_tables(tables).combine_chunks()
    rows = rows.take(pa.array(random.permutation(rows.num_rows)[:wanted]))
    names = [task.name for task in recipe.scored_tasks]
    size = recipe.train.batch_size
    return [collate(rows.slice(start, size).combine_chunks(), names, history) for start in range(0, len(rows), size)]
