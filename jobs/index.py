"""index: item vectors to FAISS, neighbours, popularity, user states; fusion and calibration fitted on validation.

    fitted on train               -> asked about validation events -> fusion weights, calibrators
    fitted on train + validation  -> the bundle's draft, that is evaluated on the test part and released
"""

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from safetensors.numpy import save_file

from jobs.histories import UserTexts, flat, item_inputs, shards_of
from jobs.stages import Result, Run, code_version, run_stage, say
from jobs.tables import NumberKey, by_shard, over_files
from motet.data.features import FeatureSpec
from motet.data.histories import profile_vector, profile_weights
from motet.data.parquet import read_parquet, write_parquet
from motet.data.split import TEST, VALIDATION
from motet.errors import RetrievalError
from motet.model.io import load_model
from motet.ranking.calibration import Calibrator, fit_binary, fit_regression
from motet.recipe import Recipe
from motet.retrieval.fusion import Fusion
from motet.retrieval.index import VectorIndex, measure_recall
from motet.retrieval.pairs import neighbours, pair_counts
from motet.retrieval.sources import popularity_scores
from motet.storage import read_json, write_file_atomic, write_json
from motet.training.windows import LIKING_UNKNOWN, liking_of

CODE = (
    "platform/motet/retrieval", "platform/motet/ranking", "platform/motet/recommend.py", "platform/motet/people.py",
    "platform/motet/evaluation/fitting.py", "platform/motet/evaluation/held_out.py", "jobs/index.py", "jobs/histories.py",
)  # fmt: skip
_ITEMS_PER_TASK = 65_536
_ITEMS_PER_SHARD = 100_000
_FIT_USERS = 2_000
_USERS_PER_TASK = 500
_RECALL_QUERIES = 200


def index(run: Run, prepared: Result, embedded: Result, trained: Result) -> Result:
    """Run the stage."""
    recipe = run.recipe
    inputs = {
        "index": recipe.index.model_dump(mode="json"),
        "retrieval": recipe.retrieval.model_dump(mode="json"),
        "ranking": recipe.ranking.model_dump(mode="json"),
        "surfaces": {name: surface.model_dump(mode="json") for name, surface in recipe.surfaces.items()},
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "serve": recipe.serve.model_dump(mode="json"),
        "release": recipe.release.model_dump(mode="json"),
        "trained": [prepared.id, embedded.id, trained.id],
        "code": code_version(*CODE),
    }
    work = partial(_work, run=run, prepared=prepared.folder, embedded=embedded.folder, trained=trained.folder)
    return run_stage(run, "index", "drafts", inputs, work)


def _work(folder: Path, run: Run, prepared: Path, embedded: Path, trained: Path) -> dict[str, Any]:
    recipe = run.recipe
    _copy_card(folder, recipe, prepared, embedded, trained)
    recall, kind = _write_items(folder, recipe, prepared, embedded, trained)
    texts = UserTexts(str(run.workspace / "embeddings" / read_json(embedded / "encoder.json")["key"]), str(embedded),
                      read_json(embedded / "encoder.json")["dim"])  # fmt: skip
    _write_users(folder, recipe, prepared, texts)
    say("index: sources on train, for fusion and calibration")
    _write_sources(folder, recipe, prepared, before=VALIDATION)
    examples = _examples(folder, recipe, prepared)
    found = sum(len(example["rows"]) for example in examples)
    targets = sum(len(example["labels"]) for example in examples)
    _fit(folder, recipe, examples, trained)
    say("index: sources on train and validation")
    _write_sources(folder, recipe, prepared, before=TEST)
    line = f"{kind} index, recall@100 {recall:.3f}; {found:,} of {targets:,} validation events among the candidates"
    return {"line": line, "kind": kind, "recall": recall, "candidate_recall": found / max(targets, 1)}


def _copy_card(folder: Path, recipe: Recipe, prepared: Path, embedded: Path, trained: Path) -> None:
    write_json(folder / "recipe.json", recipe.resolved())
    copies = {prepared: ("features.json",), embedded: ("whitening.safetensors", "encoder.json"),
              trained: ("model.safetensors", "model.json")}  # fmt: skip
    for source, names in copies.items():
        for name in names:
            (folder / name).write_bytes((source / name).read_bytes())


