"""Train, validation and test: by time, each user's last two events, at random, or as a column says.

TRAIN, VALIDATION, TEST = 0, 1, 2; UNUSED = 3 is what came after the share of the log that is used, and events before
the test with items that shall be unseen
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motet.data.hashing import tie_breaker
from motet.data_settings import Split
from motet.errors import DataError

TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, 3
PART_NAMES = ("train", "validation", "test")


Boundaries = tuple[int, int, int]
NEVER = 2**62
"""The end of test if all of the log is used: the quantiles may be those of a sample, which holds not the last event."""


def time_boundaries(timestamps_N: np.ndarray, split: Split) -> Boundaries:
    """Return the last millisecond of train, of validation and of test.

    The boundaries are quantiles by the method `lower`, so a moment belongs to one side as a whole.
    """
    shares = [split.until - split.validation - split.test, split.until - split.test, split.until]
    train_end, validation_end, test_end = np.quantile(timestamps_N, shares, method="lower")
    return int(train_end), int(validation_end), int(test_end) if split.until < 1 else NEVER


def require_parts(moments_N: np.ndarray, boundaries: Boundaries) -> None:
    """Refuse boundaries that leave validation or test without an event.

    Raises:
        DataError: saying which part, and at which moment too many events stand.
    """
    sizes = np.bincount(split_by_time(moments_N, boundaries), minlength=4)
    for part, name in ((VALIDATION, "validation"), (TEST, "test")):
        if not sizes[part]:
            raise DataError(
                f"data.split: {name} is empty, since a moment is not divided: {int((moments_N == boundaries[1]).sum())}"
                f" of {len(moments_N)} events read stand at timestamp {boundaries[1]} ms; raise data.split.{name}, "
                "or set data.split.kind to leave_one_out"
            )


def split_by_time(timestamps_N: np.ndarray, boundaries: Boundaries) -> np.ndarray:
    """Return the part of each event as int8."""
    return sum((timestamps_N > end).astype(np.int8) for end in boundaries)  # type: ignore[return-value]


def split_at_random(users: pa.Array, items: pa.Array, split: Split, seed: int) -> np.ndarray:
    """Return the part of each event as int8, by a hash of user, item and seed."""
    share_N = tie_breaker(users, items, seed) / 2.0**64
    ends = (1 - split.validation - split.test, 1 - split.test)
    return sum((share_N >= end).astype(np.int8) for end in ends)  # type: ignore[return-value]


def split_by_column(values: pa.ChunkedArray) -> np.ndarray:
    """Return the part of each event as int8, -1 for a value that is no part."""
    places = pc.index_in(values.cast(pa.string()), value_set=pa.array(PART_NAMES))
    return np.asarray(pc.fill_null(places, -1).to_numpy()).astype(np.int8)


def is_unseen(items: pa.Array, share: float, seed: int) -> np.ndarray:
    """Return which events, bool [N], are with items of a share that a hash of item and seed chooses."""
    none = pa.nulls(len(items), pa.string())
    return np.asarray(tie_breaker(none, items, seed) / 2.0**64 < share)


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
