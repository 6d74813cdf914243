"""From histories to the rows that training reads: windows of consecutive events, one row each.

A long history is cut into overlapping windows; each event is the target of one window only, and has at least half a
window of context before it (but for the user's first events). One more row per user holds the validation.

    both        user features, items, event:<task> and signal:<name> (of the inputs), targets, label:<task> (of these)
                gaps: seconds before each input, and last before the first target; weight:<task>, slate:<task>
                estimates: the columns of `motet.estimates` of each target, one after another
    train       targets and all of them -1 or unknown where there is none, one entry before the first input
                slate:<task> is the output before the slate's first event, whose user state has seen none of it
    validation  seen; slate:<task> is the slate's number
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from motet.data.split import TRAIN, VALIDATION
from motet.estimates import NAMES, Estimates, Later

TextVectors = Callable[[list[str]], np.ndarray]
EstimatesOf = Callable[[str], Estimates]
Columns = dict[str, np.ndarray]
LIKING_UNKNOWN = 2
_MOST_ASKED = 20


def liking_of(labels_S: np.ndarray) -> np.ndarray:
    """Return 0 disliked, 1 liked, 2 unknown, int8, from labels with NaN."""
    return np.where(np.isnan(labels_S), LIKING_UNKNOWN, labels_S > 0.5).astype(np.int8)


def gaps_of(timestamps_S: np.ndarray) -> np.ndarray:
    """Return the seconds between each event and the one before it, float32; NaN for the first."""
    return np.append(np.float32(np.nan), np.diff(timestamps_S) / 1000).astype(np.float32)[: len(timestamps_S)]


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


def windows_since(moments: Sequence[int], history: int, since_ms: int | None) -> Iterator[tuple[int, int, int]]:
    """Yield the bounds of the windows with a target later than a moment; of all if it is None."""
    for first, end, target in window_bounds(len(moments), history):
        if since_ms is None or moments[end - 1] > since_ms:
            yield first, end, target


def train_rows(
    histories: pa.Table,
    users: pa.Table,
    history: int,
    text: TextVectors,
    multiple_of: int = 1,
    estimates: EstimatesOf | None = None,
    since_ms: int | None = None,
    around: bool = False,
) -> pa.Table:
    """Return the training windows of a shard's users.

    Args:
        histories: rows of `histories/`.
        users: rows of `users/` that hold at least the same users.
        history: inputs per window.
        text: whitened vectors of users' texts.
        multiple_of: rows without targets are added up to a multiple of this, so that an equal division among as
            many workers leaves no window out.
        estimates: those of a user, fitted on others.
        since_ms: only windows with a target later than this; all if None.
        around: estimates read the events after each one too.
    """
    schema = _schema(histories, estimates)
    rows: list[dict[str, Any]] = []
    owners: list[str] = []
    for row in histories.to_pylist():
        train_N = np.asarray(row["parts"]) == TRAIN
        events = {name: values[train_N] for name, values in _events(row, schema).items()}
        events["gaps"] = gaps_of(events["timestamps"])
        starts = {name: _slate_starts(values) for name, values in events.items() if name.startswith("slate:")}
        if estimates is not None:
            fitted = estimates(row["user"])
            told = fitted.around(events["items"], _labels(events)) if around else _told_along(events, starts, fitted)
            events["estimates"] = told
        for first, end, target in windows_since(events["timestamps"], history, since_ms):
            rows.append(_window(events, starts, first, end, target))
            owners.append(row["user"])
    padding = -len(rows) % multiple_of if owners else 0
    rows += [_empty_row(schema)] * padding
    owners += owners[-1:] * padding
    return _with_user(rows, owners, users, text, schema)


def _events(row: dict[str, Any], schema: pa.Schema) -> Columns:
    """Return a history's lists as arrays, those of labels with NaN for unknown."""
    events: Columns = {
        "items": np.asarray(row["items"], np.int32),
        "timestamps": np.asarray(row["timestamps"], np.int64),
    }
    for name in schema.names:
        if name.startswith(("label:", "weight:", "signal:")):
            events[name] = np.array(row[name], np.float32)
        elif name.startswith("slate:"):
            events[name] = np.array(row[name], np.int32)
    return events


def _slate_starts(slates_N: np.ndarray) -> np.ndarray:
    """Return the place of the first event of each event's slate, -1 for those in none."""
    if len(slates_N) == 0:
        return slates_N
    _, first, number_N = np.unique(slates_N, return_index=True, return_inverse=True)
    return np.where(slates_N < 0, -1, first[number_N])


def _told_along(events: Columns, starts: Columns, estimates: Estimates) -> np.ndarray:
    """Return the estimates of each event, [N, F], from the events before it, or before the first of its slates."""
    count = len(events["items"])
    read_N = np.arange(count)
    for starts_N in starts.values():
        read_N = np.minimum(read_N, np.where(starts_N < 0, count, starts_N))
    return estimates.along(events["items"], _labels(events), read_N)


def _labels(events: Columns) -> np.ndarray:
    """Return the labels [N, T] of events, tasks in the order of their columns."""
    columns = [values for name, values in events.items() if name.startswith("label:")]
    return np.stack(columns, 1) if columns else np.zeros((len(events["items"]), 0), np.float32)


