"""The item tower of a release by itself: vectors of rows, without the network's other parts or the table of ids."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors import safe_open

from motet.model.io import ModelCard
from motet.model.items import ItemTower, pad_slots
from motet.storage import read_json

_PREFIX, _IDS = "items.", "items.ids.weight"


class LoneTower:
    """The item tower of a release, in evaluation mode.

    Args:
        folder: a bundle.
    """

    def __init__(self, folder: Path) -> None:
        shapes = (card := ModelCard.from_dict(read_json(folder / "model.json"))).shapes
        self.path = folder / "model.safetensors"
        self.tower = ItemTower(0, shapes.item_text, shapes.item_slots, shapes.item_numbers, card.settings).eval()
        weights = {"ids.weight": self.tower.ids.weight.data}
        with safe_open(self.path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(_PREFIX) and name != _IDS]  # noqa: SIM118
            weights |= {name.removeprefix(_PREFIX): file.get_tensor(name) for name in names}
        self.tower.load_state_dict(weights)

    @torch.inference_mode()
    def vectors(self, rows: pa.Table, text_NX: np.ndarray, places_N: np.ndarray) -> np.ndarray:
        """Return the item vectors, float32 [N, D].

        Args:
            rows: `slots` and `numbers` of the items.
            text_NX: whitened vectors of their texts.
            places_N: place of those that have an id part; -1 for the others.
        """
        numbers_NM = numbers_of(rows)
        if numbers_NM.shape[1] == 0:
            numbers_NM = np.zeros((len(numbers_NM), 1), np.float32)
        slots_NL = pad_slots(rows.column("slots").to_pylist())
        ids_N, self.tower.ids = self._ids(places_N)
        inputs = (torch.from_numpy(one) for one in (text_NX, slots_NL, numbers_NM))
        return np.asarray(self.tower(ids_N, *inputs).numpy())

    def _ids(self, places_N: np.ndarray) -> tuple[torch.Tensor, torch.nn.Embedding]:
        """Return (ids, the table of the few that are asked for)."""
        known = np.unique(places_N[places_N >= 0])
        rows = [torch.zeros(1, self.tower.ids.embedding_dim)]
        if len(known):
            with safe_open(self.path, "pt") as file:
                table = file.get_slice(_IDS)
                rows += [table[int(place) + 1 : int(place) + 2] for place in known]
        ids_N = np.where(places_N >= 0, np.searchsorted(known, places_N) + 1, 0)
        return torch.from_numpy(ids_N), torch.nn.Embedding.from_pretrained(torch.cat(rows))


def numbers_of(rows: pa.Table) -> np.ndarray:
    """Return the standardised numbers of rows, float32 [N, M]."""
    return np.asarray(rows.column("numbers").to_pylist(), np.float32).reshape(rows.num_rows, -1)
