"""One training step's losses: per task the sum over this worker's rows, and how many rows have a label.

B windows, P outputs of each, N outputs with a target, U items whose vectors are needed, T scored tasks
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motet.kinds import LabelScale
from motet.kinds.retrieval import retrieval_loss
from motet.losses.sampled import corrected_logits, sampled_candidates
from motet.model.chain import chain_logits
from motet.model.recommender import Recommender
from motet.model.users import Events
from motet.task import Task
from motet.train_settings import TrainSettings
from motet.training.batches import Batch
from motet.training.catalogue import Catalogue
from motet.training.distributed import gather_rows
from motet.training.negatives import drawn_negatives

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Vectors:
    """Vectors of the items that a step needs: of some places in rising order, or of all."""

    vectors_UD: Tensor
    places_U: Tensor | None

    def at(self, places: Tensor) -> Tensor:
        """Return the vectors at places of the catalogue."""
        return self.vectors_UD[places if self.places_U is None else torch.searchsorted(self.places_U, places)]


def user_states(model: Recommender, batch: Batch, items_BSD: Tensor) -> Tensor:
    """Return the user tower's outputs over a batch, [B, S + 1, D]."""
    prefix_BD = model.users.prefix(batch.text_BX, batch.slots_BL, batch.numbers_BM)
    events = Events(items_BSD, batch.events_BST, batch.gaps_BS, batch.valid_BS, batch.away_BP)
    output: Tensor = model.users(prefix_BD, events)
    return output


