"""Train, validation and test: by time, or each user's last two events.

TRAIN, VALIDATION, TEST = 0, 1, 2
"""

import numpy as np

from motet.data_settings import Split
from motet.errors import DataError

TRAIN, VALIDATION, TEST = 0, 1, 2


def time_boundaries(timestamps_N: np.ndarray, split: Split) -> tuple[int, int]:
    """Return the last millisecond of train and of validation.

    The boundaries are quantiles by the method `lower`, so a moment belongs to one side as a whole.
    """
    shares = [1 - split.validation - split.test, 1 - split.test]
    train_end, validation_end = np.quantile(timestamps_N, shares, method="lower")
    return int(train_end), int(validation_end)


def require_parts(moments_N: np.ndarray, boundaries: tuple[int, int]) -> None:
    """Refuse boundaries that leave validation or test without an event.

    Raises:
        DataError: saying which part, and at which moment too many events stand.
    """
    sizes = np.bincount(split_by_time(moments_N, boundaries), minlength=3)
    for part, name in ((VALIDATION, "validation"), (TEST, "test")):
        if not sizes[part]:
            raise DataError(
                f"data.split: {name} is empty, since a moment is not divided: {int((moments_N == boundaries[1]).sum())}"
                f" of {len(moments_N)} events read stand at timestamp {boundaries[1]} ms; raise data.split.{name}, "
                "or set data.split.kind to leave_one_out"
            )


def split_by_time(timestamps_N: np.ndarray, boundaries: tuple[int, int]) -> np.ndarray:
    """Return the part of each event as int8."""
    train_end, validation_end = boundaries
    return ((timestamps_N > train_end).astype(np.int8) + (timestamps_N > validation_end)).astype(np.int8)


def leave_one_out(lengths_U: np.ndarray) -> np.ndarray:
    """Return the part of each event of users whose events are in order, one after another.

    Args:
        lengths_U: events of each user. The last is test and the one before is validation if the
            user has at least three; else all are train.
    """
    parts_N = np.zeros(int(lengths_U.sum()), np.int8)
    ends_U = np.cumsum(lengths_U)[lengths_U >= 3] - 1
    parts_N[ends_U] = TEST
    parts_N[ends_U - 1] = VALIDATION
    return parts_N
