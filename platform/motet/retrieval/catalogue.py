"""The items of a release as arrays by place: ids, titles, vectors, attributes for filters."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load_file

from motet.data.parquet import read_parquet
from motet.errors import RequestError


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

    def allowed(self, filters: dict[str, tuple[str, ...]], excluded: np.ndarray) -> np.ndarray:
        """Return which items pass every filter and are not excluded, bool [I].

        Args:
            filters: {category: values of which the item must have one}; for a number column two values are its range.
            excluded: places.

        Raises:
            RequestError: for an attribute that the catalogue does not have, or a range that is not two numbers.
        """
        allowed_I = np.ones(len(self), bool)
        for name, values in filters.items():
            allowed_I &= self._matches(name, values)
        allowed_I[excluded] = False
        return allowed_I

    def _matches(self, name: str, values: tuple[str, ...]) -> np.ndarray:
        if f"attr:{name}" in self.table.column_names:
            column = self.table.column(f"attr:{name}").combine_chunks()
            hits = pc.is_in(pc.list_flatten(column), value_set=pa.array(values, pa.string())).to_numpy(False)
            matched_I = np.zeros(len(self), bool)
            matched_I[pc.list_parent_indices(column).to_numpy()[hits]] = True
            return matched_I
        if f"num:{name}" not in self.table.column_names:
            raise RequestError(f"filters: no attribute of that name; this release has {self.filterable}")
        try:
            low, high = (float(value) for value in values)
        except ValueError as error:
            raise RequestError(f"filters: {name} is a number; give its range as two numbers") from error
        numbers_I = pc.fill_null(self.table.column(f"num:{name}"), np.nan).to_numpy()
        return np.asarray((numbers_I >= low) & (numbers_I <= high))
