"""Rank with other libraries, inside their own virtual environment: `python peers.py SPLIT.csv OUT.json LIBRARY`.

Reads the split file of `protocols.py` (history = train and validation), writes {system: {user: [ten items]}} for the
users of the test part, or {system: {"predictions": [...]}} in the order of the test rows for a ratings library.
Settings are those that the validation part picked.
"""

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp

K = 10
Rows = list[dict[str, str]]


def read(path: str) -> tuple[Rows, Rows]:
    """Return the rows of the history, ordered by time, and of the test."""
    with Path(path).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: int(row["timestamp"]))
    return [row for row in rows if row["fold"] != "test"], [row for row in rows if row["fold"] == "test"]


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
        shape = (len(self.users), len(self.items))
        self.met = sp.csr_matrix((np.ones(len(history), np.float32), (self.rows, self.columns)), shape=shape)

    def lists(self, wanted: list[str], scores_UI: np.ndarray) -> dict[str, list[str]]:
        """Return the ten best items that each wanted user has not met; rows of scores are those of `wanted`."""
        found = {}
        for row, user in enumerate(wanted):
            scores_I = np.array(scores_UI[row], np.float64)
            scores_I[self.met[self.user_of[user]].indices] = -np.inf
            found[user] = [self.items[place] for place in np.argsort(-scores_I, kind="stable")[:K]]
        return found


def popularity(matrix: Matrix, wanted: list[str]) -> dict[str, dict[str, list[str]]]:
    """All-time counts, and counts of ratings of at least 4 that halve every 7 days."""
    every_I = np.asarray(matrix.met.sum(0)).ravel()
    age_days = (matrix.moments.max() - matrix.moments) / 86_400_000
    recent_I = np.bincount(matrix.columns, (matrix.ratings >= 4) * 0.5 ** (age_days / 7), len(matrix.items))
    both = {"popularity, all time": every_I, "popularity, recent": recent_I}
    return {name: matrix.lists(wanted, np.tile(scores_I, (len(wanted), 1))) for name, scores_I in both.items()}


def with_implicit(matrix: Matrix, wanted: list[str]) -> dict[str, dict[str, list[str]]]:
    """Item-kNN, ALS and BPR of implicit."""
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import CosineRecommender

    models = {
        "item-kNN (implicit)": CosineRecommender(K=100),
        "ALS (implicit)": AlternatingLeastSquares(factors=32, regularization=5.0, alpha=5.0, random_state=42),
        "BPR (implicit)": BayesianPersonalizedRanking(factors=64, iterations=100, random_state=42),
    }
    rows = np.array([matrix.user_of[user] for user in wanted])
    found = {}
    for name, model in models.items():
        model.fit(matrix.met, show_progress=False)
        places, _ = model.recommend(rows, matrix.met[rows], N=K, filter_already_liked_items=True)
        found[name] = {
            user: [matrix.items[place] for place in row if place >= 0] for user, row in zip(wanted, places, strict=True)
        }
    return found


def with_rectools(history: Rows, wanted: list[str]) -> dict[str, dict[str, list[str]]]:
    """EASE and SASRec of RecTools."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import EASEModel, SASRecModel

    table = pd.DataFrame({
        Columns.User: [row["user_id"] for row in history], Columns.Item: [row["item_id"] for row in history],
        Columns.Weight: 1.0, Columns.Datetime: pd.to_datetime([int(row["timestamp"]) for row in history], unit="ms"),
    })  # fmt: skip
    dataset = Dataset.construct(table)
    models = {
        "EASE (RecTools)": EASEModel(regularization=300.0),
        "SASRec (RecTools)": SASRecModel(n_factors=64, n_blocks=2, n_heads=2, epochs=14, loss="softmax", verbose=0),
    }
    found = {}
    for name, model in models.items():
        model.fit(dataset)
        answer = model.recommend(users=wanted, dataset=dataset, k=K, filter_viewed=True)
        lists = defaultdict(list)
        for user, item in zip(answer[Columns.User], answer[Columns.Item], strict=True):
            lists[user].append(item)
        found[name] = dict(lists)
    return found


def with_cornac(history: Rows, test: Rows) -> dict[str, dict[str, list[float]]]:
    """User and item biases, and matrix factorisation, of cornac."""
    import cornac

    triples = [(row["user_id"], row["item_id"], float(row["rating"])) for row in history]
    train = cornac.data.Dataset.from_uir(triples, seed=42)
    mean = float(np.mean([rating for *_, rating in triples]))
    models = {
        "biases (cornac)": cornac.models.BaselineOnly(max_iter=30, learning_rate=0.01, lambda_reg=0.02, seed=42),
        "matrix factorisation (cornac)": cornac.models.MF(
            k=40, max_iter=40, learning_rate=0.01, lambda_reg=0.08, use_bias=True, seed=42
        ),
    }
    found = {}
    for name, model in models.items():
        model.fit(train)
        predictions = []
        for row in test:
            user, item = train.uid_map.get(row["user_id"]), train.iid_map.get(row["item_id"])
            known = user is not None and item is not None
            predictions.append(float(np.clip(model.rate(user, item) if known else mean, 1, 5)))
        found[name] = {"predictions": predictions}
    return found


_RECHUB_EPOCHS = 12


def with_rechub(history: Rows, test: Rows) -> dict[str, dict[str, list[float]]]:
    """MMoE of torch-rechub on ids with the tasks rating, like and ok; the epoch is the one best on validation."""
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

    def fitted(rows: Rows, epochs: int) -> Iterator[MMOE]:
        torch.manual_seed(42)
        features = [SparseFeature(name, vocab_size=len(codes[name]) + 1, embed_dim=16) for name in names]
        kinds = ["regression", "classification", "classification"]
        towers = [{"dims": [16]} for _ in kinds]
        model = MMOE(
            features, kinds, n_expert=4, expert_params={"dims": [32], "dropout": 0.2}, tower_params_list=towers
        )
        trainer = MTLTrainer(model, kinds, optimizer_params={"lr": 2e-3, "weight_decay": 1e-5}, n_epoch=epochs)
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
    errors = [float(((predicted(one, held)[:, 0] - truth) ** 2).mean()) for one in fitted(train, _RECHUB_EPOCHS)]
    *_, model = fitted(history, 1 + int(np.argmin(errors)))
    rating, like, ok = predicted(model, test).T.tolist()
    return {"MMoE (torch-rechub)": {"predictions": np.clip(rating, 1, 5).tolist(), "like": like, "ok": ok}}


def main() -> None:
    """Rank or predict with one library."""
    split, target, library = sys.argv[1:4]
    history, test = read(split)
    matrix = Matrix(history)
    wanted = sorted({row["user_id"] for row in test} & set(matrix.users))
    made = {
        "popularity": lambda: popularity(matrix, wanted), "implicit": lambda: with_implicit(matrix, wanted),
        "rectools": lambda: with_rectools(history, wanted), "cornac": lambda: with_cornac(history, test),
        "rechub": lambda: with_rechub(history, test),
    }[library]()  # fmt: skip
    with Path(target).open("w", encoding="utf-8") as file:
        json.dump(made, file)


if __name__ == "__main__":
    main()
