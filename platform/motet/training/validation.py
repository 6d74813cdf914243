"""The validation metrics of one epoch: ranking over the whole catalogue, and the scored tasks.

<retrieval task>.ndcg, .recall   at 10, what the user met in training left out unless repeats are kept
<retrieval task>.loss            cross-entropy of the first target over the catalogue
<task>.auc / .rmse / .loss       on the labels of the targets
"""

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from motet.losses.masked import TASK_LOSSES
from motet.training.batches import Batch
from motet.training.distributed import gather_rows
from motet.training.step import TrainStep

K = 10


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
    pairs: list[Tensor] = []
    for batch in batches:
        batch = batch.to(device)
        user_BD = _last_user(step, batch, catalogue_ID)
        ranking.append(_ranking_rows(step, user_BD, catalogue_ID, batch, excludes_seen))
        pairs.append(_label_rows(step, user_BD, catalogue_ID, batch))
    scored = len(model.scored)
    ranking_R3 = gather_rows(torch.cat(ranking) if ranking else torch.zeros(0, 3))
    pairs_R2T = gather_rows(torch.cat(pairs) if pairs else torch.zeros(0, 2 * scored))
    name = next(task.name for task in step.tasks if task.kind == "retrieval")
    metrics: dict[str, float] = {}
    if len(ranking_R3):
        ndcg, recall, loss = ranking_R3.mean(0).tolist()
        metrics = {f"{name}.ndcg": ndcg, f"{name}.recall": recall, f"{name}.loss": loss}
    return metrics | _task_metrics(step, pairs_R2T)


def _last_user(step: TrainStep, batch: Batch, catalogue_ID: Tensor) -> Tensor:
    users = step.model.users
    prefix_BD = users.prefix(batch.text_BX, batch.slots_BL, batch.numbers_BM)
    outputs_BPD = users(prefix_BD, catalogue_ID[batch.items_BS], batch.liking_BS, batch.valid_BS)
    return last_output(outputs_BPD, batch.valid_BS)


def last_output(outputs_BPD: Tensor, valid_BS: Tensor) -> Tensor:
    """Return each user after their last event [B, D]; output 0 for those without any."""
    has_events_B1 = valid_BS.any(1, keepdim=True)
    return torch.where(has_events_B1, outputs_BPD[:, -1], outputs_BPD[:, 0])


def _ranking_rows(step: TrainStep, user_BD: Tensor, catalogue_ID: Tensor, batch: Batch, excludes_seen: bool) -> Tensor:
    """Return NDCG, recall and loss per user, [B, 3]."""
    logits_BI = step.model.retrieval_logits(user_BD, catalogue_ID).float()
    targets_BN = batch.targets_BP
    loss_B = -logits_BI.log_softmax(-1).gather(1, targets_BN[:, :1].clamp(min=0)).squeeze(1)
    assert batch.seen_BN is not None
    seen_BI = torch.zeros_like(logits_BI, dtype=torch.bool)
    if excludes_seen:
        seen_BI.scatter_(1, batch.seen_BN.clamp(min=0), batch.seen_BN >= 0)
    top_BK = logits_BI.masked_fill(seen_BI, -torch.inf).topk(min(K, logits_BI.shape[1])).indices
    wanted_BI = torch.zeros_like(seen_BI)
    wanted_BI.scatter_(1, targets_BN.clamp(min=0), targets_BN >= 0)
    wanted_BI &= ~seen_BI
    hits_BK = wanted_BI.gather(1, top_BK).float()
    discount_K = 1 / torch.log2(torch.arange(2, hits_BK.shape[1] + 2, device=hits_BK.device).float())
    count_B = wanted_BI.sum(1)
    ideal_B = discount_K.cumsum(0)[count_B.clamp(1, len(discount_K)) - 1]
    ndcg_B = (hits_BK * discount_K).sum(1) / ideal_B
    recall_B = hits_BK.sum(1) / count_B.clamp(min=1)
    return torch.stack([ndcg_B, recall_B, loss_B], 1)[count_B > 0].cpu()


def _label_rows(step: TrainStep, user_BD: Tensor, catalogue_ID: Tensor, batch: Batch) -> Tensor:
    """Return raw scores and labels of the targets, [R, 2T]."""
    rows_R, columns_R = torch.nonzero(batch.targets_BP >= 0, as_tuple=True)
    items_R = batch.targets_BP[rows_R, columns_R]
    labels_RT = batch.labels_BPT[rows_R, columns_R]
    if not step.model.scored:
        return labels_RT.cpu()
    log_count_R = step.catalogue.log_count_I[items_R]
    scores_RT = step.model.task_scores(user_BD[rows_R], catalogue_ID[items_R], log_count_R)
    return torch.cat([scores_RT.float(), labels_RT], 1).cpu()


def _task_metrics(step: TrainStep, pairs_R2T: Tensor) -> dict[str, float]:
    metrics: dict[str, float] = {}
    tasks = [task for task in step.tasks if task.scored]
    for place, task in enumerate(tasks):
        scores_R, labels_R = pairs_R2T[:, place], pairs_R2T[:, len(tasks) + place]
        known_R = ~labels_R.isnan()
        if not known_R.any():
            continue
        if task.kind == "regression":
            scale = step.scales[task.name]
            error_R = (scores_R * scale.std + scale.mean - labels_R)[known_R]
            metrics[f"{task.name}.rmse"] = float(error_R.pow(2).mean().sqrt())
            labels_R = (labels_R - scale.mean) / scale.std
        elif len(np.unique(labels_R[known_R])) == 2:
            metrics[f"{task.name}.auc"] = float(roc_auc_score(labels_R[known_R].numpy(), scores_R[known_R].numpy()))
        total, count = TASK_LOSSES[task.kind](scores_R, labels_R)
        metrics[f"{task.name}.loss"] = float(total / count)
    return metrics
