"""Rank with other libraries, inside their own virtual environment: `python peers.py SPLIT.csv OUT.json LIBRARY LEAST`.

Reads the split file of `protocols.py` (history = train and validation), writes {system: {user: [ten items]}} for the
users of the test part, or {system: {"predictions": [...]}} in the order of the test rows for a ratings library.

Each system is fitted on train with every setting of its grid, the one with the best figure on validation (NDCG@10 of
its items with a rating of at least LEAST, or squared error) is fitted again on train and validation. SASRec takes
minutes a fit: its grid is one setting.
"""

import csv
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

K = 10
CHOSEN = "chosen on validation: "
"""How a line that says a system's setting begins."""
DAY_MS = 86_400_000
Rows = list[dict[str, str]]
Lists = dict[str, list[str]]
Grid = dict[str, tuple[Any, ...]]


def read(path: str) -> tuple[Rows, Rows]:
    """Return the rows of the history, ordered by time, and of the test."""
    with Path(path).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: int(row["timestamp"]))
    return [row for row in rows if row["fold"] != "test"], [row for row in rows if row["fold"] == "test"]


def settings_of(grid: Grid) -> list[dict[str, Any]]:
    """Return every combination of a grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


class Matrix:
    """The history as users x items, and the places of ids."""

    def __init__(self, history: Rows) -> None:
        self.users = sorted({row["user_id"] for row in history})
        self.items = sorted({row["item_id"] for row in history})
        self.user_of = {user: place for place, user in enumerate(self.users)}
        self.item_of = {item: place for place, item in enumerate(self.items)}
        self.rows = np.array([self.user_of[row["user_id"]] for row in history])
        self.columns = np.array([self.item_of[row["item_id"]] for row in history])
        self.moments = np.array([int(row["timestamp"]) for row in history])
        self.ratings = np.array([float(row["rating"]) for row in history])
        self.met = self.weights(0, None)

    def weights(self, least: float, half_life: float | None) -> sp.csr_matrix:
        """Return the rows with a rating of at least `least`, each halving every `half_life` days before the latest."""
        age_days_N = (self.moments.max() - self.moments) / DAY_MS
        weight_N = np.ones(len(self.rows)) if half_life is None else 0.5 ** (age_days_N / half_life)
        kept_N = self.ratings >= least
        places = (self.rows[kept_N], self.columns[kept_N])
        shape = (len(self.users), len(self.items))
        return sp.csr_matrix((weight_N[kept_N].astype(np.float32), places), shape=shape)

    def lists(self, wanted: list[str], scores_UI: np.ndarray) -> Lists:
        """Return the ten best items that each wanted user has not met; rows of scores are those of `wanted`."""
        found = {}
        for row, user in enumerate(wanted):
            scores_I = np.array(scores_UI[row], np.float64)
            scores_I[self.met[self.user_of[user]].indices] = -np.inf
            found[user] = [self.items[place] for place in np.argsort(-scores_I, kind="stable")[:K]]
        return found


Fit = Callable[..., np.ndarray]
"""(history, wanted users, settings as names) -> scores [wanted, items]."""


def ndcg(lists: Lists, targets: dict[str, set[str]]) -> float:
    """Return the mean NDCG@10 over the users with targets."""
    gains = 1 / np.log2(np.arange(K) + 2)
    found = [
        sum(gains[place] for place, item in enumerate(lists[user]) if item in wanted) / gains[: len(wanted)].sum()
        for user, wanted in targets.items()
    ]
    return float(np.mean(found))


def tuned(history: Rows, wanted: list[str], least: float, systems: dict[str, tuple[Fit, Grid]]) -> dict[str, Lists]:
    """Return each system's lists with the setting that is best on validation, fitted on the whole history."""
    train, whole = Matrix([row for row in history if row["fold"] == "train"]), Matrix(history)
    targets = defaultdict(set)
    for row in history:
        if row["fold"] == "validation" and row["user_id"] in train.user_of and float(row["rating"]) >= least:
            targets[row["user_id"]].add(row["item_id"])
    found = {}
    for name, (fit, grid) in systems.items():
        choices = settings_of(grid)
        users = sorted(targets)
        scores = [
            ndcg(train.lists(users, fit(train, users, **one)), targets) if len(choices) > 1 else 0.0 for one in choices
        ]
        best = choices[int(np.argmax(scores))]
        print(f"{CHOSEN}{name}: {best}", file=sys.stderr)
        found[name] = whole.lists(wanted, fit(whole, wanted, **best))
    return found


def popularity(matrix: Matrix, wanted: list[str], least: float, half_life: float | None) -> np.ndarray:
    """Score by counts."""
    counts_I = np.asarray(matrix.weights(least, half_life).sum(0)).ravel()
    return np.tile(counts_I, (len(wanted), 1))


