"""The user tower is causal, does not see padding, and knows what was liked."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motet.model.users import UserTower
from motet.settings import ModelSettings

DIM, HISTORY = 8, 6


@pytest.fixture(scope="module")
def tower() -> UserTower:
    torch.manual_seed(1)
    settings = ModelSettings(dim=DIM, history=HISTORY, layers=2, heads=2, dropout=0.5)
    return UserTower(4, 5, 1, settings).eval()


def _inputs(length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    prefix = torch.randn(2, DIM, generator=random)
    events = torch.randn(2, length, DIM, generator=random)
    liking = torch.randint(0, 3, (2, length), generator=random)
    return prefix, events, liking, torch.ones(2, length, dtype=torch.bool)


@given(changed=st.integers(0, HISTORY - 1), seed=st.integers(0, 9))
@torch.no_grad()
def test_a_later_event_changes_no_earlier_output(tower: UserTower, changed: int, seed: int) -> None:
    prefix, events, liking, valid = _inputs(HISTORY, seed)
    before = tower(prefix, events, liking, valid)
    other = events.clone()
    other[:, changed] += torch.randn(DIM, generator=torch.Generator().manual_seed(99))
    after = tower(prefix, other, liking, valid)
    # Output s is after event s - 1: outputs 0..changed have not seen it.
    torch.testing.assert_close(after[:, : changed + 1], before[:, : changed + 1], atol=1e-6, rtol=0)
    assert (after[:, changed + 1 :] - before[:, changed + 1 :]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("length", [1, 3, 5])
@torch.no_grad()
def test_padding_on_the_left_changes_no_output_and_its_content_does_not_matter(tower: UserTower, length: int) -> None:
    prefix, events, liking, valid = _inputs(length)
    bare = tower(prefix, events, liking, valid)
    room = HISTORY - length
    for content in (0.0, 99.0):
        padded = tower(
            prefix,
            torch.cat([torch.full((2, room, DIM), content), events], 1),
            torch.cat([torch.zeros(2, room, dtype=torch.long), liking], 1),
            torch.cat([torch.zeros(2, room, dtype=torch.bool), valid], 1),
        )
        torch.testing.assert_close(padded[:, -length:], bare[:, -length:], atol=1e-5, rtol=0)
        torch.testing.assert_close(padded[:, 0], bare[:, 0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_user_s_outputs_do_not_depend_on_the_others_of_the_batch(tower: UserTower) -> None:
    prefix, events, liking, valid = _inputs(4)
    valid[0, :3] = False
    both = tower(prefix, events, liking, valid)
    for row in (0, 1):
        alone = tower(prefix[row : row + 1], events[row : row + 1], liking[row : row + 1], valid[row : row + 1])
        torch.testing.assert_close(alone[0], both[row], atol=1e-6, rtol=0)


@torch.no_grad()
def test_order_and_liking_of_events_matter(tower: UserTower) -> None:
    prefix, events, liking, valid = _inputs(4)
    before = tower(prefix, events, liking, valid)[:, -1]
    assert not torch.allclose(tower(prefix, events.flip(1), liking, valid)[:, -1], before, atol=1e-3)
    assert not torch.allclose(tower(prefix, events, (liking + 1) % 3, valid)[:, -1], before, atol=1e-3)


@torch.no_grad()
def test_without_any_event_the_first_output_follows_from_the_prefix_and_is_finite(tower: UserTower) -> None:
    prefix, events, liking, valid = _inputs(3)
    outputs = tower(prefix, events, liking, torch.zeros_like(valid))
    assert torch.isfinite(outputs).all()
    torch.testing.assert_close(outputs[:, 0], tower(prefix, events[:, :1], liking[:, :1], valid[:, :1])[:, 0])


@torch.no_grad()
def test_the_prefix_is_text_plus_the_mean_of_the_slots_plus_numbers(tower: UserTower) -> None:
    text, numbers = torch.ones(1, 4), torch.tensor([[2.0]])
    found = tower.prefix(text, torch.tensor([[1, 3, 0]]), numbers)[0]
    slots = (tower.attributes.weight[1] + tower.attributes.weight[3]) / 2  # 0 pads
    expected = tower.text.weight.sum(1) + slots + 2 * tower.numbers.weight[:, 0] + tower.numbers.bias
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_drop_out_works_in_training_only(tower: UserTower) -> None:
    arguments = _inputs(3)
    assert torch.equal(tower(*arguments), tower(*arguments))
    tower.train()
    assert not torch.equal(tower(*arguments), tower(*arguments))
    tower.eval()
