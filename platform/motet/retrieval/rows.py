"""A row for every place: those of the release, and behind them those of items that came since.

The release's rows stay where they are; what is behind them grows by doubling, so that adding a row copies no large
array however large the catalogue is.
"""

from typing import Any

import numpy as np

_LEAST = 64


class Rows:
    """Rows by place.

    Args:
        base_IX: the release's, [I, ...]; a row that is put anew is overwritten there.
    """

    def __init__(self, base_IX: np.ndarray) -> None:
        self.base = base_IX
        self.late = base_IX[:0]
        """The rows behind the release's, [J, ...]."""
        self._held = self.late

    def __len__(self) -> int:
        return len(self.base) + len(self.late)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together."""
        return (len(self), *self.base.shape[1:])

    def __getitem__(self, places: Any) -> np.ndarray:
        """Return the row of a place, or the rows of an array of places of any shape."""
        if not len(self.late):
            return np.asarray(self.base[places])
        places = np.asarray(places)
        late = places >= len(self.base)
        if not late.any():
            return np.asarray(self.base[places])
        if late.all():
            return np.asarray(self.late[places - len(self.base)])
        rows = self.base[np.minimum(places, len(self.base) - 1)]
        rows[late] = self.late[places[late] - len(self.base)]
        return np.asarray(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows as one array; a copy if any came since the release."""
        del copy
        whole = np.concatenate([self.base, self.late]) if len(self.late) else self.base
        return whole if dtype is None else whole.astype(dtype)

    def put(self, places_N: np.ndarray, rows_NX: np.ndarray) -> None:
        """Set rows; places that are not there yet follow one another behind the last."""
        old_N = places_N < len(self.base)
        self.base[places_N[old_N]] = rows_NX[old_N]
        if old_N.all():
            return
        late_N = places_N[~old_N] - len(self.base)
        count = max(len(self.late), int(late_N.max()) + 1)
        if count > len(self._held):
            larger = np.zeros((max(_LEAST, 2 * count), *self.base.shape[1:]), self.base.dtype)
            larger[: len(self.late)] = self.late
            self._held = larger
        self._held[late_N] = rows_NX[~old_N]
        self.late = self._held[:count]