def with_implicit(kind: str) -> Fit:
    """Return what fits item-kNN, ALS or BPR of implicit."""
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import CosineRecommender

    def fit(matrix: Matrix, wanted: list[str], least: float, **settings: Any) -> np.ndarray:
        if kind == "knn":
            model = CosineRecommender(**settings)
        else:
            made = AlternatingLeastSquares if kind == "als" else BayesianPersonalizedRanking
            model = made(random_state=42, **settings)
        given = matrix.weights(least, None)
        model.fit(given, show_progress=False)
        users_U = np.array([matrix.user_of[user] for user in wanted])
        if kind == "knn":
            return np.asarray((given[users_U] @ model.similarity.T).todense())
        return np.asarray(model.user_factors[users_U] @ model.item_factors.T)

    return fit


def with_rectools(kind: str) -> Fit:
    """Return what fits EASE or SASRec of RecTools."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import EASEModel, SASRecModel

    def fit(
        matrix: Matrix, wanted: list[str], least: float, half_life: float | None = None, **settings: Any
    ) -> np.ndarray:
        kept_N = matrix.ratings >= least
        age_days_N = (matrix.moments.max() - matrix.moments[kept_N]) / DAY_MS
        table = pd.DataFrame({
            Columns.User: matrix.rows[kept_N], Columns.Item: matrix.columns[kept_N],
            Columns.Weight: 1.0 if half_life is None else 0.5 ** (age_days_N / half_life),
            Columns.Datetime: pd.to_datetime(matrix.moments[kept_N], unit="ms"),
        })  # fmt: skip
        dataset = Dataset.construct(table)
        model = EASEModel(**settings) if kind == "ease" else SASRecModel(**settings)
        model.fit(dataset)
        row_of = {matrix.user_of[user]: row for row, user in enumerate(wanted)}
        fitted = set(table[Columns.User])
        known = [user for user in row_of if user in fitted]
        answer = model.recommend(users=known, dataset=dataset, k=len(matrix.items), filter_viewed=False)
        scores_UI = np.full((len(wanted), len(matrix.items)), -1e9)
        scores_UI[answer[Columns.User].map(row_of), answer[Columns.Item]] = answer[Columns.Score]
        return scores_UI

    return fit


def ranked(library: str, history: Rows, wanted: list[str], least: float) -> dict[str, Lists]:
    """Return the lists of a library's systems."""
    rows: Grid = {"least": (0, 4)}
    sasrec: Grid = {"n_factors": (64,), "n_blocks": (2,), "n_heads": (2,), "epochs": (14,), "loss": ("softmax",)}
    systems: dict[str, tuple[Fit, Grid]]
    if library == "popularity":
        systems = {
            "popularity, all time": (popularity, rows | {"half_life": (None,)}),
            "popularity, liked in 7 days": (popularity, {"least": (4,), "half_life": (7,)}),
            "popularity, recent": (popularity, rows | {"half_life": (3, 7, 14, 30)}),
        }
    elif library == "implicit":
        als: Grid = {"factors": (16, 32, 64), "regularization": (0.1, 5.0, 20.0), "alpha": (1.0, 5.0, 20.0)}
        systems = {
            "item-kNN (implicit)": (with_implicit("knn"), rows | {"K": (20, 100, 300)}),
            "ALS (implicit)": (with_implicit("als"), rows | als),
            "BPR (implicit)": (with_implicit("bpr"), rows | {"factors": (32, 64), "iterations": (50, 100, 200)}),
        }
    else:
        ease: Grid = {"regularization": (100.0, 300.0, 1000.0), "half_life": (None, 180, 30, 7)}
        systems = {
            "EASE (RecTools), decayed": (with_rectools("ease"), rows | ease),
            "SASRec (RecTools)": (with_rectools("sasrec"), {"least": (0,)} | sasrec | {"verbose": (0,)}),
        }
    return tuned(history, wanted, least, systems)


