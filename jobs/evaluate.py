"""evaluate: the three steps of serving over all held-out users (Ray Data), beside each source alone; the report.

    python jobs/evaluate.py RECIPE [--protocol time|leave-one-out|ratings] [--set a.b=c ...]

runs what is missing up to this stage, under a named protocol whatever the recipe's own split is, and prints the table.
Nothing is released.
"""

import json
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "platform"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import pyarrow as pa  # noqa: E402
import ray  # noqa: E402
import typer  # noqa: E402

from jobs.asking import asked_at, held_out_rows, held_out_users, load_recommender  # noqa: E402
from jobs.stages import Result, Run, claim_workspace, code_version, run_stage  # noqa: E402
from jobs.train import read_metrics  # noqa: E402
from motet.data.parquet import read_parquet  # noqa: E402
from motet.data.split import TEST  # noqa: E402
from motet.errors import said_in_a_line  # noqa: E402
from motet.evaluation.offline import OURS, protocol_in_words  # noqa: E402
from motet.evaluation.per_user import write_rows  # noqa: E402
from motet.evaluation.protocols import NAMED, protocol_overrides  # noqa: E402
from motet.evaluation.report import HTML_NAME, JSON_NAME, write_report  # noqa: E402
from motet.evaluation.sections import sections  # noqa: E402
from motet.evaluation.table import print_report  # noqa: E402
from motet.inputs import check_inputs  # noqa: E402
from motet.mirror import at_hand  # noqa: E402
from motet.recipe_file import LoadedRecipe, load_recipe  # noqa: E402
from motet.storage import read_json  # noqa: E402

CODE = (
    "platform/motet/evaluation", "platform/motet/kinds", "platform/motet/recommend", "platform/motet/model/gates.py",
    "jobs/evaluate.py",
)  # fmt: skip


def evaluate(run: Run, prepared: Result, trained: Result, draft: Result) -> Result:
    """Run the stage."""
    inputs = {
        "evaluate": run.recipe.evaluate.model_dump(mode="json"),
        "draft": draft.id,
        "code": code_version(*CODE),
    }
    work = partial(_work, run=run, prepared=prepared, trained=trained, draft=draft)
    return run_stage(run, "evaluate", "reports", inputs, work)


def _work(folder: Path, run: Run, prepared: Result, trained: Result, draft: Result) -> dict[str, Any]:
    recipe = run.recipe
    users = held_out_users(prepared.folder / "histories", TEST, recipe.evaluate.max_users, recipe.seed)
    rows = _score(draft.folder, users, asked_at(prepared.folder, TEST))
    items = read_parquet(draft.folder / "items.parquet")
    parts = sections(rows, items, recipe)
    for name, calibrator in read_json(draft.folder / "calibrators.json").items():
        parts["tasks"][name] |= {"calibrator": calibrator["kind"], "tried": dict(calibrator.get("tried", []))}
    report = {
        "recipe": recipe.name,
        "protocol": protocol_in_words(recipe),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "ledger": read_json(prepared.folder / "ledger.json"),
        "counts": {
            "users": prepared.summary["users"],
            "items": items.num_rows,
            "interactions": prepared.summary["interactions"],
            "evaluated_users": parts["ranking"]["users"],
        },
        **parts,
        "training": read_metrics(trained.folder),
        "index": {
            "kind": draft.summary["kind"],
            "recall@100": draft.summary["recall"],
            "floor": recipe.index.recall_floor,
        },
        "stages": dict(run.seconds),
    }
    if at_hand(draft.folder / "fusion_report.json").is_file():
        report["fusion"] = read_json(draft.folder / "fusion_report.json")
    write_report(folder, report)
    write_rows(folder, rows, recipe)
    ours = report["ranking"]["systems"]
    shown = ", ".join(f"{name} {ours[name]['ndcg']['mean']:.4f}" for name in ours)
    users_ranked = parts["ranking"]["users"]
    line = f"{users_ranked:,} users, NDCG@{recipe.evaluate.k}: {shown}"
    return {"line": line, "users": users_ranked, "ndcg": ours[OURS]["ndcg"]["mean"]}


def _score(draft: Path, users: ray.data.Dataset, asked_ms: int | None) -> list[dict[str, Any]]:
    score = partial(_score_chunk, draft=str(draft), asked_ms=asked_ms)
    rows = users.map_batches(score, batch_size=1, batch_format="pyarrow").iter_rows()
    return sorted((json.loads(row["row"]) for row in rows), key=lambda row: str(row["user"]))


def _score_chunk(batch: pa.Table, draft: str, asked_ms: int | None) -> pa.Table:
    from motet.evaluation.offline import evaluate_users

    recommender = load_recommender(draft)
    recipe = recommender.retriever.recipe
    known, least = recipe.evaluate.history, recipe.evaluate.least_history
    rows = []
    for chunk in batch.to_pylist():
        rows += evaluate_users(
            recommender, held_out_rows(chunk["file"], chunk["users"], TEST, recipe.liked_label, known, asked_ms, least)
        )
    return pa.table({"row": [json.dumps(row) for row in rows]})


def load_under(recipe: str, protocol: str | None, overrides: list[str]) -> LoadedRecipe:
    """Load a recipe, under a named protocol if one is given; it comes after the overrides, whose shares it keeps."""
    loaded = load_recipe(recipe, overrides)
    if protocol is None:
        return loaded
    return load_recipe(recipe, [*overrides, *protocol_overrides(protocol, loaded.recipe.data.split)])


def main(
    recipe: Annotated[str, typer.Argument(help="The recipe's YAML file.")],
    protocol: Annotated[
        str | None, typer.Option(help=f"{', '.join(NAMED)}; the recipe's own split if not given.")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b=c.")] = None,
) -> None:
    """Evaluate a recipe under a protocol."""
    from jobs.pipeline import run_pipeline

    with said_in_a_line():
        run = Run(load_under(recipe, protocol, overrides or []))
        check_inputs(run.loaded)
        claim_workspace(run)
        report = run_pipeline(run, "evaluate")["evaluate"].folder
    print_report(read_json(report / JSON_NAME))
    typer.echo(f"report: {report / HTML_NAME}")


command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
command.command()(main)

if __name__ == "__main__":
    command()
