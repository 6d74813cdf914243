"""A shard of whole users: checked rows to interactions, histories, users with profiles, and a ledger."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.alike import read_alike
from motet.data import contracts
from motet.data.cleaning import merge_interactions, split_bad
from motet.data.entities import join_text, text_columns
from motet.data.features import FeatureSpec
from motet.data.histories import (
    assign_parts,
    build_histories,
    label_columns,
    part_ends,
    places,
    profile_vector,
    profile_weights,
    signal_columns,
)
from motet.data.ledger import Ledger, quarantine_rows, take_counts
from motet.data.parquet import read_parquet, write_parquet
from motet.data.private_rows import take_forgotten
from motet.data.split import TRAIN, UNUSED
from motet.data_settings import Entity
from motet.mirror import at_hand
from motet.recipe import Recipe
from motet.storage import read_json


def close_shard(
    shard: int, name: str, folder: Path, read: int, kept: pa.Table, bad: pa.Table, good: pa.Table,
    removed: int = 0, added: int = 0, forgotten: int = 0, **more: Any,
) -> pa.Table:  # fmt: skip
    """Write a shard's quarantine and return its ledger as one row."""
    if bad.num_rows:
        write_parquet(folder / "quarantine" / f"{name}-{shard:05d}.parquet", quarantine_rows(bad))
    reasons = Counter(bad.column("_problem").to_pylist())
    merged = good.num_rows - kept.num_rows - removed
    ledger = Ledger(read, kept.num_rows, bad.num_rows, merged, reasons, removed, added, forgotten)
    return pa.table({"ledger": [json.dumps({**ledger.to_dict(), **more})]})


@dataclass(frozen=True)
class FinishUsers:
    """Turns the checked rows of whole users into interactions, histories and users of one shard."""

    folder: str
    recipe: Recipe

    def __call__(self, shard: int, table: pa.Table) -> pa.Table:
        """Write the shard's files and return its ledger."""
        folder, recipe = Path(self.folder), self.recipe
        catalogue = _catalogue(self.folder)
        rows, read = take_counts(table)
        rows, forgotten = take_forgotten(rows)
        rows = contracts.flag_unknown_items(rows, catalogue.ids)
        if len(catalogue.alike):
            rows = contracts.flag_alike(rows, catalogue.alike)
        if recipe.data.split.column:
            rows = contracts.flag_unknown_parts(rows, recipe.data.split.column)
        good, bad = split_bad(rows)
        kept = merge_interactions(good, list(recipe.label_columns), recipe.data.interactions.repeats, recipe.seed)
        boundaries = catalogue.fitted["boundaries"]
        parted = assign_parts(kept, recipe.data.split, boundaries, recipe.seed)
        clipped = _clip(parted, catalogue.fitted["values"])
        labelled = label_columns(clipped, recipe.tasks, part_ends(clipped, boundaries, catalogue.fitted["latest_ms"]))
        labelled = signal_columns(labelled, recipe.data.interactions.signal_expressions)
        name = f"shard-{shard:05d}.parquet"
        write_parquet(folder / "interactions" / name, labelled.drop_columns(["_file", "_row", "_problem", "_raw"]))
        labelled = labelled.filter(pc.less(labelled.column("part"), UNUSED))
        place = places(labelled.column("item"), catalogue.ids)
        histories = build_histories(labelled, place, recipe.data.interactions.propensity)
        write_parquet(folder / "histories" / name, histories)
        users = self._users(shard, histories, catalogue)
        write_parquet(folder / "users" / name, users)
        labels = _count_labels(labelled) | {"users": users.num_rows}
        return close_shard(shard, "interactions", folder, read, kept, bad, good, forgotten=forgotten, labels=labels)

    def _users(self, shard: int, histories: pa.Table, catalogue: "Catalogue") -> pa.Table:
        """Join the attributes of a shard's users with the profiles of their histories."""
        spec = FeatureSpec.model_validate(catalogue.fitted["users"])
        path = Path(self.folder) / "clean-users" / f"shard-{shard:05d}.parquet"
        settings = self.recipe.data.users
        known = read_parquet(path) if settings and at_hand(path).exists() else None
        ids = histories.column("user").to_pylist()
        if known is not None:
            seen = set(ids)
            ids += [one for one in known.column("id").to_pylist() if one not in seen]
        features, texts = _attributes(ids, known, settings, spec)
        profiles = _profiles(histories, catalogue, self.recipe)
        blank = np.zeros(catalogue.content.shape[1], np.float32)
        profiles += [blank] * (len(ids) - len(profiles))
        events = pc.list_value_length(histories.column("items")).to_pylist()
        events += [0] * (len(ids) - len(events))
        columns = {
            "user": pa.array(ids, pa.string()),
            "text": pa.array([text or "" for text in texts], pa.string()),
        }
        columns |= {"slots": features.column("slots"), "numbers": features.column("numbers")}
        columns["profile"] = pa.array(profiles, pa.list_(pa.float32()))
        columns["events"] = pa.array(events, pa.int32())
        return pa.table(columns)