def with_cornac(history: Rows, test: Rows) -> dict[str, dict[str, list[float]]]:
    """User and item biases, and matrix factorisation, of cornac."""
    import cornac

    def predicted(model: Any, rows: Rows, others: Rows) -> np.ndarray:
        triples = [(row["user_id"], row["item_id"], float(row["rating"])) for row in rows]
        train = cornac.data.Dataset.from_uir(triples, seed=42)
        model.fit(train)
        mean, predictions = float(np.mean([rating for *_, rating in triples])), []
        for row in others:
            user, item = train.uid_map.get(row["user_id"]), train.iid_map.get(row["item_id"])
            known = user is not None and item is not None
            predictions.append(float(np.clip(model.rate(user, item) if known else mean, 1, 5)))
        return np.array(predictions)

    train, held = ([row for row in history if (row["fold"] == "train") == wanted] for wanted in (True, False))
    truth_N = np.array([float(row["rating"]) for row in held])
    systems: dict[str, tuple[Any, Grid]] = {
        "biases (cornac)": (cornac.models.BaselineOnly, {"learning_rate": (0.01,), "lambda_reg": (0.02, 0.1)}),
        "matrix factorisation (cornac)": (
            cornac.models.MF,
            {"k": (20, 40), "learning_rate": (0.01,), "lambda_reg": (0.04, 0.08, 0.12), "use_bias": (True,)},
        ),
    }
    found = {}
    for name, (made, grid) in systems.items():
        choices = [one | {"max_iter": rounds, "seed": 42} for one in settings_of(grid) for rounds in (20, 40, 80)]
        errors = [((predicted(made(**one), train, held) - truth_N) ** 2).mean() for one in choices]
        best = choices[int(np.argmin(errors))]
        print(f"{CHOSEN}{name}: {best}", file=sys.stderr)
        found[name] = {"predictions": predicted(made(**best), history, test).tolist()}
    return found


_RECHUB_EPOCHS = 12


def with_rechub(history: Rows, test: Rows) -> dict[str, dict[str, list[float]]]:
    """MMoE of torch-rechub on ids with the tasks rating, like and ok; setting and epoch are the best on validation."""
    import torch
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.multi_task import MMOE
    from torch_rechub.trainers import MTLTrainer

    names = ("user_id", "item_id")
    codes = {
        name: {value: place for place, value in enumerate(sorted({row[name] for row in history}), 1)} for name in names
    }

    def inputs(rows: Rows) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([codes[name].get(row[name], 0) for row in rows]) for name in names}

    def fitted(rows: Rows, epochs: int, embed_dim: int, weight_decay: float) -> Iterator[MMOE]:
        torch.manual_seed(42)
        features = [SparseFeature(name, vocab_size=len(codes[name]) + 1, embed_dim=embed_dim) for name in names]
        kinds = ["regression", "classification", "classification"]
        towers = [{"dims": [16]} for _ in kinds]
        model = MMOE(
            features, kinds, n_expert=4, expert_params={"dims": [32], "dropout": 0.2}, tower_params_list=towers
        )
        trainer = MTLTrainer(model, kinds, optimizer_params={"lr": 2e-3, "weight_decay": weight_decay}, n_epoch=epochs)
        stars = torch.tensor([float(row["rating"]) for row in rows])
        wanted, known = torch.stack([stars, (stars >= 4).float(), (stars >= 3).float()], 1), inputs(rows)
        for _ in range(epochs):
            batches = torch.randperm(len(rows)).split(256)
            trainer.train_one_epoch([({n: v[one] for n, v in known.items()}, wanted[one]) for one in batches])
            yield model.eval()

    @torch.no_grad()
    def predicted(model: MMOE, rows: Rows) -> np.ndarray:
        return np.asarray(model(inputs(rows)).numpy())

    train, held = ([row for row in history if (row["fold"] == "train") == wanted] for wanted in (True, False))
    truth = np.array([float(row["rating"]) for row in held])
    choices = settings_of({"embed_dim": (8, 16), "weight_decay": (1e-5, 1e-4)})
    errors = [
        [float(((predicted(one, held)[:, 0] - truth) ** 2).mean()) for one in fitted(train, _RECHUB_EPOCHS, **choice)]
        for choice in choices
    ]
    best, epoch = np.unravel_index(np.argmin(errors), np.shape(errors))
    print(f"{CHOSEN}MMoE (torch-rechub): {choices[best]}, {epoch + 1} epochs", file=sys.stderr)
    *_, model = fitted(history, int(epoch) + 1, **choices[best])
    rating, like, ok = predicted(model, test).T.tolist()
    return {"MMoE (torch-rechub)": {"predictions": np.clip(rating, 1, 5).tolist(), "like": like, "ok": ok}}


def main() -> None:
    """Rank or predict with one library."""
    split, target, library, least = sys.argv[1:5]
    history, test = read(split)
    raters = {"cornac": with_cornac, "rechub": with_rechub}
    if library in raters:
        made: dict[str, Any] = raters[library](history, test)
    else:
        wanted = sorted({row["user_id"] for row in test} & {row["user_id"] for row in history})
        made = ranked(library, history, wanted, float(least))
    with Path(target).open("w", encoding="utf-8") as file:
        json.dump(made, file)


if __name__ == "__main__":
    main()
