"""Balancing: what each kind does with the weights, as its paper says."""

import math

import pytest
import torch

from motet.losses.balance import Balancer
from motet.task import Task

TASKS = (
    Task(name="watch", kind="retrieval", weight=2.0),
    Task(name="like", kind="binary", label="rating >= 4", weight=0.5),
)
KINDS = ("static", "uncertainty", "dwa", "famo", "gradnorm", "pcgrad", "cagrad")


def _step(balancer: Balancer, before: list[float], after: list[float] | None = None) -> list[float]:
    norms = torch.tensor([3.0, 1.0]) if balancer.needs_norms else None
    weights = balancer.weights(torch.tensor(before), norms).tolist()
    if balancer.needs_losses_after_step:
        balancer.after_step(torch.tensor(after or before))
    return weights


def test_static_weights_are_the_recipes_whatever_the_losses() -> None:
    balancer = Balancer("static", TASKS)
    for losses in ([1.0, 1.0], [9.0, 0.1]):
        assert _step(balancer, losses) == [2.0, 0.5]
        balancer.end_epoch()
    assert balancer.state() == {}


def test_uncertainty_starts_at_a_half_and_moves_towards_half_of_one_over_the_loss() -> None:
    # 0.5 exp(-s) L + 0.5 s is least at s = log L, where the weight is 1 / (2 L).
    balancer = Balancer("uncertainty", TASKS, learning_rate=0.05)
    assert _step(balancer, [4.0, 0.25]) == [0.5, 0.5]
    for _ in range(400):
        weights = _step(balancer, [4.0, 0.25])
    assert weights == pytest.approx([0.125, 2.0], rel=0.02)
    assert balancer.state()["log_variances"] == pytest.approx([math.log(4), math.log(0.25)], abs=0.02)


def test_dwa_weighs_a_task_more_whose_loss_falls_more_slowly() -> None:
    balancer = Balancer("dwa", TASKS)
    for losses in ([2.0, 2.0], [1.0, 1.8]):
        assert _step(balancer, losses) == [1.0, 1.0]  # two epochs without a rate
        balancer.end_epoch()
    # Rates 1.0 / 2.0 and 1.8 / 2.0; temperature 2; two tasks.
    shares = [math.exp(0.5 / 2), math.exp(0.9 / 2)]
    assert _step(balancer, [1.0, 1.0]) == pytest.approx([2 * share / sum(shares) for share in shares], rel=1e-5)


def test_famo_starts_at_weights_that_make_a_convex_combination_and_favours_the_task_that_improved_less() -> None:
    balancer = Balancer("famo", TASKS)
    # c z / L with z = 1/2 and c = 1 / sum(z / L): L = (1, 3) gives weights 3/4 and 1/4.
    assert _step(balancer, [1.0, 3.0], [0.5, 3.0]) == pytest.approx([0.75, 0.25], rel=1e-5)
    for _ in range(30):
        weights = _step(balancer, [1.0, 1.0], [0.5, 1.0])
    assert sum(weights) == pytest.approx(1, rel=1e-5)
    assert weights[1] > 0.6  # the first task halves its loss in each step, the second does not move


def test_gradnorm_brings_the_norms_together_and_favours_the_task_that_learns_slowly() -> None:
    even = Balancer("gradnorm", TASKS)
    assert _step(even, [1.0, 1.0]) == [1.0, 1.0]
    for _ in range(200):
        weights = _step(even, [1.0, 1.0])
    # Norms of 3 and 1 meet where 3 w = v and w + v = 2.
    assert weights == pytest.approx([0.5, 1.5], abs=0.05)
    slow = Balancer("gradnorm", TASKS)
    _step(slow, [1.0, 1.0])
    for _ in range(200):
        slower = _step(slow, [1.0, 0.5])  # the second task has halved its loss, so the first is the slow one
    # Paces 4/3 and 2/3 to the power of 1.5: 3 w : v = 2^1.5.
    assert 3 * slower[0] / slower[1] == pytest.approx(2**1.5, rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_stay_finite_and_positive_for_losses_of_zero(kind: str) -> None:
    balancer = Balancer(kind, TASKS)
    for _ in range(3):
        weights = _step(balancer, [0.0, 0.0])
        balancer.end_epoch()
    assert all(math.isfinite(weight) and weight > 0 for weight in weights)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_balancer_goes_on_exactly_as_the_one_that_was_saved(kind: str) -> None:
    losses = [([1.0 / step, 2.0], [0.9 / step, 1.9]) for step in range(1, 8)]
    saved = Balancer(kind, TASKS)
    for before, after in losses[:4]:
        _step(saved, before, after)
        saved.end_epoch()
    restored = Balancer(kind, TASKS)
    restored.load(saved.state())
    assert restored.state() == saved.state()
    for before, after in losses[4:]:
        assert _step(restored, before, after) == _step(saved, before, after)
        restored.end_epoch()
        saved.end_epoch()


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_nothing_leaves_a_fresh_balancer(kind: str) -> None:
    balancer, fresh = Balancer(kind, TASKS), Balancer(kind, TASKS)
    balancer.load(Balancer(kind, TASKS).state())
    assert _step(balancer, [1.0, 2.0]) == _step(fresh, [1.0, 2.0])
    old = {"uncertainty": {"log_variances": [0.5, 0.0]}, "famo": {"logits": [0.5, 0.0]}}.get(kind, {})
    balancer.load(old)
    assert all(balancer.state()[name] == values for name, values in old.items())