def _attributes(
    ids: list[str], known: pa.Table | None, settings: Entity | None, spec: FeatureSpec
) -> tuple[pa.Table, list[str]]:
    """Return features and text of users in the order of `ids`; the unknown get the features of missing values."""
    if known is None or settings is None:
        table = pa.table({"id": pa.array(ids, pa.string())})
        return spec.apply(table), [""] * len(ids)
    place = pc.index_in(pa.array(ids, pa.string()), value_set=known.column("id").combine_chunks())
    rows = known.take(place)
    wanted = [*text_columns(settings), *settings.categories, *settings.numbers]
    return spec.apply(rows.select(wanted)), join_text(rows, settings.text).to_pylist()


def _profiles(histories: pa.Table, catalogue: "Catalogue", recipe: Recipe) -> list[np.ndarray]:
    """Return the part over item attributes of each user's profile, from all their events; training never reads it.

    The index stage joins the part over texts, once there are vectors.
    """
    profiles = []
    for row in histories.to_pylist():
        items_S = np.asarray(row["items"], np.int64)
        liked = row[recipe.liked_label] if recipe.liked_label else [None] * len(items_S)
        weights_S = profile_weights(np.asarray(row["timestamps"]), np.array(liked, np.float64), recipe.data.profile)
        profiles.append(profile_vector(weights_S, catalogue.content[items_S]))
    return profiles


def _clip(table: pa.Table, values: dict[str, list[float]]) -> pa.Table:
    """Clip the values of train rows; validation and test stay as they were logged, so that errors on them are true."""
    train = pc.equal(table.column("part"), TRAIN)
    for name, (low, high) in values.items():
        clipped = pc.min_element_wise(
            pc.max_element_wise(table.column(name), low, skip_nulls=False), high, skip_nulls=False
        )
        found = pc.if_else(train, clipped, table.column(name))
        table = table.set_column(table.column_names.index(name), name, found)
    return table


def _count_labels(table: pa.Table) -> dict[str, int]:
    train = table.filter(pc.equal(table.column("part"), TRAIN))
    return {
        name.removeprefix("label:"): train.num_rows - train.column(name).null_count
        for name in table.column_names
        if name.startswith("label:")
    }


@dataclass(frozen=True)
class Catalogue:
    """What a shard needs to know of the items, and of all users."""

    ids: pa.Array
    content: np.ndarray
    fitted: dict[str, Any]
    alike: pa.Array
    """Users who are like earlier ones."""


@cache
def _catalogue(folder: str) -> Catalogue:
    """Load the encoded items once per worker process."""
    table = read_parquet(Path(folder) / "items", ["item", "slots", "numbers"])
    fitted = read_json(Path(folder) / "features.json")
    spec = FeatureSpec.model_validate(fitted["items"])
    numbers_NM = np.asarray(table.column("numbers").to_pylist(), np.float32).reshape(table.num_rows, -1)
    content = spec.unit_rows(table.column("slots").to_pylist(), numbers_NM)
    return Catalogue(table.column("item").combine_chunks(), content, fitted, read_alike(Path(folder)))
