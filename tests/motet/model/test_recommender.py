"""The whole network: cosine over temperature, heads over pairs; and on disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motet.errors import DataError
from motet.model.io import ModelCard, load_model, save_model
from motet.model.recommender import TASK_EMBEDDING, Recommender
from tests.builders import Tiny


@pytest.fixture
def model(tiny: Tiny) -> Recommender:
    torch.manual_seed(4)
    return tiny.card.build().eval()


@torch.no_grad()
def test_retrieval_is_the_cosine_over_the_temperature(model: Recommender) -> None:
    users, items = torch.tensor([[3.0, 4.0] + [0.0] * 6]), torch.eye(8)[:3] * 7
    model.log_temperature.fill_(-1.0)  # e^-1
    # cosines of (3, 4, 0...) with the first three axes: 0.6, 0.8, 0
    expected = torch.tensor([[0.6, 0.8, 0.0]]) * torch.e
    torch.testing.assert_close(model.retrieval_logits(users, items), expected)


@pytest.mark.parametrize(("log", "temperature"), [(-9.0, 0.02), (9.0, 1.0), (-2.0, 0.1353353)])
@torch.no_grad()
def test_the_temperature_stays_within_its_bounds(model: Recommender, log: float, temperature: float) -> None:
    model.log_temperature.fill_(log)
    assert float(model.temperature) == pytest.approx(temperature, rel=1e-5)


@torch.no_grad()
def test_a_task_score_is_its_head_over_its_mixture_of_the_pair(model: Recommender) -> None:
    user, item, count = torch.randn(5, 8), torch.randn(5, 8), torch.rand(5)
    cosine = (user * item).sum(1) / user.norm(dim=1) / item.norm(dim=1)
    pair = torch.cat([user, item, user * item, cosine[:, None], count[:, None]], 1)
    mixed = model.experts(pair)
    expected = torch.stack([mixed[:, t] @ head.weight[0] + head.bias for t, head in enumerate(model.heads)], 1)
    found = model.task_scores(user, item, count, torch.arange(5), torch.zeros(5, 0))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert model.scored == ["like", "rating"]


@torch.no_grad()
def test_estimates_are_read_by_the_experts_and_straight_by_each_task(tiny: Tiny) -> None:
    card = replace(tiny.card, shapes=replace(tiny.card.shapes, estimates=3))
    model = card.build().eval()
    pair = (torch.randn(5, 8), torch.randn(5, 8), torch.rand(5), torch.arange(5))
    before, other = model.task_scores(*pair, torch.zeros(5, 3)), model.task_scores(*pair, torch.ones(5, 3))
    assert not torch.allclose(before, other)  # by the experts: the straight part is zero at the beginning
    assert model.linear is not None
    model.linear.weight.copy_(torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, -1.0]]))
    torch.testing.assert_close(model.task_scores(*pair, torch.ones(5, 3)), other + torch.tensor([7.0, -1.0]))


@torch.no_grad()
def test_a_task_s_own_embedding_of_an_item_reaches_that_task_alone(encoder_folder: Path) -> None:
    model = Tiny.of(encoder_folder, model={"task_embeddings": True}).card.build().eval()
    pair = (torch.randn(3, 8), torch.randn(3, 8), torch.rand(3), torch.tensor([0, 4, 5]), torch.zeros(3, 0))
    before = model.task_scores(*pair)
    assert model.task_items is not None
    model.task_items.weight.view(-1, 2, TASK_EMBEDDING)[:, 0] = torch.randn(TASK_EMBEDDING)  # of `like`, also of no id
    after = model.task_scores(*pair)
    assert torch.equal(after[:, 1], before[:, 1])
    assert torch.equal(after[0], before[0])  # an item without events
    assert not torch.isclose(after[1:, 0], before[1:, 0]).any()


def test_save_and_load_give_the_same_network_in_evaluation_mode(tiny: Tiny, model: Recommender, tmp_path: Path) -> None:
    save_model(tmp_path, model, tiny.card)
    loaded, card = load_model(tmp_path)
    assert card == tiny.card == ModelCard.from_dict(json.loads(json.dumps(tiny.card.to_dict())))
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_missing_weights_and_those_of_another_network_are_refused(
    tiny: Tiny, model: Recommender, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"model\.json does not exist; run the stage"):
        load_model(tmp_path)
    save_model(tmp_path, model, tiny.card)
    card = json.loads((tmp_path / "model.json").read_text())
    card["settings"]["expert_dim"] = 4
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match=r"model\.safetensors does not fit model\.json"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors does not exist; run the train stage"):
        load_model(tmp_path)
