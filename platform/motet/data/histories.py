"""One row per user: the events in order, with part, labels and the profile built from them.

user, items (place in the catalogue), timestamps (ms), parts (see `split`), label:<task> (float, null = unknown);
weight:<task> (float, 0 or more) and slate:<task> (number of the slate, -1 for none) of tasks that have them;
signal:<name> (float, null = unknown) of the recipe's signals;
propensities (float, null = unknown) if the log has them
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motet.data.split import (
    NEVER,
    TEST,
    UNUSED,
    Boundaries,
    is_unseen,
    leave_one_out,
    split_at_random,
    split_by_column,
    split_by_time,
)
from motet.data_settings import Profile, Split
from motet.expressions import Expression
from motet.task import DERIVED_COLUMNS, Task

DAY_MS = 86_400_000


def days_until_again(table: pa.Table) -> pa.Array:
    """Return the days until the user meets the item again within the same part, float64; infinite if that never comes.

    Args:
        table: rows ordered by user and time, with `part`: what comes in a later part is not known in this one.
    """
    columns = [table.column(name).combine_chunks().dictionary_encode().indices.to_numpy() for name in ("user", "item")]
    moment_N, part_N = table.column("timestamp").to_numpy(), table.column("part").to_numpy()
    order_N = np.lexsort((moment_N, part_N, columns[1], columns[0]))
    days_N = np.full(len(order_N), np.inf)
    same_N = np.ones(max(0, len(order_N) - 1), bool)
    for values in (*columns, part_N):
        same_N &= values[order_N][1:] == values[order_N][:-1]
    days_N[order_N[:-1][same_N]] = np.diff(moment_N[order_N])[same_N] / DAY_MS
    return pa.array(days_N)


def part_ends(table: pa.Table, boundaries: Boundaries | None, latest_ms: int | None) -> pa.Array:
    """Return the last millisecond of each row's part under a split by time, else that of the log; null if unknown."""
    if boundaries is None:
        return pa.array([latest_ms] * table.num_rows, pa.int64())
    ends = np.minimum([*boundaries, NEVER], NEVER if latest_ms is None else latest_ms)
    return pa.array(ends[table.column("part").to_numpy()], pa.int64())


def label_columns(table: pa.Table, tasks: Sequence[Task], latest_ms: int | pa.Array | None = None) -> pa.Table:
    """Append `label:<task>` (float32, null where unknown) for every scored task, and its weights and slates.

    Args:
        table: interactions.
        tasks: the recipe's tasks.
        latest_ms: time up to which feedback is known, one for all rows or one a row; needed for tasks with
            `delay_days`, of which a negative label on an event younger than that is unknown (delayed feedback,
            Chapelle, KDD 2014).
    """
    if any(set(DERIVED_COLUMNS) & one.columns for task in tasks for one in task.expressions.values()):
        table = table.append_column("days_until_again", days_until_again(table))
    for task in tasks:
        if not task.scored:
            continue
        labels = task.expression.evaluate(table)
        if task.delay_days is not None:
            assert latest_ms is not None
            young = pc.greater(table.column("timestamp"), pc.subtract(latest_ms, round(task.delay_days * DAY_MS)))
            open_ = pc.and_(young.combine_chunks(), pc.fill_null(pc.equal(labels, 0.0), False))
            labels = pc.if_else(open_, pa.scalar(None, pa.float32()), labels)
        table = table.append_column(f"label:{task.name}", labels)
        if task.weighing is not None:
            weights = pc.max_element_wise(
                pc.fill_null(task.weighing.evaluate(table), 0.0), pa.scalar(0.0, pa.float32())
            )
            table = table.append_column(f"weight:{task.name}", weights)
        if task.slate is not None:
            codes = table.column(task.slate).combine_chunks().dictionary_encode().indices
            table = table.append_column(f"slate:{task.name}", pc.fill_null(codes, -1))
    return table


