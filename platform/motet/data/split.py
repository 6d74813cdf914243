"""Train, validation and test: by time, or each user's last two events.

TRAIN, VALIDATION, TEST = 0, 1, 2
"""

import numpy as np

from motet.data_settings import Split

TRAIN, VALIDATION, TEST = 0, 1, 2


def time_boundaries(timestamps_N: np.ndarray, split: Split) -> tuple[int, int]:
    """Return the last millisecond of train and of validation.

    The boundaries are quantiles by the method `lower`, so a moment belongs to one side as a whole.
    """
    shares = [1 - split.validation - split.test, 1 - split.test]
    train_end, validation_end = np.quantile(timestamps_N, shares, method="lower")
    return int(train_end), int(validation_end)


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
