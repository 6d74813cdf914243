"""One training step's losses: per task the sum over this worker's rows, and how many rows have a label."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from motet.losses.masked import TASK_LOSSES, retrieval_loss
from motet.losses.sampled import sampled_candidates
from motet.model.io import LabelScale
from motet.model.items import ItemInputs
from motet.model.recommender import Recommender
from motet.settings import TrainSettings
from motet.task import Task
from motet.training.batches import Batch


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

    def vectors(self, model: Recommender, places_C: Tensor) -> Tensor:
        """Return the item vectors of some places, [C, D], with gradient.

        An item without a training event has no id part, neither in training nor after.
        """
        ids_C = torch.where(self.counts_I[places_C] > 0, places_C + 1, 0)
        return model.items(ids_C, self.text_IX[places_C], self.slots_IL[places_C], self.numbers_IM[places_C])


class TrainStep(nn.Module):
    """Model and catalogue; its forward gives (sums [T], counts [T]) in the order of the recipe's tasks.

    Wrapped by DistributedDataParallel when there are several workers.
    """

    def __init__(
        self,
        model: Recommender,
        catalogue: Catalogue,
        tasks: Sequence[Task],
        scales: dict[str, LabelScale],
        settings: TrainSettings,
    ) -> None:
        super().__init__()
        self.model, self.catalogue = model, catalogue
        self.tasks, self.scales, self.settings = tuple(tasks), scales, settings

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return summed losses and counts, [T] each."""
        has_BP = batch.targets_BP >= 0
        targets_N = batch.targets_BP[has_BP]
        if self.settings.negatives:
            needed = torch.cat([batch.items_BS.flatten(), targets_N])
            used_U, place = torch.unique(needed, return_inverse=True)
            vectors_UD = self.catalogue.vectors(self.model, used_U)
            inputs_BS = place[: batch.items_BS.numel()].view(batch.items_BS.shape)
            outputs_N = place[batch.items_BS.numel() :]
        else:
            vectors_UD = self.catalogue.vectors(self.model, torch.arange(len(self.catalogue), device=targets_N.device))
            inputs_BS, outputs_N = batch.items_BS, targets_N
        prefix_BD = self.model.users.prefix(batch.text_BX, batch.slots_BL, batch.numbers_BM)
        user_BPD = self.model.users(prefix_BD, vectors_UD[inputs_BS], batch.liking_BS, batch.valid_BS)
        user_ND = user_BPD[has_BP]
        retrieval = self._retrieval(user_ND, targets_N, vectors_UD)
        scored = self._scored(user_ND, vectors_UD[outputs_N], targets_N, batch.labels_BPT[has_BP])
        pairs = [retrieval if task.kind == "retrieval" else scored[task.name] for task in self.tasks]
        return torch.stack([total for total, _ in pairs]), torch.stack([count for _, count in pairs])

    def _retrieval(self, user_ND: Tensor, targets_N: Tensor, vectors_UD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the softmax loss over the whole catalogue (then `vectors_UD` is all of it) or a sample."""
        if not self.settings.negatives:
            logits_NI = self.model.retrieval_logits(user_ND, vectors_UD)
            return retrieval_loss(logits_NI, targets_N, self.settings.label_smoothing)
        chosen = sampled_candidates(targets_N, self.catalogue.counts_I, self.settings.negatives)
        candidates_CD = self.catalogue.vectors(self.model, chosen.items_C)
        logits_NC = self.model.retrieval_logits(user_ND, candidates_CD) - chosen.correction_C
        return retrieval_loss(logits_NC, chosen.target_N, self.settings.label_smoothing)

    def _scored(
        self, user_ND: Tensor, item_ND: Tensor, items_N: Tensor, labels_NT: Tensor
    ) -> dict[str, tuple[Tensor, Tensor]]:
        if not self.model.scored:
            return {}
        scores_NT = self.model.task_scores(user_ND, item_ND, self.catalogue.log_count_I[items_N])
        losses = {}
        for place, task in enumerate(task for task in self.tasks if task.scored):
            labels_N = labels_NT[:, place]
            if task.kind == "regression":
                labels_N = (labels_N - self.scales[task.name].mean) / self.scales[task.name].std
            losses[task.name] = TASK_LOSSES[task.kind](scores_NT[:, place].float(), labels_N)
        return losses
