"""What the index stage fits by asking about the past: the fusion of the sources, and the calibrators (Ray Data)."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.asking import asked_at, held_out_rows, held_out_users, load_recommender
from jobs.collaborative import Past, write_sources
from jobs.stages import say
from jobs.tables import file_name, over_files
from motet.data.moments import NOW, Moment, past_moments
from motet.data.parquet import write_parquet
from motet.data.split import VALIDATION
from motet.errors import RetrievalError
from motet.evaluation.selection import Selector
from motet.mirror import at_hand, names_in, remove
from motet.model.io import load_model
from motet.recipe import Recipe
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.features import RankFeatures
from motet.retrieval.fusion import Fusion
from motet.retrieval.trees import Group
from motet.retrieval.trends import Trends
from motet.storage import copy_file, file_sha256, read_json, write_json

_CANDIDATES_KEPT = 100
_KEPT_PER_EVENT = 100
_LEARNED = ("vectors",)
"""Sources that the train stage fitted: about an event that it was trained on they know too much."""


def past_of(prepared: Path, histories: Path, before: int) -> Past:
    """Return the events of `histories` before a part."""
    percentiles = read_json(prepared / "features.json")["percentiles"]
    return Past(histories, prepared / "users", before, (percentiles[0], percentiles[-1]))


def fit_on_the_past(folder: Path, recipe: Recipe, prepared: Path) -> tuple[int, int]:
    """Write the fusion and the calibrators; return how many validation targets the candidates held, and of how many.

    Under `sources: auto` the draft's recipe then names the sources that were chosen.
    """
    chooses = recipe.retrieval.sources == "auto"
    if chooses:
        recipe = _with_candidates(recipe, ItemTable.load(folder))
        write_json(folder / "recipe.json", recipe.resolved())
    write_sources(folder, recipe, past_of(prepared, prepared / "histories", VALIDATION))
    past: list[dict[str, Any]] = []
    if recipe.retrieval.fusion == "trees":
        percentiles = read_json(prepared / "features.json")["percentiles"]
        moments = past_moments(recipe.data.split, percentiles, recipe.retrieval.moments)
        for number, moment in enumerate(moments):
            withheld = () if number < recipe.train.held_back else _LEARNED
            past += _of_moment(folder / "moments" / f"{number:02d}", moment, folder, recipe, prepared, withheld)
        say(f"index: asked {len(past):,} times at past moments ({len(moments)} of them)")
    most = _KEPT_PER_EVENT if recipe.evaluate.history in ("before", "around") else None
    validation = _ask(folder, recipe, prepared / "histories", VALIDATION, asked_at(prepared, VALIDATION), most=most)
    if not validation:
        raise RetrievalError("no user has an event in the validation part; enlarge data.split.validation")
    if recipe.retrieval.fusion == "trees":
        _fit_trees(folder, recipe, past, validation, chooses)
    else:
        usable = [(one["scores"], one["ranks"], one["rows"]) for one in validation if len(one["rows"])]
        write_json(folder / "fusion.json", Fusion.fit(recipe.retrieval.names, usable).to_dict())
    _fit_calibrators(folder, recipe, validation)
    remove(folder / "moments", ignore_errors=True)
    found = sum(len(one["rows"]) for one in validation)
    return found, found + sum(one["missed"] for one in validation)


def calibrate_again(folder: Path, recipe: Recipe, prepared: Path) -> None:
    """Write the calibrators of the network that is now in the draft, over validation events that it was trained on.

    A network that left the latest events out is further off from what comes than one that knows them, so its
    calibrators would bend what needs no bending.
    """
    _fit_calibrators(folder, recipe, _ask(folder, recipe, prepared / "histories", VALIDATION,
                                          asked_at(prepared, VALIDATION), most=1))  # fmt: skip


def _of_moment(
    place: Path, moment: Moment, draft: Path, recipe: Recipe, prepared: Path, withheld: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Fit sources as of a moment and ask them about what came next."""
    files = names_in(prepared / "histories")
    over_files(files, partial(_shift, moment=moment, target=str(place / "histories")))
    copy_file(draft / "items.parquet", place / "items.parquet")
    write_sources(place, recipe, past_of(prepared, place / "histories", NOW))
    return _ask(draft, recipe, place / "histories", NOW, moment.at_ms, fitted=place, withheld=withheld,
                most=_CANDIDATES_KEPT)  # fmt: skip


def _shift(table: pa.Table, moment: Moment, target: str) -> pa.Table:
    write_parquet(Path(target) / file_name(table), moment.parts(table))
    return pa.table({"rows": [table.num_rows]})


