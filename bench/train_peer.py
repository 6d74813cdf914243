"""Samples a second of another library's training: `train_peer.py LIBRARY INTERACTIONS.csv THREADS` prints them.

rectools   SASRec, one sample is the latest 50 events of a user
rechub     MMoE with three tasks, one sample is a rating
"""

import csv
import sys
import time
from pathlib import Path
from typing import Any

import torch

EPOCHS = 5


def with_rectools(rows: list[dict[str, str]]) -> float:
    """Fit twice, for one epoch and for more; the difference is without start-up."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    table = pd.DataFrame({
        Columns.User: [row["user_id"] for row in rows], Columns.Item: [row["item_id"] for row in rows],
        Columns.Weight: 1.0, Columns.Datetime: pd.to_datetime([int(row["timestamp"]) for row in rows], unit="s"),
    })  # fmt: skip
    dataset, seconds = Dataset.construct(table), {}
    sizes: dict[str, Any] = {"n_factors": 64, "n_blocks": 2, "n_heads": 2, "session_max_len": 50, "batch_size": 64}
    for epochs in (1, 1 + EPOCHS):
        model = SASRecModel(epochs=epochs, loss="softmax", verbose=0, **sizes)
        start = time.perf_counter()
        model.fit(dataset)
        seconds[epochs] = time.perf_counter() - start
    users = table[Columns.User].nunique()
    return float(users * EPOCHS / (seconds[1 + EPOCHS] - seconds[1]))


def with_rechub(rows: list[dict[str, str]]) -> float:
    """Train for some epochs after a first one."""
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.multi_task import MMOE
    from torch_rechub.trainers import MTLTrainer

    names = ("user_id", "item_id")
    codes = {name: {value: place for place, value in enumerate(sorted({row[name] for row in rows}))} for name in names}
    features = [SparseFeature(name, vocab_size=len(codes[name]), embed_dim=64) for name in names]
    kinds = ["regression", "classification", "classification"]
    model = MMOE(
        features, kinds, n_expert=4, expert_params={"dims": [64]}, tower_params_list=[{"dims": [64]} for _ in kinds]
    )
    trainer = MTLTrainer(model, kinds, optimizer_params={"lr": 1e-3}, n_epoch=1)
    known = {name: torch.tensor([codes[name][row[name]] for row in rows]) for name in names}
    stars = torch.tensor([float(row["rating"]) for row in rows])
    wanted = torch.stack([stars, (stars >= 4).float(), (stars >= 3).float()], 1)
    start = 0.0
    for epoch in range(1 + EPOCHS):
        if epoch == 1:
            start = time.perf_counter()
        batches = torch.randperm(len(rows)).split(64)
        trainer.train_one_epoch([({name: one[own] for name, one in known.items()}, wanted[own]) for own in batches])
    return len(rows) * EPOCHS / (time.perf_counter() - start)


if __name__ == "__main__":
    library, path, threads = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    with Path(path).open(encoding="utf-8") as file:
        log = list(csv.DictReader(file))
    print({"rectools": with_rectools, "rechub": with_rechub}[library](log))
