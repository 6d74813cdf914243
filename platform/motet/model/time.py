"""Gaps in time as buckets that double: 0 unknown, 1 within the same second, then 1, 3, 7, 15, ... seconds."""

import torch
from torch import Tensor

BUCKETS = 33
"""The last one begins at 2^31 - 1 seconds, 68 years."""


def time_buckets(seconds: Tensor) -> Tensor:
    """Return the bucket of each gap in seconds, int64 of the same shape; NaN is unknown, below 0 is 0."""
    known = seconds.nan_to_num(0.0).clamp(min=0)
    bucket = 1 + torch.log2(1 + known).floor().long()
    return torch.where(seconds.isnan(), 0, bucket.clamp(max=BUCKETS - 1))
