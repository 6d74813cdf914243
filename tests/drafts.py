"""What the index and the evaluate stage leave, made of the tiny recommender without Ray."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import save_file

from motet.data.histories import profile_vector, profile_weights
from motet.data.parquet import write_parquet
from motet.data.split import TEST, VALIDATION
from motet.encoders.cache import hex_keys
from motet.encoders.text import encoder_key
from motet.evaluation import report
from motet.evaluation.fitting import gather_examples
from motet.evaluation.held_out import held_out
from motet.kinds.calibration import fit_linear
from motet.model.io import save_model
from motet.recommend import Recommender
from motet.retrieval.fusion import Fusion
from motet.retrieval.pairs import Fading, neighbours, pair_counts
from motet.retrieval.sharded import build_parts
from motet.retrieval.trees import Group, Trees, fit
from motet.retrieval.trends import Trends, bin_length, count_bins
from motet.storage import write_file_atomic, write_json, write_manifest
from motet.training.catalogue import Catalogue
from motet.training.windows import liking_of
from tests.builders import ITEMS, Tiny


def write_draft(tiny: Tiny, folder: Path) -> Path:
    """Write what the index stage leaves; calibrators are those of too few rows."""
    folder.mkdir(parents=True)
    model = tiny.train()[0].step_module.model.eval()
    save_model(folder, model, tiny.card)
    write_json(folder / "recipe.json", tiny.recipe.resolved())
    specs = {name: tiny.spec(name).model_dump(mode="json") for name in ("items", "users")}
    write_json(folder / "features.json", specs | {"percentiles": percentiles(tiny), "boundaries": None})
    about = {**tiny.recipe.encoder.model_dump(mode="json"), "dim": 16, "key": encoder_key(tiny.recipe.encoder)}
    write_json(folder / "encoder.json", about)
    tiny.whitening.save(folder / "whitening.safetensors")
    content_IW = _write_items(tiny, folder, model)
    _write_users(tiny, folder, content_IW)
    write_crowd(tiny, folder, tiny.histories, TEST)
    scale = tiny.card.scales["rating"]
    fitted = fit_linear(np.zeros(0), np.zeros(0), (scale.std, scale.mean), (scale.low, scale.high))
    write_json(folder / "calibrators.json", {"rating": fitted.to_dict()})
    write_fusion(tiny, folder)
    write_manifest(folder, {"stage": "index"})
    return folder


def _write_items(tiny: Tiny, folder: Path, model: torch.nn.Module) -> np.ndarray:
    table = tiny.items.drop_columns(["text"]).append_column("count", pa.array(tiny.counts_I))
    keys = pa.array(hex_keys(tiny.items.column("text").to_pylist()))
    write_parquet(folder / "items.parquet", table.append_column("text_key", keys))
    catalogue = Catalogue(tiny.inputs, torch.from_numpy(tiny.counts_I))
    with torch.inference_mode():
        vectors_ID = catalogue.vectors(model, torch.arange(ITEMS)).numpy()
    attributes = tiny.spec("items").unit_rows(tiny.items.column("slots").to_pylist(), tiny.inputs.numbers_IM)
    content_IW = np.concatenate([tiny.inputs.text_IX, attributes], 1)
    content_IW /= np.linalg.norm(content_IW, axis=1, keepdims=True)
    tensors = {"items": vectors_ID, "content": content_IW, "log_count": tiny.inputs.log_count_I}
    tensors["text_dim"] = np.array([tiny.inputs.text_IX.shape[1]])
    write_file_atomic(folder / "vectors.safetensors", lambda target: save_file(tensors, target))
    unit_ID = vectors_ID / np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    build_parts(unit_ID, tiny.recipe.index, folder / "index.faiss")
    build_parts(content_IW, tiny.recipe.index, folder / "content.faiss")
    return content_IW


def _write_users(tiny: Tiny, folder: Path, content_IW: np.ndarray) -> None:
    rows = []
    for row in tiny.histories.to_pylist():
        labels_S = np.array(row["label:like"], np.float32)
        weights_S = profile_weights(np.array(row["timestamps"]), labels_S, tiny.recipe.data.profile)
        profile_W = profile_vector(weights_S, content_IW[row["items"]])
        rows.append(
            {"profile": profile_W, "liking": liking_of(labels_S)}
            | {n: row[n] for n in ("items", "timestamps", *(f"label:{name}" for name in tiny.names))}
        )
    vectors = tiny.text(tiny.users.column("text").to_pylist())
    kinds = {"profile": pa.float32(), "items": pa.int32(), "timestamps": pa.int64(), "liking": pa.int8()}
    kinds |= {f"label:{name}": pa.float32() for name in tiny.names}
    columns = {name: pa.array([row[name] for row in rows], pa.list_(kind)) for name, kind in kinds.items()}
    text = pa.array(list(vectors), pa.list_(pa.float32()))
    known = {name: tiny.users.column(name) for name in ("user", "slots", "numbers")}
    write_parquet(folder / "users.parquet", pa.table({**known, "text": text, **columns}))


def write_crowd(tiny: Tiny, folder: Path, histories: pa.Table, before: int) -> None:
    """Write what sources read that are fitted on the parts of `histories` before one."""
    settings = tiny.recipe.retrieval
    known = [np.array(row["items"])[np.array(row["parts"]) < before] for row in histories.to_pylist()]
    moments = [np.array(row["timestamps"])[np.array(row["parts"]) < before] for row in histories.to_pylist()]
    met = [np.unique(one) for one in known]
    columns = {"items": pa.array(met, pa.list_(pa.int32()))}
    columns["weights"] = pa.array([np.ones(len(one)) for one in met], pa.list_(pa.float32()))
    write_parquet(folder / "met.parquet", pa.table(columns))
    pairs = pair_counts(known, moments, ITEMS, Fading.of(settings))
    users_I = np.bincount(np.concatenate(met), minlength=ITEMS)
    write_parquet(folder / "neighbours.parquet", neighbours(pairs, users_I, settings.neighbours, settings.shrinkage))
    trends_before(tiny, histories, before).save(folder)


def percentiles(tiny: Tiny) -> list[int]:
    """The log's percentiles of time."""
    moments_N = np.concatenate([np.array(one) for one in tiny.histories.column("timestamps").to_pylist()])
    return [int(moment) for moment in np.percentile(moments_N, range(101))]


