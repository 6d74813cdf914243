"""prepare: raw logs to clean rows, quarantine, ledger, features, split, histories and profiles (Ray Data).

items, item log -> check -> one row per id, that of the log if it has one -> fit features -> encode
users -> check -> one row per id -> fit features
interactions -> check -> shards of whole users -> merge duplicates -> split -> histories, profiles
"""

import json
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from jobs.alike import write_alike
from jobs.stages import Result, Run, code_version, run_stage, say
from jobs.tables import ShardKey, by_shard, over_files, read_checked
from jobs.user_shards import FinishUsers, close_shard
from motet.data import contracts
from motet.data.cleaning import merge_entities, natural_order, split_bad
from motet.data.entities import encode_items
from motet.data.features import FeatureSpec, FitState
from motet.data.ledger import Ledger, take_counts
from motet.data.parquet import read_parquet, write_parquet
from motet.data.private_rows import take_forgotten
from motet.data.reading import list_files
from motet.data.sample import merge_samples, take_sample
from motet.data.split import require_parts, time_boundaries
from motet.data_settings import Entity, Table
from motet.errors import DataError, RecipeError
from motet.itemlog.fold import Fold, let_log_win
from motet.itemlog.place import open_items
from motet.itemlog.rows import rows_to_prepare
from motet.mirror import names_in, remove
from motet.privacy.privacy import Privacy
from motet.recipe import Recipe
from motet.search import OF_TASKS
from motet.storage import open_filesystem, write_json

CODE = (
    "platform/motet/data",
    "platform/motet/itemlog",
    "platform/motet/privacy",
    "platform/motet/expressions.py",
    "platform/motet/task.py",
    "platform/motet/kinds",
    "jobs/prepare.py",
    "jobs/alike.py",
    "jobs/user_shards.py",
    "jobs/tables.py",
)


def prepare(run: Run) -> Result:
    """Run the stage."""
    data = run.recipe.data
    tables = [data.interactions, data.items, *([data.users] if data.users else [])]
    fold, privacy = read_fold(run), Privacy.load(run.workspace, run.recipe.privacy.pseudonymise)
    inputs = {
        "data": data.model_dump(mode="json"),
        "tasks": [task.model_dump(mode="json", exclude=set(OF_TASKS)) for task in run.recipe.tasks],
        "seed": run.recipe.seed,
        "files": [_file_state(table) for table in tables],
        "item_log": fold.key,
        "privacy": privacy.state,
        "code": code_version(*CODE),
    }
    return run_stage(run, "prepare", "prepared", inputs, partial(_work, run=run, fold=fold, privacy=privacy))


def read_fold(run: Run) -> Fold:
    """Return what the item log of the workspace comes to."""
    log = open_items(run.recipe.serve.events, run.workspace, run.recipe.name)
    return Fold() if log is None else Fold.of(entry for _, entry in log.read())


def _file_state(table: Table) -> list[Any]:
    states = []
    for path in list_files(table):
        filesystem, inner = open_filesystem(path)
        info = filesystem.get_file_info(inner)
        states.append([path, info.size, info.mtime_ns])
    return states


def _work(folder: Path, run: Run, fold: Fold, privacy: Privacy) -> dict[str, Any]:
    recipe, data = run.recipe, run.recipe.data
    ledgers: dict[str, Ledger] = {}
    ledgers["items"] = items = _clean_entities(folder, "items", data.items, recipe, text_required=True, fold=fold)
    of_log = f", {items.added:,} of them new from the item log, {items.removed:,} removed by it" if fold.latest else ""
    say(f"prepare: items read {items.read:,}, kept {items.kept:,}{of_log}")
    item_spec = _fit(folder / "clean-items", data.items, recipe)
    catalogue = natural_order(read_parquet(folder / "clean-items", ["id"]).column("id").to_pylist())
    _encode_catalogue(folder, recipe, item_spec, catalogue)
    shards = _shards(recipe)
    user_spec = FeatureSpec()
    if data.users:
        ledgers["users"] = _clean_entities(
            folder, "users", data.users, recipe, text_required=False, shards=shards, privacy=privacy
        )
        user_spec = _fit(folder / "clean-users", data.users, recipe)
    fitted = {"items": item_spec.model_dump(mode="json"), "users": user_spec.model_dump(mode="json")}
    fitted |= _fit_values(recipe, privacy) | {"latest_ms": _latest_moment(recipe, privacy)}
    write_json(folder / "features.json", fitted)
    if data.clean.duplicate_profiles is not None:
        later = write_alike(folder, _checked(recipe, privacy), data.clean.duplicate_profiles, shards)
        say(f"prepare: {later:,} users have nearly the same items as an earlier one; their rows go to quarantine")
    ledgers["interactions"], labels = _clean_interactions(folder, recipe, shards, privacy)
    _require_labels(run, labels)
    for leftover in ("clean-items", "clean-users", "alike"):
        remove(folder / leftover)
    write_json(folder / "ledger.json", {name: ledger.to_dict() for name, ledger in ledgers.items()})
    return _summary(ledgers, labels, len(catalogue))