def _write_items(
    folder: Path, recipe: Recipe, prepared: Path, embedded: Path, trained: Path
) -> tuple[float, str]:
    """Write items.parquet, vectors.safetensors and the FAISS files; return (recall@100, kind)."""
    table = read_parquet(prepared / "items")
    items = table.num_rows
    counts = read_parquet(trained / "counts.parquet").column("count")
    write_parquet(folder / "items.parquet", table.drop_columns(["text"]).append_column("count", counts))
    ranges = [{"start": start, "end": min(items, start + _ITEMS_PER_TASK)} for start in range(0, items, _ITEMS_PER_TASK)]
    tower = partial(_item_vectors, prepared=str(prepared), embedded=str(embedded), trained=str(trained))
    done = ray.data.from_items(ranges).map_batches(tower, batch_size=1, batch_format="pyarrow")
    parts = sorted(done.iter_rows(), key=lambda row: int(row["start"]))
    vectors_ID = np.concatenate([np.frombuffer(row["vectors"], np.float32).reshape(-1, recipe.model.dim) for row in parts])
    inputs = item_inputs(prepared, embedded, counts.to_numpy())
    spec = FeatureSpec.model_validate(read_json(prepared / "features.json")["items"])
    attributes_IW = spec.unit_rows(table.column("slots").to_pylist(), inputs.numbers_IM)
    content_IW = np.concatenate([inputs.text_IX, attributes_IW], 1) / np.sqrt(2)
    content_IW /= np.maximum(np.linalg.norm(content_IW, axis=1, keepdims=True), 1e-12)
    tensors = {"items": vectors_ID, "content": content_IW, "log_count": inputs.log_count_I}
    write_file_atomic(folder / "vectors.safetensors", lambda target: save_file(tensors, target))
    unit_ID = vectors_ID / np.maximum(np.linalg.norm(vectors_ID, axis=1, keepdims=True), 1e-12)
    found = VectorIndex.build(unit_ID, recipe.index)
    found.save(folder / "index.faiss")
    VectorIndex.build(content_IW, recipe.index).save(folder / "content.faiss")
    queries = np.random.default_rng(recipe.seed).choice(items, min(items, _RECALL_QUERIES), replace=False)
    recall = measure_recall(found, unit_ID, unit_ID[queries])
    if recall < recipe.index.recall_floor:
        raise RetrievalError(
            f"the {found.kind} index finds {recall:.3f} of the exact 100 best, index.recall_floor is "
            f"{recipe.index.recall_floor}; raise index.nprobe or index.ef_search, or use index.kind = flat"
        )
    return recall, found.kind


def _item_vectors(batch: pa.Table, prepared: str, embedded: str, trained: str) -> pa.Table:
    """Run the item tower over ranges of the catalogue."""
    import torch

    from motet.training.step import Catalogue

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
    """Write users.parquet: attributes, text vector, profile and the whole history of every user."""
    shards = shards_of(prepared)
    rows = ray.data.from_items(shards, override_num_blocks=len(shards))
    content = str(folder / "vectors.safetensors")
    make = partial(_user_states, recipe=recipe, texts=texts, content=content)
    parts = [
        pa.ipc.open_stream(row["table"]).read_all()
        for row in rows.map_batches(make, batch_size=1, batch_format="pyarrow").iter_rows()
    ]
    table = pa.concat_tables(parts)
    write_parquet(folder / "users.parquet", table.sort_by("user"))


