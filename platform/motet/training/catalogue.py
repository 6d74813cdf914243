"""The catalogue as the item tower reads it."""

import torch
from torch import Tensor, nn

from motet.model.items import ItemInputs
from motet.model.recommender import Recommender


class Catalogue(nn.Module):
    """What the item tower reads, as tensors that move with the module; row i is the item at place i."""

    text_IX: Tensor
    slots_IL: Tensor
    numbers_IM: Tensor
    log_count_I: Tensor
    counts_I: Tensor

    def __init__(self, inputs: ItemInputs, counts_I: Tensor) -> None:
        super().__init__()
        numbers = inputs.numbers_IM if inputs.numbers_IM.shape[1] else inputs.numbers_IM[:, :0]
        numbers_IM = torch.from_numpy(numbers)
        if numbers_IM.shape[1] == 0:
            numbers_IM = torch.zeros(len(inputs), 1)
        self.register_buffer("text_IX", torch.from_numpy(inputs.text_IX), persistent=False)
        self.register_buffer("slots_IL", torch.from_numpy(inputs.slots_IL), persistent=False)
        self.register_buffer("numbers_IM", numbers_IM.float(), persistent=False)
        self.register_buffer("log_count_I", torch.from_numpy(inputs.log_count_I), persistent=False)
        self.register_buffer("counts_I", counts_I.float(), persistent=False)

    def __len__(self) -> int:
        return len(self.text_IX)

    def ids(self, places: Tensor) -> Tensor:
        """Return the place + 1 of items with a training event, 0 for the others, who have no id part."""
        return torch.where(self.counts_I[places] > 0, places + 1, 0)

    def vectors(self, model: Recommender, places_C: Tensor) -> Tensor:
        """Return the item vectors of some places, [C, D], with gradient.

        An item without a training event has no id part, neither in training nor after.
        """
        ids_C = self.ids(places_C)
        return model.items(ids_C, self.text_IX[places_C], self.slots_IL[places_C], self.numbers_IM[places_C])

    def task_outputs(
        self,
        model: Recommender,
        user_ND: Tensor,
        item_ND: Tensor,
        places_N: Tensor,
        estimates_NF: Tensor | None = None,
    ) -> list[Tensor]:
        """Return each scored task's outputs for pairs of a user and the item at a place, [N, O] each."""
        estimates_NF = user_ND.new_zeros(len(user_ND), 0) if estimates_NF is None else estimates_NF
        return model.task_outputs(user_ND, item_ND, self.log_count_I[places_N], self.ids(places_N), estimates_NF)
