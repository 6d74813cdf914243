"""What several workers must agree on, through torch.distributed; with one process all of it is the identity."""

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """Return (rank, number of workers)."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_over_workers(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all workers."""
    if world()[1] > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def gather_rows(rows_RC: Tensor) -> Tensor:
    """Return the rows of all workers one after another, on every worker."""
    workers = world()[1]
    if workers == 1:
        return rows_RC
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    rows_RC = rows_RC.to(device)
    count = torch.tensor([len(rows_RC)], device=device)
    counts = [torch.zeros_like(count) for _ in range(workers)]
    dist.all_gather(counts, count)
    most = max(int(one) for one in counts)
    padded_RC = torch.cat([rows_RC, rows_RC.new_zeros(most - len(rows_RC), rows_RC.shape[1])])
    parts = [torch.zeros_like(padded_RC) for _ in range(workers)]
    dist.all_gather(parts, padded_RC)
    return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)]).cpu()