def _user_states(batch: pa.Table, recipe: Recipe, texts: UserTexts, content: str) -> pa.Table:
    from safetensors.numpy import load_file

    content_IW = load_file(content)["content"]
    packed = []
    for row in batch.to_pylist():
        users = read_parquet(Path(row["users"]), ["user", "text", "slots", "numbers", "profile"])
        histories = {one["user"]: one for one in read_parquet(Path(row["histories"])).to_pylist()}
        vectors_UX = texts(users.column("text").to_pylist())
        states = [_user_state(user, histories.get(user), recipe, content_IW) for user in users.column("user").to_pylist()]
        table = pa.table(
            {
                "user": users.column("user"),
                "slots": users.column("slots"),
                "numbers": users.column("numbers"),
                "text": pa.array(list(vectors_UX), pa.list_(pa.float32())),
                "profile": pa.array([one["profile"] for one in states], pa.list_(pa.float32())),
                "items": pa.array([one["items"] for one in states], pa.list_(pa.int32())),
                "timestamps": pa.array([one["timestamps"] for one in states], pa.list_(pa.int64())),
                "liking": pa.array([one["liking"] for one in states], pa.list_(pa.int8())),
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        packed.append(sink.getvalue().to_pybytes())
    return pa.table({"table": pa.array(packed, pa.large_binary())})


def _user_state(user: str, history: dict[str, Any] | None, recipe: Recipe, content_IW: np.ndarray) -> dict[str, Any]:
    if history is None:
        return {"profile": np.zeros(0, np.float32), "items": [], "timestamps": [], "liking": []}
    items_S = np.array(history["items"], np.int64)
    labels_S = np.array(history[recipe.liked_label] if recipe.liked_label else [None] * len(items_S), np.float32)
    liking_S = liking_of(labels_S) if recipe.liked_label else np.full(len(items_S), LIKING_UNKNOWN, np.int8)
    weights_S = profile_weights(np.array(history["timestamps"]), labels_S, recipe.data.profile)
    profile_W = profile_vector(weights_S, content_IW[items_S])
    return {"profile": profile_W, "items": items_S, "timestamps": history["timestamps"], "liking": liking_S}


def _write_sources(folder: Path, recipe: Recipe, prepared: Path, before: int) -> None:
    """Write met.parquet, neighbours.parquet and popularity.parquet from the events of the parts before one."""
    files = sorted((prepared / "histories").glob("*.parquet"))
    items = read_parquet(folder / "items.parquet", ["item"]).num_rows
    users_I, latest = np.zeros(items, np.int64), 0
    met: list[pa.Table] = []
    for row in over_files(files, partial(_met, items=items, before=before)):
        users_I += np.frombuffer(row["users"], np.int64)
        latest = max(latest, int(row["latest"]))
        met.append(pa.ipc.open_stream(row["met"]).read_all())
    write_parquet(folder / "met.parquet", pa.concat_tables(met))
    half_life = recipe.retrieval.popularity_half_life_days
    score_I = np.zeros(items)
    for row in over_files(files, partial(_popularity, items=items, before=before, half_life=half_life, latest=latest)):
        score_I += np.frombuffer(row["score"], np.float64)
    write_parquet(folder / "popularity.parquet", pa.table({"score": score_I}))
    _write_neighbours(folder, recipe, files, users_I, before)


def _before(table: pa.Table, before: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (items, timestamps) of the events in the parts before one."""
    chosen_N = flat(table, "parts") < before
    return flat(table, "items")[chosen_N].astype(np.int64), flat(table, "timestamps")[chosen_N]


def _histories_before(table: pa.Table, before: int) -> list[np.ndarray]:
    rows = zip(table.column("items").to_pylist(), table.column("parts").to_pylist(), strict=True)
    return [np.array(items, np.int64)[np.array(parts) < before] for items, parts in rows]


def _met(table: pa.Table, items: int, before: int) -> pa.Table:
    histories = _histories_before(table, before)
    unique = [np.unique(one) for one in histories]
    users_I = np.bincount(np.concatenate([*unique, np.zeros(0, np.int64)]).astype(np.int64), minlength=items)
    _, moments_N = _before(table, before)
    met = pa.table({"items": pa.array([one for one in unique if len(one)], pa.list_(pa.int32()))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, met.schema) as writer:
        writer.write_table(met)
    latest = int(moments_N.max(initial=0))
    packed = pa.array([sink.getvalue().to_pybytes()], pa.large_binary())
    return pa.table({"users": [users_I.astype(np.int64).tobytes()], "latest": [latest], "met": packed})


def _popularity(table: pa.Table, items: int, before: int, half_life: float, latest: int) -> pa.Table:
    items_N, moments_N = _before(table, before)
    return pa.table({"score": [popularity_scores(items_N, moments_N, items, half_life, latest).tobytes()]})


def _write_neighbours(folder: Path, recipe: Recipe, files: list[Path], users_I: np.ndarray, before: int) -> None:
    """Count pairs per history shard, bring each item's pairs together, keep its best neighbours (Ray Data)."""
    settings, items = recipe.retrieval, len(users_I)
    rows = ray.data.from_items([{"file": str(path)} for path in files], override_num_blocks=len(files))
    count = partial(_pairs, items=items, window=settings.transition_window, decay=settings.transition_decay, before=before)
    pairs = rows.map_batches(count, batch_size=1, batch_format="pyarrow")
    finish = partial(_finish_neighbours, users_I=users_I, keep=settings.neighbours, shrinkage=settings.shrinkage,
                     folder=str(folder / "neighbours"))  # fmt: skip
    by_shard(pairs, NumberKey("item", -(-items // _ITEMS_PER_SHARD)), finish)
    table = read_parquet(folder / "neighbours")
    for path in (folder / "neighbours").glob("*.parquet"):
        path.unlink()
    (folder / "neighbours").rmdir()
    write_parquet(folder / "neighbours.parquet", table.sort_by([("kind", "ascending"), ("item", "ascending"), ("weight", "descending")]))


def _pairs(batch: pa.Table, items: int, window: int, decay: float, before: int) -> pa.Table:
    tables = []
    for path in batch.column("file").to_pylist():
        histories = _histories_before(read_parquet(Path(path)), before)
        tables.append(pair_counts(histories, items, window, decay))
    return pa.concat_tables(tables)


def _finish_neighbours(
    shard: int, pairs: pa.Table, users_I: np.ndarray, keep: int, shrinkage: float, folder: str
) -> pa.Table:
    kept = neighbours(pairs, users_I, keep, shrinkage)
    write_parquet(Path(folder) / f"shard-{shard:05d}.parquet", kept)
    return pa.table({"rows": [kept.num_rows]})


def _examples(folder: Path, recipe: Recipe, prepared: Path) -> list[dict[str, Any]]:
    """Ask the train sources about validation users, on Ray's workers."""
    users = _sample_users(prepared, VALIDATION, recipe, _FIT_USERS)
    chunks = [{"users": users[start : start + _USERS_PER_TASK]} for start in range(0, len(users), _USERS_PER_TASK)]
    dataset = ray.data.from_items(chunks, override_num_blocks=max(1, len(chunks)))
    gather = partial(_gather, folder=str(folder), prepared=str(prepared))
    return [
        {
            "scores": np.frombuffer(row["scores"]).reshape(row["count"], -1),
            "ranks": np.frombuffer(row["ranks"]).reshape(row["count"], -1),
            "rows": np.frombuffer(row["rows"], np.int64),
            "raw": np.frombuffer(row["raw"], np.float32).reshape(row["targets"], -1),
            "labels": np.frombuffer(row["labels"], np.float32).reshape(row["targets"], -1),
        }
        for row in dataset.map_batches(gather, batch_size=1, batch_format="pyarrow").iter_rows()
    ]


def _sample_users(prepared: Path, part: int, recipe: Recipe, most: int) -> list[str]:
    """Return the users with events in a part, or a seeded sample of `most` of them."""
    names: list[str] = []
    for row in over_files(sorted((prepared / "histories").glob("*.parquet")), partial(_users_in, part=part)):
        names += row["users"]
    if len(names) > most:
        names = np.random.default_rng(recipe.seed).choice(np.array(sorted(names)), most, replace=False).tolist()
    return sorted(names)


def _users_in(table: pa.Table, part: int) -> pa.Table:
    rows = zip(table.column("user").to_pylist(), table.column("parts").to_pylist(), strict=True)
    return pa.table({"users": pa.array([[user for user, parts in rows if part in parts]], pa.list_(pa.string()))})


@cache
def load_recommender(folder: str) -> Any:
    """Load the three steps once per worker process, on one torch thread."""
    from motet.recommend import Recommender

    return Recommender(Path(folder), threads=1)


def held_out_rows(prepared: str, users: list[str], part: int, liked: str | None) -> list[Any]:
    """Return the held-out rows of some users."""
    from motet.evaluation.held_out import held_out

    table = read_parquet(Path(prepared) / "histories")
    chosen = table.filter(pc.is_in(table.column("user"), value_set=pa.array(users)))
    return held_out(chosen, part, liked)


def _gather(batch: pa.Table, folder: str, prepared: str) -> pa.Table:
    from motet.evaluation.fitting import gather_examples

    recommender = load_recommender(folder)
    recipe = recommender.retriever.recipe
    rows = []
    for users in batch.column("users").to_pylist():
        held = held_out_rows(prepared, users, VALIDATION, recipe.liked_label)
        for one in gather_examples(recommender, held, recipe.data.interactions.repeats == "keep"):
            rows.append(
                {
                    "count": len(one.scores_CS),
                    "targets": len(one.labels_NT),
                    "scores": one.scores_CS.tobytes(),
                    "ranks": one.ranks_CS.tobytes(),
                    "rows": one.rows.astype(np.int64).tobytes(),
                    "raw": one.raw_NT.astype(np.float32).tobytes(),
                    "labels": one.labels_NT.astype(np.float32).tobytes(),
                }
            )
    return pa.Table.from_pylist(rows)


def _fit(folder: Path, recipe: Recipe, examples: list[dict[str, Any]], trained: Path) -> None:
    """Write fusion.json and calibrators.json."""
    usable = [(one["scores"], one["ranks"], one["rows"]) for one in examples if len(one["rows"])]
    write_json(folder / "fusion.json", Fusion.fit(recipe.retrieval.sources, usable).to_dict())
    _, card = load_model(trained)
    raw_NT = np.concatenate([one["raw"] for one in examples])
    labels_NT = np.concatenate([one["labels"] for one in examples])
    calibrators: dict[str, Calibrator] = {}
    for column, task in enumerate(recipe.scored_tasks):
        raw_N, labels_N = raw_NT[:, column], labels_NT[:, column]
        if task.kind == "binary":
            calibrators[task.name] = fit_binary(recipe.ranking.calibration, raw_N, labels_N)
        else:
            scale = card.scales[task.name]
            calibrators[task.name] = fit_regression(raw_N, labels_N, scale.mean, scale.std, (scale.low, scale.high))
    write_json(folder / "calibrators.json", {name: one.to_dict() for name, one in calibrators.items()})


def users_with(prepared: Path, part: int, recipe: Recipe) -> list[str]:
    """Return the users to evaluate on a part, at most `evaluate.max_users`."""
    return _sample_users(prepared, part, recipe, recipe.evaluate.max_users)
