"""From histories to the rows that training reads: windows of consecutive events, one row each.

A long history is cut into overlapping windows; each event is the target of one window only, and has at least half a
window of context before it (but for the user's first events). One more row per user holds the validation.

    train       user features, items, liking, targets (-1: none), label:<task> (null: unknown)
    validation  user features, items, liking, seen, targets, label:<task>
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from motet.data.split import TRAIN, VALIDATION

TextVectors = Callable[[list[str]], np.ndarray]
LIKING_UNKNOWN = 2


def liking_of(labels_S: np.ndarray) -> np.ndarray:
    """Return 0 disliked, 1 liked, 2 unknown, int8, from labels with NaN."""
    return np.where(np.isnan(labels_S), LIKING_UNKNOWN, labels_S > 0.5).astype(np.int8)


def window_bounds(events: int, history: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first, end, first target) of the windows of a history.

    A window's inputs are events first..end-2, its targets first target..end-1.
    """
    stride = max(1, history // 2)
    target, first = 0, 0
    while target < events:
        end = min(events, first + history + 1)
        yield first, end, target
        target = end
        first = max(0, end - 1 - (history - stride))


def train_rows(
    histories: pa.Table,
    users: pa.Table,
    history: int,
    liked: str | None,
    text: TextVectors,
    multiple_of: int = 1,
) -> pa.Table:
    """Return the training windows of a shard's users.

    Args:
        histories: rows of `histories/`.
        users: rows of `users/` that hold at least the same users.
        history: inputs per window.
        liked: the label column that says whether an event was liked.
        text: whitened vectors of users' texts.
        multiple_of: rows without targets are added up to a multiple of this, so that an equal division among as
            many workers leaves no window out.
    """
    columns = [name for name in histories.column_names if name.startswith("label:")]
    rows: list[dict[str, object]] = []
    owners: list[str] = []
    for row in histories.to_pylist():
        train_N = np.asarray(row["parts"]) == TRAIN
        items_N = np.asarray(row["items"], np.int32)[train_N]
        labels = {name: np.array(row[name], np.float32)[train_N] for name in columns}
        liking_N = liking_of(labels[liked]) if liked else np.full(len(items_N), LIKING_UNKNOWN, np.int8)
        for first, end, target in window_bounds(len(items_N), history):
            rows.append(_window(items_N, liking_N, labels, first, end, target))
            owners.append(row["user"])
    padding = -len(rows) % multiple_of if owners else 0
    rows += [{"items": [], "liking": [], "targets": [-1], **{name: [None] for name in columns}}] * padding
    owners += owners[-1:] * padding
    return _with_user(rows, owners, users, text, _train_schema(columns))


def _window(
    items_N: np.ndarray,
    liking_N: np.ndarray,
    labels: dict[str, np.ndarray],
    first: int,
    end: int,
    target: int,
) -> dict[str, object]:
    """Return one window; `targets` and labels have one entry more than `items`: before the first event."""
    starts = first == 0
    targets = items_N[first:end].copy()
    targets[: target - first] = -1
    if not starts:
        targets[0] = -1
    window: dict[str, object] = {"items": items_N[first : end - 1], "liking": liking_N[first : end - 1]}
    window["targets"] = targets
    for name, values in labels.items():
        chosen = values[first:end].copy()
        chosen[targets < 0] = np.nan
        window[name] = chosen
    return window


def _train_schema(labels: list[str]) -> pa.Schema:
    lists = [("items", pa.int32()), ("liking", pa.int8()), ("targets", pa.int32())]
    return pa.schema([(n, pa.list_(t)) for n, t in (*lists, *((name, pa.float32()) for name in labels))])


def validation_rows(
    histories: pa.Table, users: pa.Table, history: int, liked: str | None, text: TextVectors
) -> pa.Table:
    """Return one row per user with events in the validation part: the latest train events, and what came next."""
    columns = [name for name in histories.column_names if name.startswith("label:")]
    rows: list[dict[str, object]] = []
    owners: list[str] = []
    for row in histories.to_pylist():
        parts_N = np.asarray(row["parts"])
        items_N = np.asarray(row["items"], np.int32)
        train_N, held_N = parts_N == TRAIN, parts_N == VALIDATION
        if not held_N.any():
            continue
        labels = {name: np.array(row[name], np.float32) for name in columns}
        liking_N = liking_of(labels[liked]) if liked else np.full(len(items_N), LIKING_UNKNOWN, np.int8)
        rows.append(
            {
                "items": items_N[train_N][-history:],
                "liking": liking_N[train_N][-history:],
                "seen": np.unique(items_N[train_N]),
                "targets": items_N[held_N],
                **{name: values[held_N] for name, values in labels.items()},
            }
        )
        owners.append(row["user"])
    schema = _train_schema(columns).insert(2, pa.field("seen", pa.list_(pa.int32())))
    return _with_user(rows, owners, users, text, schema)


def _with_user(
    rows: list[dict[str, object]], owners: list[str], users: pa.Table, text: TextVectors, schema: pa.Schema
) -> pa.Table:
    table = pa.Table.from_pylist(rows, schema=schema)
    place = {user: number for number, user in enumerate(users.column("user").to_pylist())}
    chosen = users.select(["text", "slots", "numbers"]).take(pa.array([place[user] for user in owners], pa.int64()))
    unique = list(dict.fromkeys(chosen.column("text").to_pylist()))
    vectors_UX = text(unique)
    number = {value: row for row, value in enumerate(unique)}
    order = np.array([number[value] for value in chosen.column("text").to_pylist()], np.int64)
    flat = pa.array(vectors_UX[order].reshape(-1)) if len(order) else pa.array([], pa.float32())
    table = table.append_column("user_text", pa.FixedSizeListArray.from_arrays(flat, vectors_UX.shape[1]))
    table = table.append_column("user_slots", chosen.column("slots"))
    return table.append_column("user_numbers", chosen.column("numbers"))
