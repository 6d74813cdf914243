"""index: item vectors to FAISS, neighbours, popularity, user states; fusion and calibration.

sources as of past moments    -> asked about what came next    -> the fusion's examples
sources as of the end of train -> asked about validation events -> more of them, calibrators, choice of sources
sources as of validation's end, and the network that was refitted, if any
                               -> the bundle's draft, that is evaluated on the test part and released
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from safetensors.numpy import load_file, save_file

from jobs.cluster import devices_for
from jobs.collaborative import write_sources
from jobs.fusing import calibrate_again, fit_on_the_past, past_of
from jobs.histories import UserTexts, item_inputs, shards_of
from jobs.stages import Result, Run, code_version, run_stage, say
from jobs.train import released
from motet.data.features import FeatureSpec
from motet.data.histories import profile_vector, profile_weights
from motet.data.parquet import merge_parquet, read_parquet, write_parquet
from motet.data.split import TEST
from motet.devices import choose
from motet.encoders.cache import hex_keys
from motet.estimates import ESTIMATES
from motet.mirror import at_hand
from motet.model.io import load_model
from motet.recipe import Recipe
from motet.recommend import read_recipe
from motet.retrieval.index import VectorIndex, measure_recall, require_recall, widened
from motet.retrieval.index_kinds import choose_kind
from motet.retrieval.sharded import build_parts, part_bounds, part_paths
from motet.settings import IndexSettings
from motet.storage import copy_file, read_json, write_file_atomic, write_json
from motet.training.windows import LIKING_UNKNOWN, liking_of

CODE = (
    "platform/motet/retrieval", "platform/motet/ranking", "platform/motet/recommend", "platform/motet/people.py",
    "platform/motet/evaluation/fitting.py", "platform/motet/evaluation/held_out.py",
    "platform/motet/evaluation/selection.py", "platform/motet/kinds", "jobs/index.py",
    "platform/motet/data/moments.py", "jobs/collaborative.py", "jobs/fusing.py", "jobs/asking.py", "jobs/histories.py",
)  # fmt: skip
_ITEMS_PER_TASK = 65_536
_RECALL_QUERIES = 200


def index(run: Run, prepared: Result, embedded: Result, trained: Result) -> Result:
    """Run the stage."""
    recipe = run.recipe.without_search
    inputs = {
        "recipe": recipe.resolved(),
        "trained": [prepared.id, embedded.id, trained.id],
        "code": code_version(*CODE),
    }
    work = partial(_work, run=run, prepared=prepared.folder, embedded=embedded.folder, trained=trained.folder)
    return run_stage(run, "index", "drafts", inputs, work)


def _work(folder: Path, run: Run, prepared: Path, embedded: Path, trained: Path) -> dict[str, Any]:
    recipe = run.recipe.without_search
    devices_for(recipe, "index")
    _copy_card(folder, recipe, prepared, embedded)
    _write_network(folder, recipe, prepared, embedded, trained)
    texts = UserTexts(str(run.workspace / "embeddings" / read_json(embedded / "encoder.json")["key"]), str(embedded),
                      read_json(embedded / "encoder.json")["dim"])  # fmt: skip
    _write_users(folder, recipe, prepared, texts)
    found, targets = fit_on_the_past(folder, recipe, prepared)
    if (final := released(trained)) != trained:
        _write_network(folder, recipe, prepared, embedded, final)
        if recipe.train.held_back:
            calibrate_again(folder, recipe, prepared)
    recall, kind = _measure(folder, recipe)
    say("index: sources on train and validation")
    write_sources(folder, read_recipe(folder), past_of(prepared, prepared / "histories", TEST))
    line = f"{kind} index, recall@100 {recall:.3f}; {found:,} of {targets:,} validation events among the candidates"
    return {"line": line, "kind": kind, "recall": recall, "candidate_recall": found / max(targets, 1)}


def _copy_card(folder: Path, recipe: Recipe, prepared: Path, embedded: Path) -> None:
    write_json(folder / "recipe.json", recipe.resolved())
    for source in (prepared / "features.json", embedded / "whitening.safetensors", embedded / "encoder.json"):
        copy_file(at_hand(source), folder / source.name)


def _write_network(folder: Path, recipe: Recipe, prepared: Path, embedded: Path, trained: Path) -> None:
    """Write a network and what follows from it: items.parquet, vectors.safetensors and the FAISS files."""
    for name in ("model.safetensors", "model.json", ESTIMATES):
        if at_hand(trained / name).exists():
            copy_file(trained / name, folder / name)
    table = read_parquet(prepared / "items")
    items = table.num_rows
    counts = read_parquet(trained / "counts.parquet").column("count")
    keys = pa.array(hex_keys(table.column("text").to_pylist()))
    shown = table.drop_columns(["text"]).append_column("count", counts).append_column("text_key", keys)
    write_parquet(folder / "items.parquet", shown)
    ranges = [
        {"start": start, "end": min(items, start + _ITEMS_PER_TASK)} for start in range(0, items, _ITEMS_PER_TASK)
    ]
    tower = partial(_item_vectors, prepared=str(prepared), embedded=str(embedded), trained=str(trained))
    done = ray.data.from_items(ranges).map_batches(tower, batch_size=1, batch_format="pyarrow")
    parts = sorted(done.iter_rows(), key=lambda row: int(row["start"]))
    vectors_ID = np.concatenate(
        [np.frombuffer(row["vectors"], np.float32).reshape(-1, recipe.model.dim) for row in parts]
    )
    inputs = item_inputs(prepared, embedded, counts.to_numpy())
    spec = FeatureSpec.model_validate(read_json(prepared / "features.json")["items"])
    attributes_IW = spec.unit_rows(table.column("slots").to_pylist(), inputs.numbers_IM)
    content_IW = np.concatenate([inputs.text_IX, attributes_IW], 1) / np.sqrt(2)
    tensors = {"items": vectors_ID, "content": content_IW, "log_count": inputs.log_count_I,
               "text_dim": np.array([inputs.text_IX.shape[1]])}  # fmt: skip
    write_file_atomic(folder / "vectors.safetensors", lambda target: save_file(tensors, target))
    unit_ID = vectors_ID / np.maximum(np.linalg.norm(vectors_ID, axis=1, keepdims=True), 1e-12)
    _build_index(unit_ID, recipe, folder / "index.faiss")
    _build_index(content_IW, recipe, folder / "content.faiss")


def _build_index(vectors_ID: np.ndarray, recipe: Recipe, path: Path) -> None:
    """Write a FAISS index; with `index.gpu` it is built in a task that has a GPU."""

    def build(vectors_ID: np.ndarray, gpu: bool) -> None:
        build_parts(vectors_ID, recipe.index, path, gpu)

    gpus = choose(recipe, ray.cluster_resources()).index_gpus
    if gpus:
        ray.get(ray.remote(build).options(num_gpus=gpus).remote(vectors_ID, gpu=True))
    else:
        build(vectors_ID, gpu=False)


def _measure(folder: Path, recipe: Recipe) -> tuple[float, str]:
    """Return (recall@100 of the vector index, its kind), asked by users; refuse an index below the floor."""
    from motet.recommend import Embedder

    embedder = Embedder(at_hand(folder))
    names = list(embedder.people.rows)
    chosen = np.random.default_rng(recipe.seed).choice(len(names), min(len(names), _RECALL_QUERIES), replace=False)
    states = embedder.states([embedder.people.find(names[place]) for place in chosen])
    items = embedder.items
    queries = {
        "index.faiss": (np.asarray(items.unit_ID), np.stack([state.vector_D for state in states])),
        "content.faiss": (np.asarray(items.content_IW), np.stack([state.content_W for state in states])),
    }
    recalls = {}
    for name, (matrix, asked) in queries.items():
        recalls[name] = min(_measure_parts(folder / name, matrix, asked[asked.any(1)], recipe.index))
    bounds = part_bounds(len(items), recipe.index.shards)
    kind, why = choose_kind(recipe.index, bounds[1])
    say(f"index: {kind}, since {why}")
    return recalls["index.faiss"], kind


def _measure_parts(path: Path, matrix_ID: np.ndarray, asked_QD: np.ndarray, settings: IndexSettings) -> Iterator[float]:
    """Yield the recall of each part of an index over its own items; what all find together is at least the least."""
    bounds = pairwise(part_bounds(len(matrix_ID), settings.shards))
    for part, (start, end) in zip(part_paths(path, settings.shards), bounds, strict=True):
        rows_ID = matrix_ID[start:end]
        index = VectorIndex.load(part, rows_ID)
        if settings.kind == "auto":
            index, recall = widened(index, rows_ID, asked_QD, settings.recall_floor)
            index.save_settings(part)
        else:
            recall = measure_recall(index, rows_ID, asked_QD)
        how = f", nprobe {index.settings.nprobe}" if index.kind == "ivf" else ""
        say(f"index: {part.name} finds {recall:.3f} of the best 100{how}")
        require_recall(recall, f"{index.kind} index ({part.name})", settings)
        yield recall


def _item_vectors(batch: pa.Table, prepared: str, embedded: str, trained: str) -> pa.Table:
    """Run the item tower over ranges of the catalogue."""
    import torch

    from motet.training.catalogue import Catalogue

    counts_I = read_parquet(Path(trained) / "counts.parquet").column("count").to_numpy()
    catalogue = Catalogue(item_inputs(Path(prepared), Path(embedded), counts_I), torch.from_numpy(counts_I))
    model, _ = load_model(Path(trained))
    rows = []
    for row in batch.to_pylist():
        with torch.inference_mode():
            vectors = catalogue.vectors(model, torch.arange(row["start"], row["end"]))
        rows.append({"start": row["start"], "vectors": vectors.float().numpy().tobytes()})
    return pa.Table.from_pylist(rows)


def _write_users(folder: Path, recipe: Recipe, prepared: Path, texts: UserTexts) -> None:
    """Write users.parquet: attributes, text vector, profile and the whole history of every user, shard by shard."""
    shards = shards_of(prepared)
    rows = ray.data.from_items(shards, override_num_blocks=len(shards))
    make = partial(_user_states, recipe=recipe, texts=texts, folder=str(folder))
    rows.map_batches(make, batch_size=1, batch_format="pyarrow").materialize()
    merge_parquet(folder / "users", folder / "users.parquet")


def _user_states(batch: pa.Table, recipe: Recipe, texts: UserTexts, folder: str) -> pa.Table:
    content_IW = load_file(at_hand(Path(folder) / "vectors.safetensors"))["content"]
    for row in batch.to_pylist():
        users = read_parquet(Path(row["users"]), ["user", "text", "slots", "numbers", "profile"])
        histories = {one["user"]: one for one in read_parquet(Path(row["histories"])).to_pylist()}
        vectors_UX = texts(users.column("text").to_pylist())
        text_IX = content_IW[:, : vectors_UX.shape[1]]
        states = [
            _user_state(histories.get(user), attributes, recipe, text_IX)
            for user, attributes in zip(
                users.column("user").to_pylist(), users.column("profile").to_pylist(), strict=True
            )
        ]
        types = {"profile": pa.float32(), "items": pa.int32(), "timestamps": pa.int64(), "liking": pa.int8()}
        types |= dict.fromkeys(_read(recipe), pa.float32())
        columns = {name: pa.array([one[name] for one in states], pa.list_(kind)) for name, kind in types.items()}
        table = pa.table(
            {
                **{name: users.column(name) for name in ("user", "slots", "numbers")},
                "text": pa.array(list(vectors_UX), pa.list_(pa.float32())),
                **columns,
            }
        )
        write_parquet(Path(folder) / "users" / Path(row["users"]).name, table.sort_by("user"))
    return pa.table({"shards": [batch.num_rows]})


def _user_state(
    history: dict[str, Any] | None, attributes: list[float], recipe: Recipe, text_IX: np.ndarray
) -> dict[str, Any]:
    """Return a user's history and profile; the profile's part over attributes comes from the prepare stage."""
    if history is None:
        empty: dict[str, list[float]] = {name: [] for name in _read(recipe)}
        return {"profile": np.zeros(0, np.float32), "items": [], "timestamps": [], "liking": [], **empty}
    items_S = np.array(history["items"], np.int64)
    labels_S = np.array(history[recipe.liked_label] if recipe.liked_label else [None] * len(items_S), np.float32)
    liking_S = liking_of(labels_S) if recipe.liked_label else np.full(len(items_S), LIKING_UNKNOWN, np.int8)
    weights_S = profile_weights(np.array(history["timestamps"]), labels_S, recipe.data.profile)
    text_X = profile_vector(weights_S, text_IX[items_S])
    profile_W = np.concatenate([text_X, np.array(attributes, np.float32) / np.sqrt(2)])
    labels = {name: history[name] for name in _read(recipe)}
    return {"profile": profile_W, "items": items_S, "timestamps": history["timestamps"], "liking": liking_S, **labels}


def _read(recipe: Recipe) -> list[str]:
    """Return the columns of histories that the user tower reads of each event."""
    signals = recipe.data.interactions.signals
    return [*(f"label:{task.name}" for task in recipe.scored_tasks), *(f"signal:{name}" for name in signals)]
