"""The items of a release as arrays by place: ids, titles, vectors, attributes for filters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load_file

from motet.data.parquet import read_parquet
from motet.errors import RequestError
from motet.surface_settings import Condition


@dataclass(frozen=True)
class ItemTable:
    """The catalogue.

    vectors_ID are the raw outputs of the item tower, content_IW text and attributes side by side, log_count_I the
    scaled log counts.
    """

    table: pa.Table
    vectors_ID: np.ndarray
    content_IW: np.ndarray
    log_count_I: np.ndarray
    text_dim: int = 0
    """Columns of the contents that are text; attributes follow."""

    @classmethod
    def load(cls, folder: Path) -> "ItemTable":
        """Read items.parquet and vectors.safetensors."""
        tensors = load_file(folder / "vectors.safetensors")
        table = read_parquet(folder / "items.parquet")
        vectors_ID, content_IW, log_count_I = (tensors[name] for name in ("items", "content", "log_count"))
        return cls(table, vectors_ID, content_IW, log_count_I, int(tensors["text_dim"][0]))

    @classmethod
    def load_names(cls, folder: Path) -> "ItemTable":
        """Read items.parquet alone: ids, titles and attributes, no vectors."""
        table = read_parquet(folder / "items.parquet")
        none = np.zeros((table.num_rows, 0), np.float32)
        return cls(table, none, none, np.zeros(table.num_rows, np.float32))

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def ids(self) -> list[str]:
        """Item ids by place."""
        return list(self.table.column("item").to_pylist())

    @cached_property
    def titles(self) -> list[str]:
        """Titles by place."""
        return list(self.table.column("title").to_pylist())

    @cached_property
    def place_of(self) -> dict[str, int]:
        """Place by id."""
        return {item: place for place, item in enumerate(self.ids)}

    @cached_property
    def attributes_IW(self) -> np.ndarray:
        """Unit rows of the items' attributes, the right half of the contents, float32 [I, W]."""
        return np.asarray(self.content_IW[:, self.text_dim :] * np.sqrt(2), np.float32)

    @cached_property
    def unit_ID(self) -> np.ndarray:
        """The item vectors cut to unit length."""
        norms_I1 = np.linalg.norm(self.vectors_ID, axis=1, keepdims=True)
        return np.asarray(self.vectors_ID / np.maximum(norms_I1, 1e-12), np.float32)

    def places(self, items: list[str]) -> np.ndarray:
        """Return the places of the ids that are in the catalogue; others are left out."""
        found = [self.place_of[item] for item in items if item in self.place_of]
        return np.array(found, np.int64)

    @property
    def filterable(self) -> list[str]:
        """Attributes that a filter may name."""
        return [name.partition(":")[2] for name in self.table.column_names if name.startswith(("attr:", "num:"))]

    def allowed(self, filters: Mapping[str, Condition], excluded: np.ndarray) -> np.ndarray:
        """Return which items pass every filter and are not excluded, bool [I].

        Args:
            filters: condition by attribute; see `matches`.
            excluded: places.
        """
        allowed_I = np.ones(len(self), bool)
        for name, asked in filters.items():
            allowed_I &= self.matches(name, asked)
        allowed_I[excluded] = False
        return allowed_I

    def matches(self, name: str, asked: Condition) -> np.ndarray:
        """Return which items meet a condition, bool [I]; an item of which the attribute is unknown meets no range.

        Args:
            name: a category or number of the items.
            asked: a rule; or values of a category of which the item must have one, or the two ends of a number's range.

        Raises:
            RequestError: for an attribute that the catalogue does not have, or a condition that is not of its kind.
        """
        if f"attr:{name}" in self.table.column_names:
            return self._matches_category(name, asked)
        if f"num:{name}" in self.table.column_names:
            return self._matches_number(name, asked)
        raise RequestError(f"filters: no attribute of that name; this release has {self.filterable}")

    def _matches_category(self, name: str, asked: Condition) -> np.ndarray:
        if isinstance(asked, tuple):
            return self._with_any(name, asked)
        if asked.of_number:
            raise RequestError(f"filters: {name} is a category; give any_of or none_of, not min and max")
        without_I = ~self._with_any(name, asked.none_of)
        return without_I if asked.any_of is None else self._with_any(name, asked.any_of) & without_I

    def _matches_number(self, name: str, asked: Condition) -> np.ndarray:
        if isinstance(asked, tuple):
            try:
                low, high = (float(value) for value in asked)
            except ValueError as error:
                raise RequestError(f"filters: {name} is a number; give its range as two numbers") from error
        elif asked.of_category:
            raise RequestError(f"filters: {name} is a number; give min or max, not any_of and none_of")
        else:
            low, high = asked.min, asked.max  # type: ignore[assignment]
        numbers_I = pc.fill_null(self.table.column(f"num:{name}"), np.nan).to_numpy()
        at_least = -np.inf if low is None else low
        return np.asarray((numbers_I >= at_least) & (numbers_I <= (np.inf if high is None else high)))

    def _with_any(self, name: str, values: Iterable[str]) -> np.ndarray:
        found_I = np.zeros(len(self), bool)
        places = self._places_by_value(name)
        for value in values:
            if value in places:
                found_I[places[value]] = True
        return found_I

    def _places_by_value(self, name: str) -> dict[str, np.ndarray]:
        """Return {value: places of the items that have it} of a category; made at the first question."""
        if name not in self._by_value:
            column = self.table.column(f"attr:{name}").combine_chunks()
            values, parents = pc.list_flatten(column), pc.list_parent_indices(column).to_numpy()
            known = values.is_valid().to_numpy(False)
            encoded = values.drop_null().dictionary_encode()
            codes = encoded.indices.to_numpy(False)
            order = np.argsort(codes, kind="stable")
            ends = np.cumsum(np.bincount(codes, minlength=len(encoded.dictionary)))
            parts = np.split(parents[known][order], ends[:-1])
            self._by_value[name] = dict(zip(encoded.dictionary.to_pylist(), parts, strict=False))
        return self._by_value[name]

    @cached_property
    def _by_value(self) -> dict[str, dict[str, np.ndarray]]:
        return {}

    def values_of(self, name: str, places_C: np.ndarray) -> list[list[str]]:
        """Return the values that each item has of a category."""
        return [values or [] for values in self.table.column(f"attr:{name}").take(pa.array(places_C)).to_pylist()]