def _summary(ledgers: dict[str, Ledger], labels: Counter[str], items: int) -> dict[str, Any]:
    log = ledgers["interactions"]
    of_forgotten = f", forgotten {log.forgotten:,}" if log.forgotten else ""
    line = (
        f"read {log.read:,} interactions, kept {log.kept:,}, quarantined {log.quarantined:,}, merged {log.merged:,}"
        f"{of_forgotten}; {items:,} items, {labels['users']:,} users"
    )
    return {
        "line": line,
        "items": items,
        "users": labels["users"],
        "labels": dict(labels),
        "interactions": log.kept,
    }


def _shards(recipe: Recipe) -> int:
    files = list_files(recipe.data.interactions)
    size = sum(fs.get_file_info(inner).size for fs, inner in map(open_filesystem, files))
    return max(1, -(-size // 16 // recipe.data.rows_per_shard))


def _clean_entities(
    folder: Path,
    name: str,
    entity: Entity,
    recipe: Recipe,
    *,
    text_required: bool,
    shards: int = 1,
    fold: Fold | None = None,
    privacy: Privacy | None = None,
) -> Ledger:
    """Write `clean-<name>/` and the quarantine of a table; return its ledger."""
    data = recipe.data
    check = partial(
        contracts.check_entities, spec=entity, clean=data.clean, text_required=text_required, privacy=privacy
    )
    dataset = read_checked(entity, entity.columns, data.batch_rows, check)
    fold = fold or Fold()
    if fold.adds:
        dataset = dataset.union(ray.data.from_arrow(rows_to_prepare(fold.adds, recipe)))
    finish = partial(_finish_entities, folder=folder, name=name, gone=fold.gone)
    ledger = _total(by_shard(dataset, ShardKey("id", shards), finish))
    ledger.check(name)
    if ledger.read == 0:
        raise DataError(f"{entity.path} has no rows; the table of {name} needs at least one")
    if ledger.kept == 0:
        reason, count = ledger.reasons.most_common(1)[0]
        raise DataError(f"{entity.path}: no row of {name} is usable; most frequent reason: {reason} ({count} rows)")
    return ledger


def _finish_entities(shard: int, table: pa.Table, folder: Path, name: str, gone: list[str]) -> pa.Table:
    rows, read = take_counts(table)
    rows, forgotten = take_forgotten(rows)
    good, bad = split_bad(rows)
    standing, removed, added = let_log_win(good, gone)
    kept = merge_entities(standing)
    write_parquet(folder / f"clean-{name}" / f"shard-{shard:05d}.parquet", kept)
    return close_shard(shard, name, folder, read, kept, bad, good, removed=removed, added=added, forgotten=forgotten)


def _total(rows: list[dict[str, Any]]) -> Ledger:
    total = Ledger()
    for row in rows:
        value = json.loads(row["ledger"])
        value.pop("labels", None)
        total.add(Ledger.from_dict(value))
    return total


def _fit(clean: Path, entity: Entity, recipe: Recipe) -> FeatureSpec:
    state = FitState(entity)
    for row in over_files(names_in(clean), partial(_fit_file, entity=entity)):
        state.merge_row(json.loads(row["state"]))
    return state.fit(recipe.data.clean)


def _fit_file(table: pa.Table, entity: Entity) -> pa.Table:
    state = FitState(entity)
    if table.num_rows:
        state.add(table)
    return pa.table({"state": [json.dumps(state.to_row())]})


def _encode_catalogue(folder: Path, recipe: Recipe, spec: FeatureSpec, catalogue: list[str]) -> None:
    ids = pa.array(catalogue, pa.string())
    table = read_parquet(folder / "clean-items")
    write_parquet(folder / "items" / "items.parquet", encode_items(table, recipe.data.items, spec, ids))


def _fit_values(recipe: Recipe, privacy: Privacy) -> dict[str, Any]:
    """Return clip ranges, the split's boundaries and the log's percentiles of time, from one pass.

    A clip range comes from the rows up to the end of train; for a split whose parts are not known before a user's rows
    are together, from all rows.

    Raises:
        DataError: if a part of the time split is empty.
    """
    data = recipe.data
    numbers = [name for name, kind in recipe.label_columns.items() if kind == "number"]
    clips = data.clean.outliers != (0.0, 1.0)
    dataset = _checked(recipe, privacy)
    sampled = dataset.map_batches(
        partial(_sample, columns=["timestamp", *numbers]), batch_format="pyarrow", batch_size=data.batch_rows
    )
    sample = None
    for batch in sampled.iter_batches(batch_format="pyarrow", batch_size=None):
        sample = merge_samples([batch] if sample is None else [sample, batch])
    if sample is None or sample.num_rows == 0:
        return {"values": {}, "boundaries": None, "percentiles": []}
    moments_N = sample.column("timestamp").to_numpy()
    boundaries = time_boundaries(moments_N, data.split) if data.split.kind == "time" else None
    if boundaries:
        require_parts(moments_N, boundaries)
    seen = sample.filter(pc.less_equal(sample.column("timestamp"), boundaries[0])) if boundaries else sample
    values = {}
    for name in numbers if clips else []:
        present_N = seen.column(name).drop_null().to_numpy()
        values[name] = [float(q) for q in np.quantile(present_N, data.clean.outliers)] if len(present_N) else None
    percentiles = np.quantile(moments_N, np.linspace(0, 1, 101), method="lower")
    return {
        "values": {k: v for k, v in values.items() if v},
        "boundaries": boundaries and list(boundaries),
        "percentiles": [int(one) for one in percentiles],
    }


def _latest_moment(recipe: Recipe, privacy: Privacy) -> int | None:
    """Return the time of the log's latest usable event, from a pass of its own if a task's feedback is delayed."""
    if all(task.delay_days is None for task in recipe.tasks):
        return None
    dataset = _checked(recipe, privacy)
    found = dataset.map_batches(_latest_of, batch_format="pyarrow", batch_size=recipe.data.batch_rows)
    return max((row["latest"] for row in found.iter_rows() if row["latest"] is not None), default=0)


def _latest_of(table: pa.Table) -> pa.Table:
    good, _ = split_bad(table)
    return pa.table({"latest": pa.array([pc.max(good.column("timestamp")).as_py()], pa.int64())})


def _sample(table: pa.Table, columns: list[str]) -> pa.Table:
    good, _ = split_bad(table)
    return take_sample(good, columns)


def _columns(recipe: Recipe) -> tuple[str, ...]:
    log = recipe.data.interactions
    return tuple(dict.fromkeys((log.user, log.item, log.timestamp, *recipe.label_columns)))


def _checked(recipe: Recipe, privacy: Privacy) -> ray.data.Dataset:
    """Return the checked rows of the event log, which are read again."""
    check = partial(
        contracts.check_interactions,
        spec=recipe.data.interactions,
        clean=recipe.data.clean,
        values=recipe.label_columns,
        now_ms=int(time.time() * 1000),
        privacy=privacy,
    )
    return read_checked(recipe.data.interactions, _columns(recipe), recipe.data.batch_rows, check)


def _clean_interactions(folder: Path, recipe: Recipe, shards: int, privacy: Privacy) -> tuple[Ledger, Counter[str]]:
    data = recipe.data
    dataset = _checked(recipe, privacy)
    finish = FinishUsers(str(folder), recipe)
    rows = by_shard(dataset, ShardKey("user", shards), finish)
    ledger = _total(rows)
    ledger.check("interactions")
    if ledger.read == 0:
        raise DataError(f"{data.interactions.path} has no rows; the event log needs at least one")
    if ledger.kept == 0:
        reason, count = ledger.reasons.most_common(1)[0]
        raise DataError(f"{data.interactions.path}: no event is usable; most frequent reason: {reason} ({count} rows)")
    labels: Counter[str] = Counter()
    for row in rows:
        labels.update(json.loads(row["ledger"])["labels"])
    return ledger, labels


def _require_labels(run: Run, labels: Counter[str]) -> None:
    for number, task in enumerate(run.recipe.tasks):
        if task.scored and not labels[task.name]:
            where = run.loaded.where("tasks", number, "label")
            raise RecipeError(
                f"{where}: tasks.{number}.label = {task.label!r} gives no label on any training row; "
                f"its columns hold no value: {sorted(task.expression.columns)}"
            )
