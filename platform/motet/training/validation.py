"""The validation metrics of one epoch: ranking over the whole catalogue, and the scored tasks.

<retrieval task>.ndcg, .recall   at 10, what the user met in training left out unless repeats are kept
<retrieval task>.loss            cross-entropy of the first target over the catalogue
<score>.<metric of its kind>     on the labels of the targets; <task>_given_<other> on those where the other happened
<task>.loss                      as in training, but without sample weights and drawn negatives

Letters: R rows, C scores of `motet.task.scores_of`, O outputs of all heads, T scored tasks.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from motet.kinds.retrieval import list_metrics, placed
from motet.model.chain import chain_logits
from motet.task import scores_of
from motet.training.batches import Batch
from motet.training.distributed import gather_rows, world
from motet.training.step import TrainStep, user_states

_MOST_SLATES = 2**24


@torch.no_grad()
def validate(
    step: TrainStep, batches: Iterable[Batch], device: torch.device, excludes_seen: bool = True
) -> dict[str, float]:
    """Return the metrics over all workers' rows; a metric without rows is left out.

    Args:
        step: model and catalogue.
        batches: this worker's rows of the validation part.
        device: where the model is.
        excludes_seen: whether what the user met in training is left out of the ranking.
    """
    model = step.model.eval()
    every = torch.arange(len(step.catalogue), device=device)
    catalogue_ID = step.catalogue.vectors(model, every)
    ranking: list[Tensor] = []
    labelled: list[Tensor] = []
    for batch in batches:
        batch = batch.to(device)
        user_BD = _last_user(step, batch, catalogue_ID)
        ranking.append(_ranking_rows(step, user_BD, catalogue_ID, batch, excludes_seen))
        labelled.append(_label_rows(step, user_BD, catalogue_ID, batch, len(labelled)))
    ranking_R3 = gather_rows(torch.cat(ranking) if ranking else torch.zeros(0, 3))
    rows_RX = gather_rows(torch.cat(labelled) if labelled else torch.zeros(0, _width(step), dtype=torch.float64))
    name = next(task.name for task in step.tasks if task.kind == "retrieval")
    metrics: dict[str, float] = {}
    if len(ranking_R3):
        ndcg, recall, loss = ranking_R3.mean(0).tolist()
        metrics = {f"{name}.ndcg": ndcg, f"{name}.recall": recall, f"{name}.loss": loss}
    return metrics | _task_metrics(step, rows_RX)


def _last_user(step: TrainStep, batch: Batch, catalogue_ID: Tensor) -> Tensor:
    return last_output(user_states(step.model, batch, catalogue_ID[batch.items_BS]), batch.valid_BS)


def last_output(outputs_BPD: Tensor, valid_BS: Tensor) -> Tensor:
    """Return each user after their last event [B, D]; output 0 for those without any."""
    has_events_B1 = valid_BS.any(1, keepdim=True)
    return torch.where(has_events_B1, outputs_BPD[:, -1], outputs_BPD[:, 0])


def _ranking_rows(step: TrainStep, user_BD: Tensor, catalogue_ID: Tensor, batch: Batch, excludes_seen: bool) -> Tensor:
    """Return NDCG, recall and loss of each user with a target, [U, 3]."""
    logits_BI = step.model.retrieval_logits(user_BD, catalogue_ID).float()
    assert batch.seen_BN is not None
    seen_BI = torch.zeros_like(logits_BI, dtype=torch.bool)
    if excludes_seen:
        seen_BI = placed(batch.seen_BN, logits_BI.shape[1])
    return list_metrics(logits_BI, batch.targets_BP, seen_BI).cpu()


def _outputs(step: TrainStep) -> list[int]:
    return [task.rules.outputs(step.scales[task.name]) for task in step.model.tasks]


def _width(step: TrainStep) -> int:
    return sum(_outputs(step)) + 2 * len(step.model.tasks)


def _label_rows(step: TrainStep, user_BD: Tensor, catalogue_ID: Tensor, batch: Batch, number: int) -> Tensor:
    """Return outputs of the heads, labels and slates of the targets, [R, O + 2T]; slates apart by user."""
    rows_R, columns_R = torch.nonzero(batch.targets_BP >= 0, as_tuple=True)
    items_R = batch.targets_BP[rows_R, columns_R]
    labels_RT = batch.labels_BPT[rows_R, columns_R]
    if not step.model.scored:
        return labels_RT.double().cpu()
    estimates_RF = None if batch.estimates_BPF is None else batch.estimates_BPF[rows_R, columns_R]
    outputs = step.catalogue.task_outputs(step.model, user_BD[rows_R], catalogue_ID[items_R], items_R, estimates_RF)
    groups_RT = torch.full_like(labels_RT, -1, dtype=torch.float64)
    if batch.slates_BPT is not None:
        groups_RT = _groups(rows_R, batch.slates_BPT[rows_R, columns_R], number).to(groups_RT)
    return torch.cat([*(one.double() for one in outputs), labels_RT.double(), groups_RT], 1).cpu()


def _groups(rows_R: Tensor, slates_RT: Tensor, number: int) -> Tensor:
    """Return slates as numbers that no other user, batch or worker has; -1 for none."""
    rank, workers = world()
    groups_RT = torch.empty_like(slates_RT)
    for place in range(slates_RT.shape[1]):
        pairs_R2 = torch.stack([rows_R, slates_RT[:, place]], 1)
        own_R = torch.unique(pairs_R2, dim=0, return_inverse=True)[1]
        groups_RT[:, place] = (number * _MOST_SLATES + own_R) * workers + rank
    return torch.where(slates_RT >= 0, groups_RT, -1)


def _task_metrics(step: TrainStep, rows_RX: Tensor) -> dict[str, float]:
    tasks = step.model.tasks
    if not tasks or not len(rows_RX):
        return {}
    *outputs, labels_RT, groups_RT = rows_RX.split([*_outputs(step), len(tasks), len(tasks)], 1)
    labels = {task.name: labels_RT[:, place].numpy() for place, task in enumerate(tasks)}
    groups = {task.name: groups_RT[:, place].long() for place, task in enumerate(tasks)}
    outputs = [one.float() for one in outputs]
    raw_RC = step.model.raw_scores(outputs)
    metrics: dict[str, float] = {}
    for column, score in enumerate(scores_of(step.tasks)):
        name, scale = score.task.name, step.scales[score.task.name]
        found = score.task.rules.validation(
            raw_RC[:, column].numpy(), score.labels(labels), scale, groups[name].numpy()
        )
        metrics |= {f"{score.name}.{metric}": value for metric, value in found.items()}
    return metrics | _task_losses(step, outputs, labels_RT, groups_RT)


def _task_losses(step: TrainStep, outputs: list[Tensor], labels_RT: Tensor, groups_RT: Tensor) -> dict[str, float]:
    """Return the loss of each task with known labels."""
    found = dict(zip(step.model.scored, outputs, strict=True))
    binary = {task.name: found[task.name][:, 0] for task in step.model.tasks if task.kind == "binary"}
    found |= {name: one.unsqueeze(1) for name, one in chain_logits(binary, step.model.tasks).items()}
    losses = {}
    for place, task in enumerate(step.model.tasks):
        labels_R, groups_R = labels_RT[:, place].float(), groups_RT[:, place].long()
        total, count = task.rules.loss(found[task.name], labels_R, step.scales[task.name], None, groups_R)
        if count > 0:
            losses[f"{task.name}.loss"] = float(total / count)
    return losses
