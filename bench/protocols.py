"""MovieLens-100k under exact protocols: the rows of each part, as arrays and as files that every system reads.

T        by time: 80 % and 90 % quantiles of the timestamp; targets are ratings of at least 4
T-roll   five windows (q, q + 0.1] for q = .5 .6 .7 .8 .9, each with nothing later than its end
L        leave one out: each user's last row is the test, the one before validation; ties in time by a seeded order
R        ratings: a random 70 / 10 / 20 split by rows
R-time   ratings: T's rows, of people with a history

The total order of rows is (timestamp, user, item).
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

COLUMNS = ("user_id", "item_id", "rating", "timestamp", "fold")
WINDOWS = (0.5, 0.6, 0.7, 0.8, 0.9)
LIKED = 4.0


@dataclass(frozen=True)
class Log:
    """Rows in the total order; `moment_N` in milliseconds."""

    user_N: np.ndarray
    item_N: np.ndarray
    rating_N: np.ndarray
    moment_N: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Log":
        """Read interactions.csv."""
        with path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        user_N, item_N, moment_N = (
            np.array([int(float(row[name])) for row in rows]) for name in ("user_id", "item_id", "timestamp")
        )
        rating_N = np.array([float(row["rating"]) for row in rows])
        order_N = np.lexsort((item_N, user_N, moment_N))
        return cls(user_N[order_N], item_N[order_N], rating_N[order_N], moment_N[order_N] * 1000)

    def write(self, path: Path, part_N: np.ndarray) -> None:
        """Write the rows with the name of their part; rows of part 3 are left out."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = ("train", "validation", "test")
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in np.flatnonzero(part_N < 3):
                values = (self.user_N[row], self.item_N[row], self.rating_N[row], self.moment_N[row])
                writer.writerow([*values, names[part_N[row]]])


def by_time(log: Log, until: float) -> np.ndarray:
    """Return the parts when the log ends at a quantile: the last tenth is test, the one before validation."""
    ends = np.quantile(log.moment_N, [until - 0.2, until - 0.1, until], method="lower")
    return np.asarray(sum((log.moment_N > end).astype(int) for end in ends))


def with_random_ties(log: Log) -> Log:
    """Return the log with the rows of one user and second a millisecond apart each, in a seeded random order."""
    rank_N = np.random.RandomState(42).permutation(len(log.user_N))
    order_N = np.lexsort((rank_N, log.moment_N, log.user_N))
    same_N = np.append(False, (np.diff(log.user_N[order_N]) == 0) & (np.diff(log.moment_N[order_N]) == 0))
    run_N = np.arange(len(order_N)) - np.maximum.accumulate(np.where(same_N, 0, np.arange(len(order_N))))
    moment_N = log.moment_N.copy()
    moment_N[order_N] += run_N
    return Log(log.user_N, log.item_N, log.rating_N, moment_N)


def leave_one_out(log: Log) -> np.ndarray:
    """Return the parts: each user's last row, the one before, the rest."""
    order_N = np.lexsort((log.moment_N, log.user_N))
    ends = np.append(np.flatnonzero(np.diff(log.user_N[order_N])), len(order_N) - 1)
    part_N = np.zeros(len(order_N), int)
    part_N[order_N[ends]], part_N[order_N[ends - 1]] = 2, 1
    return part_N


def at_random(log: Log) -> np.ndarray:
    """Return the parts of the first 70 %, the next 10 % and the last 20 % of a seeded permutation."""
    count = len(log.user_N)
    order_N = np.random.RandomState(42).permutation(count)
    part_N = np.zeros(count, int)
    part_N[order_N[int(0.7 * count) : int(0.8 * count)]] = 1
    part_N[order_N[int(0.8 * count) :]] = 2
    return part_N
