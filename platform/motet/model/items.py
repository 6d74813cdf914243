"""The item tower: what an item is (text, attributes) plus who it is (its id), to one vector.

    item = LN(adaptor(text) + attributes + numbers + gate * id)

The id part starts at zero and is dropped for a share of the items in each step, so that an item never
seen in training looks like one whose id was dropped. `model.item_parts` leaves out either side.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from motet.settings import ModelSettings

_SHARES = {"both": (1.0, 1.0), "ids": (0.0, 1.0), "contents": (1.0, 0.0)}
"""What contents and ids count by `model.item_parts`; a part that counts nothing still gets a gradient, of zero, as
data-parallel training wants of all."""


@dataclass(frozen=True)
class ItemInputs:
    """What the tower knows of I items: whitened text [I, X], slots [I, L] (0 pads), numbers [I, M], log counts [I]."""

    text_IX: np.ndarray
    slots_IL: np.ndarray
    numbers_IM: np.ndarray
    log_count_I: np.ndarray

    def __len__(self) -> int:
        return len(self.text_IX)


def pad_slots(slots: list[list[int]]) -> np.ndarray:
    """Return lists of slots as an int64 matrix padded with 0, at least one column wide."""
    width = max([1, *(len(one) for one in slots)])
    padded_IL = np.zeros((len(slots), width), np.int64)
    for row, ids in enumerate(slots):
        padded_IL[row, : len(ids)] = ids
    return padded_IL


class ItemTower(nn.Module):
    """Vectors of the catalogue's items.

    Args:
        items: number of items with an id part; an id of -1 (or beyond) has none.
        text_dim: width of the text vectors.
        slots: size of the space of category slots, padding included.
        numbers: number columns.
        settings: the recipe's model section.
    """

    def __init__(self, items: int, text_dim: int, slots: int, numbers: int, settings: ModelSettings) -> None:
        super().__init__()
        dim = settings.dim
        self.adaptor = nn.Sequential(
            nn.Linear(text_dim, 2 * dim), nn.SiLU(), nn.Dropout(settings.dropout), nn.Linear(2 * dim, dim)
        )
        self.attributes = nn.EmbeddingBag(slots, dim, mode="mean", padding_idx=0)
        self.numbers = nn.Linear(max(1, numbers), dim, bias=False)
        self.ids = nn.Embedding(items + 1, dim)
        self.gate = nn.Parameter(torch.ones(dim))
        self.norm = nn.LayerNorm(dim)
        self.id_dropout = settings.id_dropout
        self.content_share, self.id_share = _SHARES[settings.item_parts]
        if self.content_share:
            nn.init.zeros_(self.ids.weight)
        else:  # all at zero would be one point, where the norm's gradient is steepest
            nn.init.normal_(self.ids.weight, std=0.02)
        nn.init.normal_(self.attributes.weight, std=0.02)
        with torch.no_grad():
            self.attributes.weight[0].zero_()

    def forward(self, ids_I: Tensor, text_IX: Tensor, slots_IL: Tensor, numbers_IM: Tensor) -> Tensor:
        """Return [I, D].

        Args:
            ids_I: place in the catalogue + 1; 0 for an item without an id part.
            text_IX: whitened text vectors.
            slots_IL: category slots, padded with 0.
            numbers_IM: standardised numbers; at least one column.
        """
        content_ID = self.adaptor(text_IX) + self.attributes(slots_IL) + self.numbers(numbers_IM)
        content_ID = self.content_share * content_ID
        known_I1 = self.id_share * (ids_I > 0).unsqueeze(-1).to(content_ID.dtype)
        if self.training and self.id_dropout:
            keep_I1 = torch.rand(len(ids_I), 1, device=ids_I.device) >= self.id_dropout
            known_I1 = known_I1 * keep_I1
        return self.norm(content_ID + self.gate * self.ids(ids_I) * known_I1)
