"""Chains of probabilities in logs: by hand, and stable where the product is not."""

import pytest
import torch

from motet.model.chain import chain_logits
from motet.task import Task

TASKS = (
    Task(name="buy", kind="binary", label="b > 0", given="click"),
    Task(name="click", kind="binary", label="c > 0", given="view"),
    Task(name="view", kind="binary", label="v > 0"),
    Task(name="rating", kind="regression", label="r"),
)


def test_the_product_by_hand() -> None:
    logits = {"buy": torch.tensor([0.0, 2.0]), "click": torch.tensor([1.0, -1.0]), "view": torch.tensor([0.5, 3.0])}
    found = chain_logits(logits, TASKS)
    assert set(found) == {"buy", "click", "view"}
    share = {name: one.sigmoid() for name, one in logits.items()}
    assert torch.equal(found["view"], logits["view"])
    torch.testing.assert_close(found["click"].sigmoid(), share["view"] * share["click"])
    torch.testing.assert_close(found["buy"].sigmoid(), share["view"] * share["click"] * share["buy"])


@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_extreme_logits_give_finite_logits_and_gradients(size: float) -> None:
    logits = {name: torch.tensor([size], requires_grad=True) for name in ("buy", "click", "view")}
    found = chain_logits(logits, TASKS)["buy"]
    found.sum().backward()
    # Three probabilities of e^-300 make e^-900; three of 1 - e^-300 lack 3 e^-300 of 1.
    expected = -900.0 if size < 0 else 300.0 - torch.tensor(3.0).log().item()
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert all(torch.isfinite(one.grad).all() for one in logits.values())