def trends_before(tiny: Tiny, histories: pa.Table, part: int) -> Trends:
    """The crowd's counts over the parts before one."""
    columns = [np.array(histories.column(name).combine_chunks().flatten()) for name in
               ("items", "timestamps", "label:like", "parts")]  # fmt: skip
    items_N, moments_N, liked_N, parts_N = columns
    known_N, ends = parts_N < part, percentiles(tiny)
    length = bin_length(ends[0], ends[-1])
    arrays = (items_N[known_N], moments_N[known_N], liked_N[known_N].astype(np.float32))
    counts = count_bins(*arrays, ITEMS, ends[0], length)
    return Trends([counts], ITEMS, ends[0], length, int(moments_N[known_N].max()))


def write_fusion(tiny: Tiny, folder: Path) -> None:
    """Write the fusion: trees that learned from the validation events, or a logit of equal weights."""
    settings = tiny.recipe.retrieval
    if settings.fusion == "logit":
        sources = settings.names
        weights_F = np.concatenate([np.ones(len(sources)), np.zeros(2 * len(sources))])
        fusion = Fusion(sources, np.zeros(len(sources)), np.ones(len(sources)), weights_F)
        write_json(folder / "fusion.json", fusion.to_dict())
        return
    recommender = Recommender(folder, threads=1)
    users = held_out(tiny.histories, VALIDATION, tiny.recipe.liked_label)
    groups = [Group(one.features_CF, one.rows, one.missed) for one in gather_examples(recommender, users)]
    names = recommender.retriever.features.names
    Trees(fit(groups, settings.trees, tiny.recipe.seed), names, 1.0).save(folder)


def write_report(folder: Path, ndcg: float = 0.2, protocol: str = "Leave one out.") -> Path:
    """Write what the evaluate stage leaves, as far as a release reads it."""
    systems = {"motet": {"ndcg": {"mean": ndcg, "low": ndcg, "high": ndcg}}}
    told = {"recipe": "tiny", "protocol": protocol, "counts": {"items": 20, "users": 12}}
    report.write_report(folder, {**told, "ranking": {"k": 10, "systems": systems}})
    write_manifest(folder, {"stage": "evaluate"})
    return folder