class TrainStep(nn.Module):
    """The model over a batch; calling it gives one (sum, count) of losses per task.

    Args:
        model: the network.
        catalogue: all items.
        tasks: the recipe's tasks.
        scales: mean and deviation of scored tasks' labels.
        settings: the recipe's train section.
    """

    def __init__(
        self,
        model: Recommender,
        catalogue: Catalogue,
        tasks: Sequence[Task],
        scales: Mapping[str, LabelScale],
        settings: TrainSettings,
    ) -> None:
        super().__init__()
        self.model, self.catalogue = model, catalogue
        self.tasks, self.scales, self.settings = tuple(tasks), scales, settings
        self.draws = 0

    def forward(self, batch: Batch, idle: bool = False) -> Pair:
        """Return summed losses and counts, [T] each.

        Args:
            batch: windows.
            idle: whether this worker has run out of rows; its targets are then no candidates for the others.
        """
        has_BP = batch.targets_BP >= 0
        rows_N = has_BP.nonzero()[:, 0]
        targets_N = batch.targets_BP[has_BP]
        negatives = {t.name: drawn_negatives(t, batch, len(self.catalogue), self.model.scored) for t in self.tasks}
        drawn = [found.items_N for found in negatives.values() if found is not None]
        vectors = self._vectors([batch.items_BS.flatten(), targets_N, *drawn])
        user_BPD = user_states(self.model, batch, vectors.at(batch.items_BS))
        user_ND = user_BPD[has_BP]
        losses = self._scored(user_ND, vectors, batch, user_BPD)
        for name, found in negatives.items():
            if found is not None:
                state_ND = user_BPD[found.rows_N, found.outputs_N]
                outputs = self._outputs(state_ND, vectors, found.items_N, None)
                more = self._loss(self._task(name), outputs, torch.zeros_like(found.weights_N), found.weights_N, None)
                losses[name] = (losses[name][0] + more[0], losses[name][1] + more[1])
        retrieval = self._retrieval(user_ND, targets_N, rows_N, vectors, batch, idle)
        pairs = [losses[task.name] if task.scored else retrieval for task in self.tasks]
        return torch.stack([total for total, _ in pairs]), torch.stack([count.float() for _, count in pairs])

    def _vectors(self, needed: list[Tensor]) -> Vectors:
        if self.settings.negatives:
            places_U = torch.unique(torch.cat(needed))
            return Vectors(self.catalogue.vectors(self.model, places_U), places_U)
        every = torch.arange(len(self.catalogue), device=needed[0].device)
        return Vectors(self.catalogue.vectors(self.model, every), None)

    def _retrieval(
        self, user_ND: Tensor, targets_N: Tensor, rows_N: Tensor, vectors: Vectors, batch: Batch, idle: bool
    ) -> Pair:
        """Return the softmax loss over the whole catalogue (then `vectors` is all of it) or a sample."""
        smoothing = self.settings.label_smoothing
        if not self.settings.negatives:
            return retrieval_loss(self.model.retrieval_logits(user_ND, vectors.vectors_UD), targets_N, smoothing)
        mine_N1 = targets_N[: 0 if idle else len(targets_N)].unsqueeze(1)
        everyones_M = gather_rows(mine_N1)[:, 0].to(targets_N.device)
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**62 + self.draws)
        self.draws += 1
        chosen = sampled_candidates(everyones_M, self.catalogue.counts_I, self.settings.negatives, generator)
        logits_NC = self.model.retrieval_logits(user_ND, self.catalogue.vectors(self.model, chosen.items_C))
        inputs_BS = torch.where(batch.valid_BS, batch.items_BS, -1)
        met_BM = torch.cat([inputs_BS, batch.targets_BP], 1)
        if idle:  # the row's own target may be no candidate; what comes out is multiplied by zero
            return logits_NC.sum() * 0.0, torch.zeros((), device=logits_NC.device)
        logits_NC, target_N, masked_NC = corrected_logits(logits_NC, chosen, targets_N, rows_N, met_BM)
        return retrieval_loss(logits_NC, target_N, smoothing, masked_NC)

    def _scored(self, user_ND: Tensor, vectors: Vectors, batch: Batch, user_BPD: Tensor) -> dict[str, Pair]:
        """Return the losses of scored tasks; those of slates with the user before the slate."""
        if not self.model.scored:
            return {}
        has_BP = batch.targets_BP >= 0
        labels_NT, items_N = batch.labels_BPT[has_BP], batch.targets_BP[has_BP]
        estimates_NF = None if batch.estimates_BPF is None else batch.estimates_BPF[has_BP]
        outputs = self._outputs(user_ND, vectors, items_N, estimates_NF)
        losses = {}
        for place, task in enumerate(self.model.tasks):
            weights_N = None if batch.weights_BPT is None else batch.weights_BPT[has_BP][:, place]
            if task.slate is None:
                losses[task.name] = self._loss(task, outputs, labels_NT[:, place], weights_N, None)
                continue
            assert batch.slates_BPT is not None
            rows_N, before_N = has_BP.nonzero()[:, 0], batch.slates_BPT[has_BP][:, place]
            states_ND = user_BPD[rows_N, before_N.clamp(min=0)]
            groups_N = torch.where(before_N >= 0, rows_N * has_BP.shape[1] + before_N, -1)
            earlier = self._outputs(states_ND, vectors, items_N, estimates_NF)
            losses[task.name] = self._loss(task, earlier, labels_NT[:, place], weights_N, groups_N)
        return losses

    def _outputs(
        self, user_ND: Tensor, vectors: Vectors, items_N: Tensor, estimates_NF: Tensor | None
    ) -> dict[str, Tensor]:
        """Return each task's outputs, [N, O] each; of a binary task the logit over all events."""
        found = self.catalogue.task_outputs(self.model, user_ND, vectors.at(items_N), items_N, estimates_NF)
        outputs = {name: one.float() for name, one in zip(self.model.scored, found, strict=True)}
        binary = {task.name: outputs[task.name][:, 0] for task in self.model.tasks if task.kind == "binary"}
        return outputs | {name: one.unsqueeze(1) for name, one in chain_logits(binary, self.model.tasks).items()}

    def _loss(
        self,
        task: Task,
        outputs: dict[str, Tensor],
        labels_N: Tensor,
        weights_N: Tensor | None,
        groups_N: Tensor | None,
    ) -> Pair:
        return task.rules.loss(outputs[task.name], labels_N, self.scales[task.name], weights_N, groups_N)

    def _task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)
