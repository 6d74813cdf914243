"""Surgery on gradients: by hand for two tasks, and what the papers promise for more."""

import pytest
import torch

from motet.losses.surgery import CAGRAD_RADIUS, cagrad_weights, pcgrad_weights, surgery_weights


def _weights(kind: str, gradients_TW: torch.Tensor) -> torch.Tensor:
    return surgery_weights(kind, gradients_TW @ gradients_TW.T, 0)


def test_pcgrad_by_hand() -> None:
    # g1 = (1, 0), g2 = (-1, 1) conflict: g1 + 1/2 g2 = (1/2, 1/2), g2 + g1 = (0, 1).
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    weights = _weights("pcgrad", gradients)
    assert weights.tolist() == [2.0, 1.5]
    assert (weights @ gradients).tolist() == [0.5, 1.5]


@pytest.mark.parametrize("seed", [0, 1])
def test_pcgrad_adds_up_what_does_not_conflict_and_leaves_the_random_numbers_of_training(seed: int) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert pcgrad_weights(torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.1], [0.0, 0.1, 4.0]]), seed).tolist() == [1, 1, 1]
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_order_of_conflicts_follows_the_seed() -> None:
    gradients = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    gramian = gradients @ gradients.T
    assert torch.equal(pcgrad_weights(gramian, 3), pcgrad_weights(gramian, 3))
    assert len({tuple(pcgrad_weights(gramian, seed).tolist()) for seed in range(8)}) > 1


def test_cagrad_of_one_and_the_same_gradient_goes_its_way() -> None:
    gradients = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
    update = cagrad_weights(gradients @ gradients.T) @ gradients
    torch.testing.assert_close(update, 2 * (1 + CAGRAD_RADIUS) * torch.tensor([3.0, 4.0]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_cagrad_stays_near_the_mean_and_helps_the_worst_off_task_at_least_as_much(seed: int) -> None:
    gradients = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
        [[1.0], [5], [1], [0.3]]
    )
    mean = gradients.mean(0)
    update = _weights("cagrad", gradients) @ gradients / 4
    assert (update - mean).norm() <= CAGRAD_RADIUS * mean.norm() * 1.01
    assert (gradients @ update).min() >= (gradients @ mean).min() - 1e-4


def test_gradients_of_zero_are_left() -> None:
    assert cagrad_weights(torch.zeros(3, 3)).tolist() == [1.0, 1.0, 1.0]
