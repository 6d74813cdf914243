"""A network that goes on from another one's weights, though items and categories may have come and gone.

What stands in a row of its own for each item or category is found by its name; a new one keeps its fresh weights.
Everything else must have the shape that it had.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from motet.data.features import FeatureSpec
from motet.errors import TrainingError


@dataclass(frozen=True)
class OldRows:
    """For each row of a new table the row of the old one that it goes on from; -1 for none."""

    items: np.ndarray
    """[I + 1]; row 0 is for an item without an id."""
    item_slots: np.ndarray
    user_slots: np.ndarray

    @classmethod
    def of(
        cls,
        items: tuple[Sequence[str], Sequence[str]],
        item_specs: tuple[FeatureSpec, FeatureSpec],
        user_specs: tuple[FeatureSpec, FeatureSpec],
    ) -> "OldRows":
        """Find the rows; each argument is (old, new)."""
        place_of = {item: place for place, item in enumerate(items[0], 1)}
        rows_I = np.array([0, *(place_of.get(item, -1) for item in items[1])], np.int64)
        return cls(rows_I, _slots(*item_specs), _slots(*user_specs))


def _slots(old: FeatureSpec, new: FeatureSpec) -> np.ndarray:
    slot_of = {name: slot for slot, name in enumerate(_names(old))}
    return np.array([slot_of.get(name, -1) for name in _names(new)], np.int64)


def _names(spec: FeatureSpec) -> list[tuple[str, str | None]]:
    """Return (column, value) of each slot; the value of an unknown one is None, as is the column of padding."""
    names: list[tuple[str, str | None]] = [("", None)]
    for feature in spec.categories:
        assert feature.offset == len(names)
        names += [(feature.name, None), *((feature.name, value) for value in feature.vocabulary)]
    return names


@torch.no_grad()
def carry_over(model: nn.Module, weights: dict[str, Tensor], rows: OldRows) -> int:
    """Put an old network's weights into a new one in place; return how many rows of items were found.

    Args:
        model: with fresh weights.
        weights: of the old network.
        rows: where the new rows stand in it.

    Raises:
        TrainingError: if the networks are built otherwise.
    """
    tables = {
        "items.ids.weight": rows.items,
        "task_items.weight": rows.items,
        "items.attributes.weight": rows.item_slots,
        "users.attributes.weight": rows.user_slots,
    }
    for name, value in model.state_dict().items():
        old, found = weights.get(name), tables.get(name)
        if old is None or (found is None and old.shape != value.shape) or old.shape[1:] != value.shape[1:]:
            was = "it has none" if old is None else f"there it is {tuple(old.shape)}"
            raise TrainingError(
                f"{name} is {tuple(value.shape)} in this recipe's network, and in the current release's {was}; "
                "run jobs/pipeline.py to train a new one"
            )
        if found is None:
            value.copy_(old)
        else:
            known = torch.from_numpy(np.flatnonzero(found >= 0))
            value[known] = old[torch.from_numpy(found[found >= 0])]
    return int((rows.items[1:] >= 0).sum())
