"""The items of a release as arrays by place: ids, titles, vectors, attributes for filters.

Items that came since the release stand behind its own; one of its own that was changed keeps its place. A place is
never given to another item, so what one process says of a place another understands. Items that were removed keep
theirs too: they stay in histories, and are shown to nobody.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load_file

from motet.data.parquet import read_parquet
from motet.errors import RequestError
from motet.retrieval.conditions import meets
from motet.retrieval.late import LateRows
from motet.retrieval.mapped import Derived, mapped_tensors
from motet.retrieval.rows import Rows
from motet.retrieval.standstill import Standstill
from motet.surface_settings import Condition


class ItemTable:
    """The catalogue.

    Args:
        table: items.parquet of the release, by place.
        vectors_ID: raw outputs of the item tower.
        content_IW: text and attributes side by side.
        log_count_I: scaled log counts of events.
        text_dim: columns of the contents that are text; attributes follow.
        mapped: vectors and contents are mapped, and what is made of them is made when it is asked for.
    """

    def __init__(
        self,
        table: pa.Table,
        vectors_ID: np.ndarray,
        content_IW: np.ndarray,
        log_count_I: np.ndarray,
        text_dim: int = 0,
        mapped: bool = False,
    ) -> None:
        self.table, self.text_dim, self.mapped = table, text_dim, mapped
        self.vectors_ID, self.content_IW, self.log_count_I = Rows(vectors_ID), Rows(content_IW), Rows(log_count_I)
        self.late = LateRows(table.schema)
        self.removed: set[int] = set()
        """Places of items that are shown to nobody."""
        self.version = 0
        """How often it was changed since it was loaded."""
        self.standstill = Standstill()

    @classmethod
    def load(cls, folder: Path, mapped: bool = False) -> "ItemTable":
        """Read items.parquet, and read or map vectors.safetensors."""
        path = folder / "vectors.safetensors"
        tensors = mapped_tensors(path) if mapped else load_file(path)
        table = read_parquet(folder / "items.parquet")
        vectors_ID, content_IW, log_count_I = (tensors[name] for name in ("items", "content", "log_count"))
        return cls(table, vectors_ID, content_IW, np.asarray(log_count_I), int(tensors["text_dim"][0]), mapped)

    @classmethod
    def load_names(cls, folder: Path) -> "ItemTable":
        """Read items.parquet alone: ids, titles and attributes, no vectors."""
        table = read_parquet(folder / "items.parquet")
        none = np.zeros((table.num_rows, 0), np.float32)
        return cls(table, none, none, np.zeros(table.num_rows, np.float32))

    def __len__(self) -> int:
        return len(self.log_count_I)

    @property
    def of_release(self) -> int:
        """How many items the release has; what stands behind them came later."""
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
    def attributes_IW(self) -> Rows:
        """Unit rows of the items' attributes, the right half of the contents, float32."""
        return self._derived(self.content_IW, self._attributes)

    @cached_property
    def unit_ID(self) -> Rows:
        """The item vectors cut to unit length."""
        return self._derived(self.vectors_ID, unit_rows)

    @cached_property
    def numbers_IM(self) -> Rows:
        """The numbers of each item in the order of the columns, float32; NaN where one is unknown."""
        numbers = Rows(_numbers(self.table))
        numbers.put(self.late.places_R, _numbers(self.late.table))
        return numbers

    def _derived(self, rows: Rows, work: Callable[[np.ndarray], np.ndarray]) -> Rows:
        """Return rows that are made of other rows, one of one."""
        base: Any = Derived(rows.base, work) if self.mapped else work(rows.base)
        made = Rows(base)
        made.put(np.arange(len(rows.base), len(rows)), work(rows.late))
        return made

    def _attributes(self, content_NW: np.ndarray) -> np.ndarray:
        return np.asarray(content_NW[:, self.text_dim :] * np.sqrt(2), np.float32)

    # Change

    def add(self, rows: pa.Table, vectors_ND: np.ndarray, content_NW: np.ndarray) -> np.ndarray:
        """Add items, or put them in place of those with the same id; return their places.

        Args:
            rows: columns as those of `table`; each id once.
            vectors_ND: as `vectors_ID`.
            content_NW: as `content_IW`.
        """
        ids, titles, known = rows.column("item").to_pylist(), rows.column("title").to_pylist(), self.place_of
        self.titles  # noqa: B018  # made before the places change
        for item in ids:
            if item not in known:
                known[item] = len(self.ids)
                self.ids.append(item)
        places_N = np.array([known[item] for item in ids], np.int64)
        self.titles.extend([""] * (len(self.ids) - len(self.titles)))
        for place, title in zip(places_N.tolist(), titles, strict=True):
            self.titles[place] = title
        self._put(places_N, rows, vectors_ND, content_NW)
        self.version += 1
        return places_N

    def _put(self, places_N: np.ndarray, rows: pa.Table, vectors_ND: np.ndarray, content_NW: np.ndarray) -> None:
        new_N = places_N[places_N >= self.of_release]
        self.log_count_I.put(new_N, np.zeros(len(new_N), np.float32))
        self.vectors_ID.put(places_N, vectors_ND)
        self.content_IW.put(places_N, content_NW)
        made = self.__dict__  # what was derived already
        if "unit_ID" in made:
            self.unit_ID.put(places_N, unit_rows(vectors_ND))
        if "attributes_IW" in made:
            self.attributes_IW.put(places_N, self._attributes(content_NW))
        if "numbers_IM" in made:
            self.numbers_IM.put(places_N, _numbers(rows))
        self.late.add(places_N, rows)

    def remove(self, items: Iterable[str], back: Iterable[str] = ()) -> None:
        """Show items to nobody from now on, and others again; ids that it does not have are left out."""
        self.removed -= set(self.places(list(back)).tolist())
        self.removed |= set(self.places(list(items)).tolist())
        self.version += 1

    # Look

    def standing(self) -> np.ndarray:
        """Return which items were not removed, bool [I]."""
        standing_I = np.ones(len(self), bool)
        standing_I[list(self.removed)] = False
        return standing_I

    def has(self, item: str) -> bool:
        """Return whether there is an item of that id that was not removed."""
        return item in self.place_of and self.place_of[item] not in self.removed

    def row(self, place: int) -> dict[str, Any]:
        """Return the columns of one item."""
        row = self.late.row_of.get(place)
        part = self.table.slice(place, 1) if row is None else self.late.table.slice(row, 1)
        return dict(part.to_pylist()[0])

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
        self._require(name)
        matches_I = meets(self.table, name, asked, self._with_any)
        return self.late.answers(matches_I, len(self), lambda rows: meets(rows, name, asked))

    def check(self, name: str, asked: Condition) -> None:
        """Refuse a condition that `matches` would, without a look at any item: it may be asked while they change."""
        self._require(name)
        meets(self.table.slice(0, 0), name, asked)

    def _require(self, name: str) -> None:
        if name not in self.filterable:
            raise RequestError(f"filters: no attribute of that name; this release has {self.filterable}")

    def _with_any(self, name: str, values: Iterable[str]) -> np.ndarray:
        found_I = np.zeros(self.of_release, bool)
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
        column, row_of = self.table.column(f"attr:{name}"), self.late.row_of
        own_C = np.minimum(places_C, self.of_release - 1)
        values = [found or [] for found in column.take(pa.array(own_C)).to_pylist()]
        if row_of:
            late = self.late.table.column(f"attr:{name}")
            for number, place in enumerate(np.asarray(places_C).tolist()):
                if place in row_of:
                    values[number] = late[row_of[place]].as_py() or []
        return values


def unit_rows(rows_ND: np.ndarray) -> np.ndarray:
    """Return rows cut to unit length; zero stays zero."""
    norms_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return np.asarray(rows_ND / np.maximum(norms_N1, 1e-12), np.float32)


def _numbers(table: pa.Table) -> np.ndarray:
    names = [name for name in table.column_names if name.startswith("num:")]
    columns = [pc.fill_null(table.column(name), np.nan).to_numpy() for name in names]
    return np.stack(columns, 1).astype(np.float32) if columns else np.zeros((table.num_rows, 0), np.float32)
