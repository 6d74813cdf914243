"""Two and four workers do what one does: parameters, losses, validation, also with an uneven number of batches."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motet.storage import read_json
from motet.training.distributed import gather_rows, sum_over_workers, world
from motet.training.loop import Epoch
from tests.builders import Tiny

WORKER = """
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from motet.storage import write_json
from motet.training.distributed import gather_rows, sum_over_workers
from tests.builders import Tiny
from tests.motet.training.test_distributed import epochs_of

encoder, folder, balance = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
rank, rows, workers, negatives = map(int, sys.argv[4:])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
mine = torch.arange(3.0 * (rank + 1)).reshape(-1, 3) + 10 * rank
said = {
    "sum": sum_over_workers(torch.tensor([1.0, rank])).tolist(),
    "rows": gather_rows(mine[: len(mine) - (rank == 0)]).tolist(),
}
trainer, epochs = epochs_of(Path(encoder), balance, rank, workers, rows, negatives)
said["epochs"] = [{**epoch.metrics(), "seconds": 0, "waited": 0} for epoch in epochs]
write_json(folder / f"said-{rank}.json", said)
parameters = {name: value.contiguous() for name, value in trainer.step_module.model.state_dict().items()}
save_file(parameters, folder / f"model-{rank}.safetensors")
dist.destroy_process_group()
"""


def epochs_of(encoder: Path, balance: str, rank: int, workers: int, rows: int, negatives: int = 0):
    """Train epochs of three steps; a worker's batch is its share of the global batch of 4 windows."""
    epochs_of_run = 4 if balance == "dwa" else 1  # it weighs by the losses of the two epochs before
    settings = {"epochs": epochs_of_run, "learning_rate": 0.003, "negatives": negatives}
    tiny = Tiny.of(encoder, model={"balance": balance}, train=settings)
    tiny.__dict__["windows"] = tiny.windows.slice(0, rows)
    trainer = tiny.trainer(3)
    held = tiny.held
    epochs: list[Epoch] = []
    tiny.__dict__["held"] = held.take(list(range(rank, held.num_rows, workers)))
    trainer.run(lambda _: tiny.batches(4 // workers, rank, workers), tiny.validation, epochs.append)
    return trainer, epochs


@pytest.mark.parametrize(
    ("rows", "balance", "workers", "negatives"),
    [
        (9, "static", 2, 0),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (
                (12, "static", 2, 0), (9, "famo", 2, 0), (9, "gradnorm", 2, 0), (9, "pcgrad", 2, 0),
                (9, "cagrad", 2, 0), (9, "uncertainty", 2, 0), (12, "dwa", 2, 0), (9, "static", 2, 5),
                (12, "static", 4, 5), (12, "pcgrad", 4, 0), (12, "cagrad", 4, 0), (12, "famo", 4, 0),
            )
        ),
    ],
)  # fmt: skip
def test_workers_reach_the_parameters_of_one(
    encoder_folder: Path, tmp_path: Path, rows: int, balance: str, workers: int, negatives: int
) -> None:
    # 12 windows: three batches of 4, of 2 and 2. 9 windows: 4, 4, 1; the second worker has no third batch.
    alone, epochs = epochs_of(encoder_folder, balance, 0, 1, rows, negatives)
    assert alone.progress.step == 3 * len(epochs)
    options = [str(encoder_folder), str(tmp_path), balance]
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-c", WORKER, *options),
                *map(str, (rank, rows, workers, negatives)),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(workers)
    ]
    errors = [child.communicate(timeout=120)[1] for child in children]
    assert [child.returncode for child in children] == [0] * workers, errors
    said = [read_json(tmp_path / f"said-{rank}.json") for rank in range(workers)]
    # The ranks add up; of the rows of worker 0 the only one is left out.
    assert all(one["sum"] == [float(workers), sum(range(workers))] for one in said)
    assert said[0]["rows"][:2] == [[10.0, 11.0, 12.0], [13.0, 14.0, 15.0]]
    assert all(one["rows"] == said[0]["rows"] for one in said)
    models = [load_file(tmp_path / f"model-{rank}.safetensors") for rank in range(workers)]
    expected = alone.step_module.model.state_dict()
    for name, value in models[0].items():
        for other in models[1:]:
            torch.testing.assert_close(value, other[name], atol=0, rtol=0)
        if name.endswith("project_in.bias"):  # a key's bias has no gradient: AdamW blows its rounding errors up
            continue
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=1e-3)
    ours, theirs = epochs[-1].metrics(), said[0]["epochs"][-1]
    if balance == "dwa":
        assert ours["weights"] != epochs[0].metrics()["weights"]
    assert all(one["epochs"] == said[0]["epochs"] for one in said)
    for key in ("losses", "weights", "validation"):
        assert theirs[key] == pytest.approx(ours[key], rel=1e-4)
    assert theirs["rows"] == ours["rows"]


def test_one_process_is_the_identity() -> None:
    values = torch.tensor([[1.0, 2.0]])
    assert world() == (0, 1)
    assert sum_over_workers(values) is values
    assert gather_rows(values) is values
