"""Whether it can be told who was trained on: `python bench/membership.py`.

MovieLens-100k; the network is trained on half of the users. Whoever attacks knows a user's events, and takes those for
members whose mean loss is low (the threshold attack of Yeom et al., CSF 2018). An AUC of 0.5 is a coin. Three networks:
as the recipe trains it, trained for long, and the same with a private user tower (`train.private`). Prints one table,
and writes bench/results/membership.json.
"""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
import typer  # noqa: E402
from sklearn.metrics import roc_auc_score, roc_curve  # noqa: E402

from bench.runs import CACHE, say  # noqa: E402
from jobs.histories import UserTexts, item_inputs  # noqa: E402
from motet.data.hashing import uniform  # noqa: E402
from motet.data.parquet import read_parquet  # noqa: E402
from motet.data.split import TRAIN  # noqa: E402
from motet.model.io import load_model  # noqa: E402
from motet.recipe import Recipe  # noqa: E402
from motet.recipe_file import load_recipe  # noqa: E402
from motet.storage import read_json, read_manifest, write_json  # noqa: E402
from motet.training.batches import collate  # noqa: E402
from motet.training.catalogue import Catalogue  # noqa: E402
from motet.training.step import TrainStep  # noqa: E402
from motet.training.windows import train_rows  # noqa: E402

RECIPE = ROOT / "recipes" / "movielens.yaml"


def is_member(user: str) -> bool:
    """Return whether a user is among those who are trained on."""
    return uniform("member", user) < 0.5


def write_log(path: Path) -> None:
    """Write the ratings with their part: the others' are all of the test, which nothing is trained on."""
    with (CACHE / "ml-100k" / "interactions.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["timestamp"]))
    last = {row["user_id"]: place for place, row in enumerate(rows)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "set"])
        writer.writeheader()
        for place, row in enumerate(rows):
            known = "validation" if last[row["user_id"]] == place else "train"
            writer.writerow(row | {"set": known if is_member(row["user_id"]) else "test"})


def train(work: Path, changes: dict[str, Any]) -> tuple[Recipe, Path]:
    """Return (recipe, folder of the network) of a pipeline run."""
    settings = {"workspace": work / "workspace", "data.interactions.path": work / "interactions.csv",
                "data.split": "{kind: column, column: set}", "model.estimates": "none", "train.workers": 0,
                **changes}  # fmt: skip
    words = [f"{name}={value}" for name, value in settings.items()]
    command = [sys.executable, str(ROOT / "jobs" / "pipeline.py"), str(RECIPE), "--until", "train"]
    subprocess.run([*command, *(word for one in words for word in ("--set", one))], check=True, capture_output=True)
    runs = [path for path in (work / "workspace" / "runs").iterdir() if path.suffix != ".checkpoints"]
    return load_recipe(RECIPE, words).recipe, max(runs, key=lambda path: path.stat().st_mtime)


def losses(recipe: Recipe, network: Path, workspace: Path) -> dict[str, float]:
    """Return the mean loss per event of each user under the retrieval task, by window as in training."""
    (prepared,), (embedded,) = (list((workspace / name).iterdir()) for name in ("prepared", "embedded"))
    model, card = load_model(network)
    counts_I = read_parquet(network / "counts.parquet").column("count").to_numpy().copy()
    catalogue = Catalogue(item_inputs(prepared, embedded, counts_I), torch.from_numpy(counts_I))
    step = TrainStep(model.eval(), catalogue, card.tasks, card.scales, recipe.train)
    encoder = read_json(embedded / "encoder.json")
    texts = UserTexts(str(workspace / "embeddings" / encoder["key"]), str(embedded), encoder["dim"])
    names, column = [task.name for task in recipe.scored_tasks], [task.scored for task in recipe.tasks].index(False)
    found: dict[str, float] = {}
    for path in sorted((prepared / "histories").glob("*.parquet")):
        users = read_parquet(prepared / "users" / path.name, ["user", "text", "slots", "numbers"])
        histories = read_parquet(path)
        for place, user in enumerate(histories.column("user").to_pylist()):
            own = histories.slice(place, 1)
            parts = pa.array([[TRAIN] * len(own.column("parts")[0])], own.schema.field("parts").type)
            own = own.set_column(own.column_names.index("parts"), "parts", parts)
            batch = collate(train_rows(own, users, recipe.model.history, texts), names, recipe.model.history)
            with torch.inference_mode():
                sums_T, counts_T = step(batch)
            found[user] = float(sums_T[column] / counts_T[column])
    return found


def attack(found: dict[str, float]) -> dict[str, float]:
    """Return the attack's AUC, and the share of members that it finds if it may be wrong of 1 % of the others."""
    member_U = np.array([is_member(user) for user in found])
    score_U = -np.array(list(found.values()))
    false_N, true_N, _ = roc_curve(member_U, score_U)
    return {"auc": float(roc_auc_score(member_U, score_U)), "at_1_percent": float(true_N[false_N <= 0.01].max())}


def main(
    work: Annotated[Path, typer.Option(help="Where log and workspace are kept.")] = ROOT / "workspace-membership",
    epochs: Annotated[int, typer.Option(help="Of the network that is trained for long, and of the private one.")] = 20,
    epsilon: Annotated[float, typer.Option(help="Of the private user tower.")] = 8.0,
) -> None:
    """Train three networks and attack each."""
    write_log(work / "interactions.csv")
    long = {"train.epochs": epochs, "train.patience": epochs, "train.select_by": "watch.loss"}
    private = {"train.private": f"{{epsilon: {epsilon}}}"}
    networks = {"as the recipe": {}, f"{epochs} epochs": long, "the same, private": long | private}
    results = {}
    say(f"{'':<18}{'NDCG@10':>9}{'epsilon':>9}{'AUC':>8}{'found at 1 %':>14}")
    for name, changes in networks.items():
        recipe, network = train(work, changes)
        summary = read_manifest(network)["summary"]
        spent = (summary.get("privacy") or {}).get("epsilon")
        found = attack(losses(recipe, network, work / "workspace"))
        results[name] = {"ndcg": summary["validation"]["watch.ndcg"], "epsilon": spent, **found}
        said = "none" if spent is None else f"{spent:.2f}"
        say(f"{name:<18}{results[name]['ndcg']:>9.4f}{said:>9}{found['auc']:>8.3f}{found['at_1_percent']:>14.1%}")
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    write_json(ROOT / "bench" / "results" / "membership.json", results)


if __name__ == "__main__":
    typer.run(main)
