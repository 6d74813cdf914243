"""What a network says about held-out events: one row per event, so that networks are compared on the same rows.

user, item, met (known events of the user), label:<task>, slate:<task>
    <network>:<task>       of scored tasks: the raw logit (binary), the expected value, or the score (ranking)
    <network>:<retrieval>  the event's place among the user's first 10 by vectors alone, 0 for none

Everything before the part is known of a user, as `evaluate.history: parts` has it. The label of the retrieval task is
1 for a target and unknown for an item that can't be recommended or that came twice.

Letters: B users, R rows, S history, I items, D width, K places of a list, T scored tasks.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from motet.data.split import TRAIN, UNUSED, VALIDATION
from motet.estimates import Estimates
from motet.kinds import LabelScale
from motet.kinds.retrieval import K
from motet.task import Task
from motet.training.batches import Batch, collate
from motet.training.step import TrainStep, user_states
from motet.training.validation import last_output
from motet.training.windows import TextVectors, validation_rows

_USERS_PER_BATCH = 256


def held_rows(
    histories: pa.Table, users: pa.Table, part: int, history: int, text: TextVectors, estimates: Estimates | None
) -> pa.Table:
    """Return `windows.validation_rows` of another part, with the column `user`.

    Args:
        histories: rows of `histories/`.
        users: rows of `users/` that hold at least the same users.
        part: VALIDATION or TEST of `motet.data.split`.
        history: S.
        text: whitened vectors of users' texts.
        estimates: what the heads read of labels, if they do.
    """
    parts = [np.asarray(one) for one in histories.column("parts").to_pylist()]
    moved = [np.select([one < part, one == part], [TRAIN, VALIDATION], UNUSED).astype(np.int8) for one in parts]
    held_U = np.array([bool((one == VALIDATION).any()) for one in moved], bool)
    place = histories.column_names.index("parts")
    histories = histories.set_column(place, "parts", pa.array(moved, pa.list_(pa.int8())))
    known = [int((one == TRAIN).sum()) for one, held in zip(moved, held_U, strict=True) if held]
    histories = histories.filter(pa.array(held_U))
    rows = validation_rows(histories, users, history, text, estimates)
    return rows.append_column("user", histories.column("user")).append_column("met", pa.array(known, pa.int32()))


@torch.no_grad()
def score_rows(
    held: pa.Table, networks: Mapping[str, TrainStep], names: Sequence[str], history: int, excludes_seen: bool
) -> pa.Table:
    """Return the rows described above.

    Args:
        held: of `held_rows`.
        networks: by name.
        names: the scored tasks, in the order of the heads.
        history: S.
        excludes_seen: whether what the user has met can't be recommended.
    """
    vectors = {name: _catalogue_vectors(step) for name, step in networks.items()}
    tables = []
    for start in range(0, held.num_rows, _USERS_PER_BATCH):
        part = held.slice(start, _USERS_PER_BATCH).combine_chunks()
        batch = collate(part.drop_columns(["user", "met"]), list(names), history)
        columns = _truth(part, batch, names, _retrieval(networks), excludes_seen)
        for name, step in networks.items():
            said = _predictions(step, batch, vectors[name], excludes_seen)
            columns |= {f"{name}:{task}": values for task, values in said}
        tables.append(pa.table(columns))
    return pa.concat_tables(tables) if tables else pa.table({})


def _catalogue_vectors(step: TrainStep) -> Tensor:
    return step.catalogue.vectors(step.model.eval(), torch.arange(len(step.catalogue)))


def _retrieval(networks: Mapping[str, TrainStep]) -> str:
    return next(task.name for task in next(iter(networks.values())).tasks if not task.scored)


def _truth(
    held: pa.Table, batch: Batch, names: Sequence[str], retrieval: str, excludes_seen: bool
) -> dict[str, np.ndarray | pa.Array]:
    rows_R, columns_R = torch.nonzero(batch.targets_BP >= 0, as_tuple=True)
    items_R = batch.targets_BP[rows_R, columns_R]
    users = held.column("user").combine_chunks().take(pa.array(rows_R.numpy()))
    met_B = held.column("met").to_numpy()
    assert batch.seen_BN is not None
    usable_R = ~(batch.seen_BN[rows_R] == items_R.unsqueeze(1)).any(1).numpy() | (not excludes_seen)
    pairs_R2 = torch.stack([rows_R, items_R], 1).numpy()
    first_R = np.zeros(len(items_R), bool)
    first_R[np.unique(pairs_R2, axis=0, return_index=True)[1]] = True
    columns = {"user": users, "item": items_R.numpy(), "met": met_B[rows_R.numpy()]}
    columns[f"label:{retrieval}"] = np.where(usable_R & first_R, 1.0, np.nan)
    for place, name in enumerate(names):
        columns[f"label:{name}"] = batch.labels_BPT[rows_R, columns_R, place].double().numpy()
        slates = None if batch.slates_BPT is None else batch.slates_BPT[rows_R, columns_R, place].numpy()
        columns[f"slate:{name}"] = np.full(len(items_R), -1) if slates is None else slates
    return columns


def _predictions(
    step: TrainStep, batch: Batch, catalogue_ID: Tensor, excludes_seen: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (task, predictions [R]) of one network."""
    model = step.model
    user_BD = last_output(user_states(model, batch, catalogue_ID[batch.items_BS]), batch.valid_BS)
    rows_R, columns_R = torch.nonzero(batch.targets_BP >= 0, as_tuple=True)
    items_R = batch.targets_BP[rows_R, columns_R]
    retrieval = next(task.name for task in step.tasks if not task.scored)
    yield retrieval, _places(step, user_BD, catalogue_ID, batch, excludes_seen)[rows_R, columns_R].numpy()
    if model.tasks:
        estimates_RF = None if batch.estimates_BPF is None else batch.estimates_BPF[rows_R, columns_R]
        outputs = step.catalogue.task_outputs(model, user_BD[rows_R], catalogue_ID[items_R], items_R, estimates_RF)
        raw_RC = model.raw_scores([one.float() for one in outputs]).numpy()
        for place, task in enumerate(model.tasks):
            yield task.name, _in_label_unit(task, raw_RC[:, place], step.scales[task.name])


def _in_label_unit(task: Task, raw_R: np.ndarray, scale: LabelScale) -> np.ndarray:
    """Return raw scores as they are judged: a logit stays one, as a sigmoid would tie what differs."""
    return raw_R if task.kind == "binary" else task.rules.uncalibrated(scale).apply(raw_R)


def _places(step: TrainStep, user_BD: Tensor, catalogue_ID: Tensor, batch: Batch, excludes_seen: bool) -> Tensor:
    """Return each target's place in its user's list, from 1 to K, or 0, [B, P]."""
    logits_BI = step.model.retrieval_logits(user_BD, catalogue_ID).float()
    if excludes_seen and batch.seen_BN is not None:
        users, items = logits_BI.shape
        spare_BN = torch.where(batch.seen_BN >= 0, batch.seen_BN, items)
        seen_BI = torch.zeros(users, items + 1, dtype=torch.bool).scatter_(1, spare_BN, True)[:, :items]
        logits_BI = logits_BI.masked_fill(seen_BI, -torch.inf)
    top_BK = logits_BI.topk(min(K, logits_BI.shape[1])).indices
    found_BPK = batch.targets_BP.unsqueeze(2) == top_BK.unsqueeze(1)
    return torch.where(found_BPK.any(2), found_BPK.int().argmax(2) + 1, 0)