def signal_columns(table: pa.Table, signals: Mapping[str, Expression]) -> pa.Table:
    """Append `signal:<name>` (float32, null where unknown) for every signal of the recipe."""
    for name, expression in signals.items():
        table = table.append_column(f"signal:{name}", expression.evaluate(table))
    return table


def user_lengths(table: pa.Table) -> np.ndarray:
    """Return how many consecutive rows each user has; rows are ordered by user."""
    if table.num_rows == 0:
        return np.zeros(0, np.int64)
    user = table.column("user").combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.append(True, np.diff(user) != 0))
    return np.diff(np.append(starts, len(user)))


def assign_parts(table: pa.Table, split: Split, boundaries: Boundaries | None, seed: int = 0) -> pa.Table:
    """Append `part` (int8) to rows ordered by user and time."""
    if split.kind == "time":
        assert boundaries is not None
        parts_N = split_by_time(table.column("timestamp").to_numpy(), boundaries)
    elif split.kind == "random":
        users, items = (table.column(name).combine_chunks() for name in ("user", "item"))
        parts_N = split_at_random(users, items, split, seed)
    elif split.kind == "column":
        assert split.column is not None
        parts_N = split_by_column(table.column(split.column))
    else:
        parts_N = leave_one_out(user_lengths(table))
    if split.unseen_items:
        hidden_N = is_unseen(table.column("item").combine_chunks(), split.unseen_items, seed)
        parts_N = np.where(hidden_N & (parts_N < TEST), UNUSED, parts_N).astype(np.int8)
    return table.append_column("part", pa.array(parts_N, pa.int8()))


def build_histories(table: pa.Table, item_place: pa.Array, propensity: str | None = None) -> pa.Table:
    """Return one row per user.

    Args:
        table: rows ordered by user and time with `part` and labels.
        item_place: each row's place in the catalogue, int32.
        propensity: column of the probability with which the event's item was shown, if there is one.
    """
    lengths_U = user_lengths(table)
    offsets = np.append(0, np.cumsum(lengths_U)).astype(np.int32)
    columns = {"user": table.column("user").combine_chunks().take(pa.array(offsets[:-1]))}
    lists = {"items": item_place, "timestamps": table.column("timestamp"), "parts": table.column("part")}
    if propensity is not None:
        lists["propensities"] = table.column(propensity)
    own = ("label:", "weight:", "slate:", "signal:")
    lists |= {name: table.column(name) for name in table.column_names if name.startswith(own)}
    for name, values in lists.items():
        array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        columns[name] = pa.ListArray.from_arrays(pa.array(offsets), array)
    return pa.table(columns)


def places(items: pa.ChunkedArray, catalogue: pa.Array) -> pa.Array:
    """Return each item's place in the catalogue of ids."""
    return pc.index_in(items.combine_chunks(), value_set=catalogue).cast(pa.int32())


def profile_weights(timestamps_S: np.ndarray, liked_S: np.ndarray, profile: Profile) -> np.ndarray:
    """Return the weight of each event in a profile: liking x decay with age, float32.

    Args:
        timestamps_S: milliseconds; age is counted from the latest.
        liked_S: 1 liked, 0 not, NaN unknown.
        profile: half-life and the weight of the unknown.
    """
    if len(timestamps_S) == 0:
        return np.zeros(0, np.float32)
    age_days_S = (timestamps_S.max() - timestamps_S) / DAY_MS
    liking_S = np.where(np.isnan(liked_S), profile.unknown_weight, liked_S)
    return (liking_S * 0.5 ** (age_days_S / profile.half_life_days)).astype(np.float32)


def profile_vector(weights_S: np.ndarray, features_SW: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the items' feature rows, float32 [W]; zeros without any weight."""
    total = float(weights_S.sum())
    if total <= 0:
        return np.zeros(features_SW.shape[1], np.float32)
    return np.asarray(weights_S @ features_SW / total, np.float32)
