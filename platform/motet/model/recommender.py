"""The whole network: item tower, user tower, task layers, heads.

user_BD    = user tower(history)              item_ID = item tower(catalogue)
retrieval  = cosine(user, item) / temperature
task_BCT   = heads(experts([user, item, user * item, cosine, log count of the item]))
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motet.model.experts import build_experts
from motet.model.items import ItemTower
from motet.model.users import UserTower
from motet.settings import ModelSettings
from motet.task import Task


@dataclass(frozen=True)
class Shapes:
    """Sizes that the data decide."""

    items: int
    item_text: int
    item_slots: int
    item_numbers: int
    user_text: int
    user_slots: int
    user_numbers: int


class Recommender(nn.Module):
    """Towers and heads of one recipe."""

    def __init__(self, shapes: Shapes, tasks: tuple[Task, ...], settings: ModelSettings) -> None:
        super().__init__()
        self.scored = [task.name for task in tasks if task.scored]
        self.items = ItemTower(shapes.items, shapes.item_text, shapes.item_slots, shapes.item_numbers, settings)
        self.users = UserTower(shapes.user_text, shapes.user_slots, shapes.user_numbers, settings)
        self.log_temperature = nn.Parameter(torch.tensor(-2.65))
        self.experts: nn.Module | None = None
        if self.scored:
            self.experts = build_experts(3 * settings.dim + 2, len(self.scored), settings)
            self.heads = nn.ModuleList([nn.Linear(settings.expert_dim, 1) for _ in self.scored])

    @property
    def temperature(self) -> Tensor:
        """The softmax temperature, kept between 0.02 and 1."""
        return self.log_temperature.exp().clamp(0.02, 1.0)

    def retrieval_logits(self, user_ND: Tensor, item_ID: Tensor) -> Tensor:
        """Return cosine / temperature, [N, I]."""
        scaled_ND = nn.functional.normalize(user_ND, dim=-1) / self.temperature
        return scaled_ND @ nn.functional.normalize(item_ID, dim=-1).T

    def task_scores(self, user_ND: Tensor, item_ND: Tensor, log_count_N: Tensor) -> Tensor:
        """Return one raw score (logit or value) per pair and scored task, [N, T]."""
        assert self.experts is not None
        cosine_N = nn.functional.cosine_similarity(user_ND, item_ND, dim=-1)
        pair_NF = torch.cat(
            [user_ND, item_ND, user_ND * item_ND, cosine_N.unsqueeze(-1), log_count_N.unsqueeze(-1)], -1
        )
        mixed_NTD = self.experts(pair_NF)
        return torch.cat([head(mixed_NTD[:, place]) for place, head in enumerate(self.heads)], -1)
