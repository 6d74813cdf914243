"""Validation metrics against numbers computed by hand from the model's own scores."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from motet.training.batches import Batch
from motet.training.step import TrainStep, user_states
from motet.training.validation import last_output, validate
from tests.builders import ITEMS, Tiny


@pytest.fixture(scope="module")
def step(tiny: Tiny) -> TrainStep:
    return tiny.train()[0].step_module


def _logits(step: TrainStep, batch: Batch) -> np.ndarray:
    """Scores of the whole catalogue by the serving steps: the state after the last event."""
    with torch.no_grad():
        model = step.model.eval()
        catalogue = step.catalogue.vectors(model, torch.arange(ITEMS))
        user = user_states(model, batch, catalogue[batch.items_BS])
        return model.retrieval_logits(last_output(user, batch.valid_BS), catalogue).numpy()


def _rows(batch: Batch, rows: slice) -> Batch:
    values = (getattr(batch, name) for name in batch.__dataclass_fields__)
    return Batch(*(None if value is None else value[rows] for value in values))


def test_ranking_metrics_by_hand(tiny: Tiny, step: TrainStep) -> None:
    (batch,) = tiny.validation()
    logits_BI = _logits(step, batch)
    ndcg, recall, loss = [], [], []
    for logits_I, targets, seen in zip(logits_BI, batch.targets_BP.tolist(), batch.seen_BN.tolist(), strict=True):
        (target,) = targets  # leave one out: one validation event each
        rest = [item for item in np.argsort(-logits_I, kind="stable") if item not in seen]
        rank = rest.index(target)
        ndcg.append(1 / math.log2(rank + 2) if rank < 10 else 0.0)
        recall.append(float(rank < 10))
        loss.append(float(np.log(np.exp(logits_I).sum()) - logits_I[target]))
    metrics = validate(step, [batch], torch.device("cpu"))
    assert metrics["watch.ndcg"] == pytest.approx(np.mean(ndcg), abs=1e-5)
    assert metrics["watch.recall"] == pytest.approx(np.mean(recall), abs=1e-6)
    assert metrics["watch.loss"] == pytest.approx(np.mean(loss), abs=1e-4)
    assert 0 < metrics["watch.ndcg"] < 1


def test_several_targets_and_a_target_that_was_seen(tiny: Tiny, step: TrainStep) -> None:
    (batch,) = tiny.validation()
    logits_I = _logits(step, batch)[0]
    seen = [item for item in batch.seen_BN[0].tolist() if item >= 0]
    rest = [item for item in np.argsort(-logits_I, kind="stable") if item not in seen]
    # Ranks 1, 3 and 12 of what is not seen, and an item that was seen, which does not count.
    targets = torch.tensor([[rest[0], rest[2], rest[-1], seen[0]]])
    one = _rows(batch, slice(0, 1))
    one = replace(one, targets_BP=targets, labels_BPT=torch.full((1, 4, 2), torch.nan))
    metrics = validate(step, [one], torch.device("cpu"))
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics["watch.ndcg"] == pytest.approx((1 + 1 / math.log2(4)) / ideal, abs=1e-6)
    assert metrics["watch.recall"] == pytest.approx(2 / 3)
    assert set(metrics) == {"watch.ndcg", "watch.recall", "watch.loss"}  # no label, so no task metric
    alone = replace(one, targets_BP=targets[:, 3:], labels_BPT=one.labels_BPT[:, 3:])
    assert validate(step, [alone], torch.device("cpu")) == {}


def test_task_metrics_by_hand(tiny: Tiny, step: TrainStep) -> None:
    (batch,) = tiny.validation()
    labels = batch.labels_BPT.clone()
    labels[2:4] = torch.nan
    batch = replace(batch, labels_BPT=labels)
    metrics = validate(step, [batch], torch.device("cpu"))
    with torch.no_grad():
        model = step.model.eval()
        catalogue = step.catalogue.vectors(model, torch.arange(ITEMS))
        user = last_output(user_states(model, batch, catalogue[batch.items_BS]), batch.valid_BS)
        places = batch.targets_BP[:, 0]
        raw = model.raw_scores(step.catalogue.task_outputs(model, user, catalogue[places], places)).numpy()
    like, rating = batch.labels_BPT[:, 0].numpy().T
    known = ~np.isnan(like)
    assert known.sum() == 10
    pairs = [(p, n) for p in raw[known & (like == 1), 0] for n in raw[known & (like == 0), 0]]
    assert metrics["like.auc"] == pytest.approx(np.mean([(p > n) + 0.5 * (p == n) for p, n in pairs]))
    each = np.log1p(np.exp(-raw[known, 0] * (2 * like[known] - 1)))
    assert metrics["like.loss"] == pytest.approx(each.mean(), rel=1e-5)
    scale = tiny.card.scales["rating"]
    error = raw[known, 1] * scale.std + scale.mean - rating[known]
    assert metrics["rating.rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert metrics["rating.loss"] == pytest.approx((error**2).mean() / scale.std**2, rel=1e-4)


def test_batches_of_any_size_give_the_same_and_no_row_gives_none(tiny: Tiny, step: TrainStep) -> None:
    (batch,) = tiny.validation()
    whole = validate(step, [batch], torch.device("cpu"))
    parts = [_rows(batch, slice(start, start + 5)) for start in range(0, 12, 5)]
    assert validate(step, parts, torch.device("cpu")) == pytest.approx(whole, rel=1e-5)
    assert validate(step, [], torch.device("cpu")) == {}


def test_the_last_output_is_the_first_for_those_without_events() -> None:
    outputs = torch.arange(12.0).reshape(2, 3, 2)
    valid = torch.tensor([[False, True], [False, False]])
    assert last_output(outputs, valid).tolist() == [[4.0, 5.0], [6.0, 7.0]]


def test_padding_hides_nothing_of_the_first_item(tiny: Tiny, step: TrainStep) -> None:
    """Padding stands after real places in `seen` and in the targets, and the first item of the catalogue is a place."""
    (batch,) = tiny.validation()
    one = _rows(batch, slice(0, 1))
    labels = torch.full((1, 2, 2), torch.nan)
    wanted = replace(one, seen_BN=torch.tensor([[1, -1]]), targets_BP=torch.tensor([[0, -1]]), labels_BPT=labels)
    assert "watch.ndcg" in validate(step, [wanted], torch.device("cpu"))
    seen = replace(wanted, seen_BN=torch.tensor([[0, -1]]))
    assert validate(step, [seen], torch.device("cpu")) == {}