def _window(events: Columns, starts: Columns, first: int, end: int, target: int) -> dict[str, Any]:
    """Return one window; what belongs to targets has one entry more than `items`: before the first event."""
    targets = events["items"][first:end].copy()
    targets[: target - first] = -1
    if first > 0:
        targets[0] = -1
    window: dict[str, Any] = {
        "items": events["items"][first : end - 1],
        "gaps": events["gaps"][first:end],
        "targets": targets,
    }
    for name, values in events.items():
        if name.startswith(("label:", "weight:")):
            chosen = values[first:end].copy()
            chosen[targets < 0] = np.nan
            window[name] = chosen
            if name.startswith("label:"):
                window[_event(name)] = values[first : end - 1]
        elif name.startswith("signal:"):
            window[name] = values[first : end - 1]
    if "estimates" in events:
        window["estimates"] = np.where((targets >= 0)[:, None], events["estimates"][first:end], 0.0).reshape(-1)
    for name, values in starts.items():
        state = values[first:end] - first
        known = (values[first:end] >= 0) & (targets >= 0) & (state >= min(first, 1))
        window[name] = np.where(known, state, -1)
    return window


def _event(label: str) -> str:
    return "event:" + label.removeprefix("label:")


def _schema(histories: pa.Table, estimates: EstimatesOf | None) -> pa.Schema:
    lists = [("items", pa.int32()), ("gaps", pa.float32()), ("targets", pa.int32())]
    lists += [("estimates", pa.float32())] if estimates is not None else []
    for name in histories.column_names:
        if name.startswith("label:"):
            lists += [(name, pa.float32()), (_event(name), pa.float32())]
        elif name.startswith(("weight:", "signal:")):
            lists.append((name, pa.float32()))
        elif name.startswith("slate:"):
            lists.append((name, pa.int32()))
    return pa.schema([(name, pa.list_(kind)) for name, kind in lists])


def _empty_row(schema: pa.Schema) -> dict[str, Any]:
    """Return a window without any event and any target."""
    blank: dict[str, Any] = {"items": [], "gaps": [np.nan], "targets": [-1]}
    tasks = sum(name.startswith("label:") for name in schema.names)
    blank["estimates"] = [0.0] * (tasks * len(NAMES))
    for name in schema.names:
        if name not in blank:
            of_target: list[Any] = [-1] if name.startswith("slate:") else [None]
            blank[name] = [] if name.startswith(("event:", "signal:")) else of_target
    return blank


def validation_rows(
    histories: pa.Table,
    users: pa.Table,
    history: int,
    text: TextVectors,
    estimates: Estimates | None = None,
    known: str = "parts",
) -> pa.Table:
    """Return rows of users with events in the validation part: the latest events known then, and what came.

    Args:
        histories: rows of `histories/`.
        users: rows of `users/` that hold at least the same users.
        history: inputs per row.
        text: whitened vectors of users' texts.
        estimates: fitted without validation.
        known: `evaluate.history`: under parts one row per user, else one per event, at most 20 of a user.
    """
    schema = _schema(histories, None if estimates is None else lambda _: estimates)
    rows: list[dict[str, Any]] = []
    owners: list[str] = []
    for row in histories.to_pylist():
        events = _events(row, schema)
        for known_N, held_N, later_N in _asked(np.asarray(row["parts"]), known):
            later = Later(events["items"][later_N], _labels(events)[later_N]) if known == "around" else None
            rows.append(_held_row(events, known_N, held_N, history, estimates, later))
            owners.append(row["user"])
    return _with_user(rows, owners, users, text, schema.insert(2, pa.field("seen", pa.list_(pa.int32()))))


def _asked(parts_N: np.ndarray, known: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (places known, places that came, places known that came later) of each row of a user."""
    held = np.flatnonzero(parts_N == VALIDATION)
    if len(held) == 0:
        return
    if known == "parts":
        yield np.flatnonzero(parts_N == TRAIN), held, held[:0]
        return
    usable_N = parts_N <= VALIDATION if known == "rolling" else parts_N == TRAIN
    for place in held[np.unique(np.linspace(0, len(held) - 1, _MOST_ASKED).astype(int))]:
        yield np.flatnonzero(usable_N[:place]), np.array([place]), place + np.flatnonzero(usable_N[place:])


def _held_row(
    events: Columns, known_N: np.ndarray, held_N: np.ndarray, history: int, estimates: Estimates | None,
    later: Later | None,
) -> dict[str, Any]:  # fmt: skip
    items_N, moments_N = events["items"][known_N], events["timestamps"]
    gaps_N = gaps_of(np.append(moments_N[known_N], moments_N[held_N][0]))
    found = {
        "items": items_N[-history:],
        "gaps": gaps_N[-min(len(items_N), history) - 1 :],
        "seen": np.unique(items_N),
        "targets": events["items"][held_N],
    }
    if estimates is not None:
        found["estimates"] = estimates.of(items_N, _labels(events)[known_N], found["targets"], later).reshape(-1)
    for name, values in events.items():
        if name.startswith("slate:"):
            found[name] = np.where(np.isin(values[held_N], values[known_N]), -1, values[held_N])
        elif name.startswith(("label:", "weight:")):
            found[name] = values[held_N]
            found |= {_event(name): values[known_N][-history:]} if name.startswith("label:") else {}
        elif name.startswith("signal:"):
            found[name] = values[known_N][-history:]
    return found


def _with_user(
    rows: list[dict[str, Any]], owners: list[str], users: pa.Table, text: TextVectors, schema: pa.Schema
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
