"""A catalogue that follows the item log.

Each process that answers reads the log by itself up to its end before each answer, as `motet.events.live` does: a
request that comes after an item was acknowledged knows it in every step. An item gets the next free place at its first
entry, in the order of the log, so all processes of a release give it the same place, whenever they started.

    entry -> the contract of files -> features of the release -> item tower without an id part
          -> text vector of the entry -> whitening of the release ----^

An item of the release that is posted again keeps its place, its events and its id part, and gets new text and
attributes; if these are the release's own, as after it was made from the log, nothing changes.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from motet.data.features import FeatureSpec
from motet.encoders.cache import hex_keys
from motet.encoders.text import TextEncoder
from motet.encoders.whitening import Whitening
from motet.events.follower import Follower
from motet.events.store import Position, Readable
from motet.itemlog.entry import ItemEntry
from motet.itemlog.rows import encoded_rows, problems
from motet.itemlog.tower import LoneTower, numbers_of
from motet.recipe import Recipe
from motet.retrieval.catalogue import ItemTable
from motet.storage import read_json

_log = logging.getLogger(__name__)


class ItemVectors:
    """Vectors of rows, as the release makes them.

    Args:
        folder: a bundle.
        encoder: returns the release's language model; asked for only if an entry has no vector of it.
    """

    def __init__(self, folder: Path, encoder: Callable[[], TextEncoder]) -> None:
        self.encoder, self.key = encoder, read_json(folder / "encoder.json")["key"]
        self.spec = FeatureSpec.model_validate(read_json(folder / "features.json")["items"])
        self.whitening = Whitening.load(folder / "whitening.safetensors")
        self.tower = LoneTower(folder)

    def __call__(
        self, rows: pa.Table, entries: Sequence[ItemEntry], places_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (item vectors [N, D], contents [N, W]).

        Each row is computed alone: products of matrices differ in their last bits with the number of rows, and items
        that are alike would change places with a reader's steps.

        Args:
            rows: from `rows.encoded_rows`.
            entries: of the rows.
            places_N: place of those that have an id part, -1 for the others.
        """
        raw_NX = self._texts(rows.column("text").to_pylist(), entries)
        each = [slice(row, row + 1) for row in range(rows.num_rows)]
        found = [self._row(rows.slice(one.start, 1), raw_NX[one], places_N[one]) for one in each]
        vectors_ND, content_NW = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return vectors_ND, content_NW

    def _row(self, row: pa.Table, raw_1X: np.ndarray, place_1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        text_1X = self.whitening.apply(raw_1X)
        attributes_1A = self.spec.unit_rows(row.column("slots").to_pylist(), numbers_of(row))
        content_1W = np.concatenate([text_1X, attributes_1A], 1) / np.sqrt(2)
        return self.tower.vectors(row, text_1X, place_1), content_1W.astype(np.float32)

    def _texts(self, texts: list[str], entries: Sequence[ItemEntry]) -> np.ndarray:
        keys, width = hex_keys(texts), len(self.whitening.mean_D)
        raw_NX = np.zeros((len(texts), width), np.float32)
        lacking = []
        for row, (key, entry) in enumerate(zip(keys, entries, strict=True)):
            known = entry.text
            if known is None or (known.encoder, known.text_key) != (self.key, key):
                lacking.append(row)
            else:
                raw_NX[row] = known.unpacked()
        if lacking:
            raw_NX[lacking] = self.encoder().encode([texts[row] for row in lacking])
        return raw_NX


class LiveItems:
    """Makes a catalogue follow a log.

    Args:
        store: the log; read, never written.
        recipe: the release's.
        spec: its features of items.
        items: its catalogue, which grows.
        vectors: makes vectors of rows; None if the catalogue has names and attributes only.
    """

    def __init__(
        self,
        store: Readable[ItemEntry],
        recipe: Recipe,
        spec: FeatureSpec,
        items: ItemTable,
        vectors: ItemVectors | None,
    ) -> None:
        self.recipe, self.spec, self.items, self.vectors = recipe, spec, items, vectors
        self._follower = Follower(store, self._take, "item")

    def catch_up(self) -> None:
        """Take in what the log has since the last time; see `Follower.catch_up`. Not while looking at the items."""
        self._follower.catch_up()

    @property
    def position(self) -> Position:
        """How far the log is taken in."""
        return self._follower.position

    def _take(self, entries: list[ItemEntry]) -> None:
        added = self._good([entry for entry in entries if not entry.removes])
        good = {id(entry) for entry in added}
        last = {entry.item: entry for entry in entries if entry.removes or id(entry) in good}
        gone = [item for item, entry in last.items() if entry.removes]
        back = [item for item, entry in last.items() if not entry.removes]
        latest = list({entry.item: entry for entry in added}.values())  # by the first of each item
        rows = self._changed(latest) if latest else None
        with self.items.standstill.changing():
            if rows is not None:
                self.items.add(*rows)
            self.items.remove(gone, back)

    def _good(self, entries: list[ItemEntry]) -> list[ItemEntry]:
        """Return the entries that keep the recipe's contract; the others are none for all processes."""
        wrong = problems(entries, self.recipe) if entries else []
        for entry, problem in zip(entries, wrong, strict=True):
            if problem is not None:
                _log.warning("entry %s of the item log is left out: %s", entry.entry_id, problem)
        return [entry for entry, problem in zip(entries, wrong, strict=True) if problem is None]

    def _changed(self, entries: list[ItemEntry]) -> tuple[pa.Table, np.ndarray, np.ndarray] | None:
        """Return what `ItemTable.add` takes, of the entries that say something new."""
        rows = encoded_rows(entries, self.recipe, self.spec)
        rows = rows.append_column("text_key", pa.array(hex_keys(rows.column("text").to_pylist())))
        new = [row for row, values in enumerate(rows.to_pylist()) if not self._is_known(values)]
        if not new:
            return None
        rows, entries = rows.take(pa.array(new)), [entries[row] for row in new]
        if self.vectors is None:
            nothing = np.zeros((len(new), 0), np.float32)
            return rows, nothing, nothing
        places = [self.items.place_of.get(entry.item, -1) for entry in entries]
        met = [place >= 0 and bool(self.items.log_count_I[place] > 0) for place in places]
        return rows, *self.vectors(rows, entries, np.where(met, places, -1))

    def _is_known(self, values: dict[str, object]) -> bool:
        place = self.items.place_of.get(str(values["item"]))
        if place is None:
            return False
        known = self.items.row(place)
        shown = ["title", "text_key", *(name for name in known if name.startswith(("attr:", "num:")))]
        return all(known.get(name) == values[name] for name in shown)