def _ask(
    draft: Path, recipe: Recipe, histories: Path, part: int, asked_ms: int | None, fitted: Path | None = None,
    withheld: tuple[str, ...] = (), most: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Ask sources about the events of a part, on Ray's workers."""
    dataset = held_out_users(histories, part, recipe.retrieval.fit_users, recipe.seed)
    network = file_sha256(at_hand(draft / "model.safetensors"))
    gather = partial(_gather, folder=str(draft), part=part, asked_ms=asked_ms, fitted=str(fitted) if fitted else None,
                     network=network, withheld=withheld, most=most)  # fmt: skip
    rows = dataset.map_batches(gather, batch_size=1, batch_format="pyarrow").iter_rows()
    return [_unpack(row) for row in sorted(rows, key=lambda row: (row["user"], row["number"]))]


def _gather(
    batch: pa.Table, folder: str, part: int, asked_ms: int | None, fitted: str | None, network: str,
    withheld: tuple[str, ...], most: int | None,
) -> pa.Table:  # fmt: skip
    from motet.evaluation.fitting import gather_examples

    recommender = load_recommender(folder, fitted, network)
    recipe = recommender.retriever.recipe
    known = recipe.evaluate.history if recipe.evaluate.history in ("before", "around") else "parts"
    rows = []
    for chunk in batch.to_pylist():
        held = held_out_rows(chunk["file"], chunk["users"], part, recipe.liked_label, known, asked_ms)
        examples = gather_examples(recommender, held, withheld, most, recipe.seed, scored=fitted is None)
        for number, (user, one) in enumerate(zip(held, examples, strict=True)):
            arrays = {
                "scores": one.scores_CS, "ranks": one.ranks_CS, "features": one.features_CF,
                "rows": one.rows.astype(np.int64), "raw": one.raw_NT.astype(np.float32),
                "labels": one.labels_NT.astype(np.float32), "moments": one.moments_N,
            }  # fmt: skip
            row: dict[str, Any] = {name: array.tobytes() for name, array in arrays.items()}
            row |= {"user": user.user, "number": number, "count": len(one.scores_CS), "targets": len(one.labels_NT)}
            rows.append(row | {"missed": one.missed})
    return pa.Table.from_pylist(rows)


def _unpack(row: dict[str, Any]) -> dict[str, Any]:
    count, targets = row["count"], row["targets"]
    return {
        "scores": np.frombuffer(row["scores"]).reshape(count, -1),
        "ranks": np.frombuffer(row["ranks"]).reshape(count, -1),
        "features": np.frombuffer(row["features"], np.float32).reshape(count, -1),
        "rows": np.frombuffer(row["rows"], np.int64),
        "missed": row["missed"],
        "raw": np.frombuffer(row["raw"], np.float32).reshape(targets, -1 if targets else 0),
        "labels": np.frombuffer(row["labels"], np.float32).reshape(targets, -1 if targets else 0),
        "moments": np.frombuffer(row["moments"], np.int64),
    }


def _with_candidates(recipe: Recipe, items: ItemTable) -> Recipe:
    """Return the recipe with all sources that it can have: what is too large, or can say nothing, is left out."""
    settings = recipe.retrieval
    unfit = {
        "ease": len(items) > settings.ease_limit,
        "als": len(items) * settings.als_factors**2 > settings.als_limit,
        "again": recipe.excludes_seen,
        "popularity_segment": recipe.data.users is None or not recipe.data.users.categories,
    }
    names = tuple(name for name in settings.names if not unfit.get(name, False))
    return recipe.model_copy(update={"retrieval": settings.model_copy(update={"sources": names})})


def _fit_trees(
    folder: Path, recipe: Recipe, past: list[dict[str, Any]], validation: list[dict[str, Any]], chooses: bool
) -> None:
    """Write the trees, and what each source adds; choose the sources if the recipe says so."""
    settings = recipe.retrieval
    names = RankFeatures(settings.names, ItemTable.load(folder), Trends.load(folder)).names
    old, held = ([Group(one["features"], one["rows"], one["missed"]) for one in part] for part in (past, validation))
    selector = Selector(old, held, names, settings.names, settings.trees, recipe.seed)
    whole = selector.cross_fit(settings.names)
    without = selector.without_each() if settings.ablate or chooses else {}
    chosen, factor = list(settings.names), whole.factor
    if chooses:
        chosen = selector.choose(without, whole.ndcg)
        factor = selector.cross_fit(chosen).factor
        say(f"index: sources {', '.join(chosen)}; no gain on validation from "
            f"{', '.join(name for name in settings.names if name not in chosen) or 'none'}")  # fmt: skip
        resolved = recipe.resolved()
        resolved["retrieval"]["sources"] = chosen
        write_json(folder / "recipe.json", resolved)
    trees = selector.trees(chosen, factor)
    trees.save(folder)
    about = {"ndcg": whole.ndcg, "without": without, "chosen": chosen, "importance": trees.importance}
    write_json(folder / "fusion_report.json", about)


def _fit_calibrators(folder: Path, recipe: Recipe, examples: list[dict[str, Any]]) -> None:
    """Write calibrators.json."""
    _, card = load_model(folder)
    raw_NT = np.concatenate([one["raw"] for one in examples])
    labels_NT = np.concatenate([one["labels"] for one in examples])
    moments_N = np.concatenate([one["moments"] for one in examples])
    calibrators = {}
    for column, score in enumerate(recipe.scores):
        rules, scale = score.task.rules, card.scales[score.task.name]
        fitted = rules.fit(recipe.ranking.calibration, raw_NT[:, column], labels_NT[:, column], scale, moments_N)
        calibrators[score.name] = fitted.to_dict()
    write_json(folder / "calibrators.json", calibrators)
