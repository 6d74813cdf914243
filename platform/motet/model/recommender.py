"""The whole network: item tower, user tower, task layers, heads.

user_BD    = user tower(history)              item_ID = item tower(catalogue)
retrieval  = cosine(user, item) / temperature
outputs    = heads(experts([user, item, user * item, cosine, log count of the item, estimates])) + linear(estimates)
             one [N, O] per task
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motet.kinds import LabelScale
from motet.model.chain import chain_logits
from motet.model.experts import build_experts
from motet.model.heads import build_head
from motet.model.items import ItemTower
from motet.model.users import UserTower
from motet.settings import ModelSettings
from motet.task import Task, scores_of

TASK_EMBEDDING = 8
"""Width of a task's own item embedding."""


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
    estimates: int = 0
    """Columns of `motet.estimates`; 0 if the heads read none."""


class Recommender(nn.Module):
    """Towers and heads of one recipe."""

    def __init__(
        self,
        shapes: Shapes,
        tasks: tuple[Task, ...],
        settings: ModelSettings,
        scales: Mapping[str, LabelScale],
        signals: Sequence[LabelScale] = (),
    ) -> None:
        super().__init__()
        self.tasks = [task for task in tasks if task.scored]
        self.scored = [task.name for task in self.tasks]
        self.scores = [score.name for score in scores_of(tasks)]
        self.items = ItemTower(shapes.items, shapes.item_text, shapes.item_slots, shapes.item_numbers, settings)
        read = [*(scales[name] for name in self.scored), *signals]
        self.users = UserTower(shapes.user_text, shapes.user_slots, shapes.user_numbers, read, settings)
        self.log_temperature = nn.Parameter(torch.tensor(-2.65))
        self.experts: nn.Module | None = None
        self.task_items: nn.Embedding | None = None
        self.linear: nn.Linear | None = None
        if self.scored:
            width = 3 * settings.dim + 2 + shapes.estimates
            if shapes.estimates:
                self.linear = nn.Linear(shapes.estimates, len(self.scored), bias=False)
                nn.init.zeros_(self.linear.weight)
            if settings.task_embeddings:
                self.task_items = nn.Embedding(shapes.items + 1, len(self.scored) * TASK_EMBEDDING)
                nn.init.zeros_(self.task_items.weight)
                width += TASK_EMBEDDING
            self.experts = build_experts(width, len(self.scored), settings)
            outputs = [task.rules.outputs(scales[task.name]) for task in self.tasks]
            self.heads = nn.ModuleList([build_head(settings.expert_dim, count) for count in outputs])

    @property
    def temperature(self) -> Tensor:
        """The softmax temperature, kept between 0.02 and 1."""
        return self.log_temperature.exp().clamp(0.02, 1.0)

    def retrieval_logits(self, user_ND: Tensor, item_ID: Tensor) -> Tensor:
        """Return cosine / temperature, [N, I]."""
        scaled_ND = nn.functional.normalize(user_ND, dim=-1) / self.temperature
        return scaled_ND @ nn.functional.normalize(item_ID, dim=-1).T

    def task_outputs(
        self, user_ND: Tensor, item_ND: Tensor, log_count_N: Tensor, ids_N: Tensor, estimates_NF: Tensor
    ) -> list[Tensor]:
        """Return each scored task's outputs, [N, O] each.

        Args:
            user_ND: from the user tower.
            item_ND: from the item tower.
            log_count_N: how often the item was met, as a scaled log.
            ids_N: the item's place + 1; 0 for one without events, which has no embedding of a task.
            estimates_NF: of `motet.estimates`; F may be 0.
        """
        assert self.experts is not None
        cosine_N = nn.functional.cosine_similarity(user_ND, item_ND, dim=-1)
        pair = torch.cat(
            [user_ND, item_ND, user_ND * item_ND, cosine_N.unsqueeze(-1), log_count_N.unsqueeze(-1), estimates_NF], -1
        )
        if self.task_items is not None:
            own_NTK = self.task_items(ids_N).view(len(pair), len(self.scored), TASK_EMBEDDING)
            own_NTK = own_NTK * (ids_N > 0).to(pair.dtype)[:, None, None]
            pair = torch.cat([pair.unsqueeze(1).expand(-1, len(self.scored), -1), own_NTK], -1)
        mixed_NTD = self.experts(pair)
        outputs = [head(mixed_NTD[:, place]) for place, head in enumerate(self.heads)]
        if self.linear is None:
            return outputs
        return [one + straight for one, straight in zip(outputs, self.linear(estimates_NF).split(1, 1), strict=True)]

    def task_scores(
        self, user_ND: Tensor, item_ND: Tensor, log_count_N: Tensor, ids_N: Tensor, estimates_NF: Tensor
    ) -> Tensor:
        """Return one raw score per pair and score of `motet.task.scores_of`, [N, C]."""
        return self.raw_scores(self.task_outputs(user_ND, item_ND, log_count_N, ids_N, estimates_NF))

    def raw_scores(self, outputs: list[Tensor]) -> Tensor:
        """Return the raw scores [N, C] of the heads' outputs: over all events, then among those of `given`."""
        raw = {task.name: task.rules.raw(one) for task, one in zip(self.tasks, outputs, strict=True)}
        chained = raw | chain_logits(raw, self.tasks)
        among = [raw[task.name] for task in self.tasks if task.given is not None]
        return torch.stack([*(chained[name] for name in self.scored), *among], -1)
