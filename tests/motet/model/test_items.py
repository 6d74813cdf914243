"""The item tower: an item without an id part, or one never trained, has a vector like any other."""

import numpy as np
import pytest
import torch

from motet.model.items import ItemInputs, ItemTower, pad_slots
from motet.settings import ModelSettings


def _tower(id_dropout: float = 0.0, item_parts: str = "both") -> ItemTower:
    torch.manual_seed(2)
    settings = {"dim": 8, "dropout": 0.0, "id_dropout": id_dropout, "item_parts": item_parts}
    return ItemTower(5, 4, 6, 1, ModelSettings.model_validate(settings))


def _ask(tower: ItemTower, ids: list[int]) -> torch.Tensor:
    count = len(ids)
    random = torch.Generator().manual_seed(0)
    text = torch.randn(1, 4, generator=random).expand(count, -1)
    return tower(torch.tensor(ids), text, torch.tensor([[2, 0]] * count), torch.ones(count, 1)).detach()


def test_fresh_ids_add_nothing_so_items_of_like_content_are_alike() -> None:
    vectors = _ask(_tower().eval(), [0, 1, 5])
    assert torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors[0], vectors[2])
    assert torch.isfinite(vectors).all()


def test_a_trained_id_moves_its_item_and_no_id_leaves_the_content() -> None:
    tower = _tower().eval()
    content = _ask(tower, [0])[0]
    with torch.no_grad():
        tower.ids.weight[3] = 1.0 + torch.arange(8.0)
        tower.ids.weight[0] = 7.0  # must not count: 0 says that there is no id part
    vectors = _ask(tower, [0, 1, 3])
    torch.testing.assert_close(vectors[:2], content.expand(2, -1))
    assert not torch.allclose(vectors[2], content, atol=1e-2)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_that_share_of_ids_is_dropped_in_training_and_none_in_use(share: float) -> None:
    tower = _tower(share)
    with torch.no_grad():
        tower.ids.weight[3] = 1.0 + torch.arange(8.0)
    content = _ask(tower.eval(), [0])[0]
    assert not torch.allclose(_ask(tower, [3] * 50), content.expand(50, -1), atol=1e-2)
    torch.manual_seed(0)
    dropped = [torch.allclose(vector, content, atol=1e-5) for vector in _ask(tower.train(), [3] * 2000)]
    assert np.mean(dropped) == pytest.approx(share, abs=0.04)  # 2000 draws: two standard deviations are 0.02


def test_contents_or_ids_alone() -> None:
    """What is left out changes no vector and gets a gradient of zeros; an item without an id is then like any other."""
    for parts, kept, left_out in (
        ("contents", "adaptor.3.bias", "ids.weight"),
        ("ids", "ids.weight", "adaptor.3.bias"),
    ):
        tower = _tower(item_parts=parts)
        before = _ask(tower.eval(), [0, 3])
        with torch.no_grad():
            dict(tower.named_parameters())[left_out] += 1.0 + torch.rand(8)
        torch.testing.assert_close(_ask(tower, [0, 3]), before)
        assert torch.equal(before[0], before[1]) == (parts == "contents")
        tower(torch.tensor([3]), torch.ones(1, 4), torch.tensor([[2]]), torch.ones(1, 1))[0, 0].backward()
        gradients = {name: float(one.grad.abs().sum()) for name, one in tower.named_parameters()}
        assert gradients[left_out] == 0
        assert gradients[kept] > 0


def test_slots_are_averaged_and_padding_is_not_counted() -> None:
    tower = _tower().eval()
    text, numbers = torch.zeros(2, 4), torch.zeros(2, 1)
    one, two = tower(torch.zeros(2, dtype=torch.long), text, torch.tensor([[4, 0, 0], [4, 4, 4]]), numbers)
    torch.testing.assert_close(one, two)


def test_padding_by_hand() -> None:
    assert pad_slots([[3], [], [1, 2]]).tolist() == [[3, 0], [0, 0], [1, 2]]
    assert pad_slots([[], []]).tolist() == [[0], [0]]
    assert pad_slots([]).shape == (0, 1)
    assert len(ItemInputs(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 0)), np.zeros(3))) == 3
