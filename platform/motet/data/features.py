"""The fitted feature spec: one JSON document that turns attributes into numbers, offline and online alike.

Categories share one space of slots: 0 is padding, and each column has an unknown slot followed by its
vocabulary. Numbers are filled, clipped and standardised. `apply` is the only code that does it; the
prepare stage and the endpoint both call it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from motet.data.sample import merge_samples, take_sample
from motet.data_settings import Clean, Entity


class CategoryFeature(BaseModel):
    """One category column: its slots are `offset` (unknown) and `offset + 1 + place in vocabulary`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    offset: int
    vocabulary: tuple[str, ...]
    fill: int
    """Slot of a missing value."""

    @property
    def slots(self) -> int:
        """Number of slots, the unknown one included."""
        return len(self.vocabulary) + 1


class NumberFeature(BaseModel):
    """One number column: fill, clip to [low, high], subtract mean, divide by std."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    fill: float
    low: float
    high: float
    mean: float
    std: float


class FeatureSpec(BaseModel):
    """The fitted features of one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    categories: tuple[CategoryFeature, ...] = ()
    numbers: tuple[NumberFeature, ...] = ()

    @property
    def slots(self) -> int:
        """Size of the space of slots, padding included."""
        return 1 + sum(feature.slots for feature in self.categories)

    @property
    def width(self) -> int:
        """Width of `unit_rows`: all slots but padding, then the numbers."""
        return self.slots - 1 + len(self.numbers)

    def apply(self, table: pa.Table) -> pa.Table:
        """Return `slots` (list of int32) and `numbers` (list of float32), one row each.

        Args:
            table: category columns as lists of text, number columns as float64; a missing column counts
                as missing values.
        """
        rows = table.num_rows
        per_column = [self._slots_of(feature, table) for feature in self.categories]
        slots = [[slot for column in per_column for slot in column[row]] for row in range(rows)]
        numbers_NM = np.zeros((rows, len(self.numbers)), np.float32)
        for place, feature in enumerate(self.numbers):
            numbers_NM[:, place] = self._standardised(feature, table)
        return pa.table({"slots": pa.array(slots, pa.list_(pa.int32())), "numbers": _list_array(numbers_NM)})

    def _slots_of(self, feature: CategoryFeature, table: pa.Table) -> list[list[int]]:
        if feature.name not in table.column_names:
            return [[feature.fill]] * table.num_rows
        place = {value: feature.offset + 1 + n for n, value in enumerate(feature.vocabulary)}
        return [
            sorted({place.get(value, feature.offset) for value in values}) if values else [feature.fill]
            for values in table.column(feature.name).to_pylist()
        ]

    def _standardised(self, feature: NumberFeature, table: pa.Table) -> np.ndarray:
        if feature.name not in table.column_names:
            values_N = np.full(table.num_rows, feature.fill)
        else:
            values_N = pc.fill_null(table.column(feature.name).cast(pa.float64()), feature.fill).to_numpy()
        return np.asarray((np.clip(values_N, feature.low, feature.high) - feature.mean) / feature.std)

    def unit_rows(self, slots: Sequence[Sequence[int]], numbers_NM: np.ndarray) -> np.ndarray:
        """Return float32 rows of `width` and unit length: a multi-hot of the slots with sum 1, then the numbers."""
        dense_NW = np.zeros((len(slots), self.width), np.float32)
        for row, ids in enumerate(slots):
            if len(ids):
                dense_NW[row, np.asarray(ids, np.int64) - 1] = 1.0 / len(ids)
        dense_NW[:, self.slots - 1 :] = numbers_NM
        norms_N1 = np.linalg.norm(dense_NW, axis=1, keepdims=True)
        return np.asarray(dense_NW / np.maximum(norms_N1, 1e-12), np.float32)


def _list_array(values_NM: np.ndarray) -> pa.Array:
    rows, width = values_NM.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(values_NM.reshape(-1), pa.float32()))


class FitState:
    """What a pass over a table gathers for fitting; states of parts are merged."""

    def __init__(self, entity: Entity) -> None:
        self.entity = entity
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in entity.categories}
        self.samples: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add checked rows."""
        for name, counter in self.counts.items():
            flat = pc.list_flatten(table.column(name).combine_chunks())
            counter.update({v["values"]: v["counts"] for v in pc.value_counts(flat).to_pylist()})
        if self.entity.numbers:
            self.samples.append(take_sample(table, list(self.entity.numbers)))

    def to_row(self) -> dict[str, Any]:
        """Return the state as one plain row for a table of states."""
        sample = merge_samples(self.samples) if self.samples else None
        counts = [{"column": n, "value": v, "count": c} for n, cs in self.counts.items() for v, c in cs.items()]
        return {"counts": counts, "sample": sample.to_pydict() if sample is not None else {}}

    def merge_row(self, row: dict[str, Any]) -> None:
        """Add the state that another part wrote with `to_row`."""
        for entry in row["counts"]:
            self.counts[entry["column"]][entry["value"]] += entry["count"]
        if row["sample"]:
            schema = pa.schema([*((n, pa.float64()) for n in self.entity.numbers), ("_priority", pa.uint64())])
            self.samples.append(pa.Table.from_pydict(row["sample"], schema=schema))
            self.samples = [merge_samples(self.samples)]

    def fit(self, clean: Clean) -> FeatureSpec:
        """Return the spec."""
        offset, categories = 1, []
        for name in self.entity.categories:
            ranked = sorted(self.counts[name].items(), key=lambda entry: (-entry[1], entry[0]))
            vocabulary = tuple(value for value, _ in ranked[: clean.max_vocabulary])
            use_first = clean.missing.categories == "most_frequent" and vocabulary
            feature = CategoryFeature(
                name=name, offset=offset, vocabulary=vocabulary, fill=offset + 1 if use_first else offset
            )
            categories.append(feature)
            offset += feature.slots
        sample = merge_samples(self.samples) if self.samples else None
        numbers = [fit_number(name, sample.column(name), clean) for name in self.entity.numbers if sample is not None]
        return FeatureSpec(categories=tuple(categories), numbers=tuple(numbers))


def fit_number(name: str, values: pa.ChunkedArray, clean: Clean) -> NumberFeature:
    """Fit one number column: quantiles and the fill from present values, moments after both."""
    present_N = values.drop_null().to_numpy()
    if len(present_N) == 0:
        return NumberFeature(name=name, fill=0.0, low=0.0, high=0.0, mean=0.0, std=1.0)
    low, high = (float(q) for q in np.quantile(present_N, clean.outliers))
    how: Literal["mean", "median"] | float = clean.missing.numbers
    clipped_N = np.clip(present_N, low, high)
    if isinstance(how, str):
        fill = float(clipped_N.mean() if how == "mean" else np.median(clipped_N))
    else:
        fill = float(how)
    low, high = min(low, fill), max(high, fill)
    filled_N = np.append(clipped_N, np.full(len(values) - len(present_N), fill))
    std = float(filled_N.std())
    return NumberFeature(name=name, fill=fill, low=low, high=high, mean=float(filled_N.mean()), std=std or 1.0)
