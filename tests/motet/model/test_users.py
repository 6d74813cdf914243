"""The contract of the user tower over all sequence models: causal, blind to padding, and step by step the same."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motet.kinds import LabelScale
from motet.model.sequence import SEQUENCES
from motet.model.time import BUCKETS, time_buckets
from motet.model.users import Events, UserTower
from motet.settings import ModelSettings

DIM, HISTORY = 8, 6
SCALES = (LabelScale(0.5, 0.5, 0, 1), LabelScale(3.0, 2.0, 1, 5))
KINDS = sorted(SEQUENCES)


def _tower(kind: str, **changes: object) -> UserTower:
    torch.manual_seed(1)
    settings = ModelSettings(dim=DIM, history=HISTORY, layers=2, heads=2, dropout=0.5, sequence=kind, **changes)
    tower = UserTower(4, 5, 1, SCALES, settings).eval()
    with torch.no_grad():
        for parameter in tower.parameters():  # what starts at zero must count too
            parameter.add_(0.1 * torch.randn_like(parameter))
    return tower


TOWERS = {kind: _tower(kind) for kind in KINDS}


def _inputs(length: int, seed: int = 0) -> tuple[torch.Tensor, Events]:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (2, length, 2), generator=random).float()
    labels[:, ::3] = torch.nan
    gaps = 10 ** (8 * torch.rand(2, length, generator=random))
    gaps[:, :1] = torch.nan
    events = Events(
        torch.randn(2, length, DIM, generator=random), labels, gaps, torch.ones(2, length, dtype=torch.bool)
    )
    return torch.randn(2, DIM, generator=random), events


def _cut(events: Events, rows: slice, columns: slice) -> Events:
    parts = (events.items_BSD, events.labels_BST, events.gaps_BS, events.valid_BS)
    return Events(*(part[rows, columns] for part in parts))


@pytest.mark.parametrize("kind", KINDS)
@given(changed=st.integers(0, HISTORY - 1), what=st.sampled_from(["items", "labels", "gaps"]))
@torch.no_grad()
def test_what_an_event_is_and_how_it_went_changes_no_output_before_it(kind: str, changed: int, what: str) -> None:
    """Output s predicts event s: planting its item, labels or time in the history changes nothing there."""
    prefix, events = _inputs(HISTORY)
    before = TOWERS[kind](prefix, events)
    items, labels, gaps = events.items_BSD.clone(), events.labels_BST.clone(), events.gaps_BS.clone()
    if what == "items":
        items[:, changed] += torch.randn(DIM, generator=torch.Generator().manual_seed(99))
    elif what == "labels":
        labels[:, changed] = torch.where(labels[:, changed] == 1, 0.0, 1.0)
    else:
        gaps[:, changed] = 3.0
    after = TOWERS[kind](prefix, replace(events, items_BSD=items, labels_BST=labels, gaps_BS=gaps))
    torch.testing.assert_close(after[:, : changed + 1], before[:, : changed + 1], atol=1e-6, rtol=0)
    assert (after[:, changed + 1] - before[:, changed + 1]).abs().amax() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 3, 5])
@torch.no_grad()
def test_padding_on_the_left_changes_no_output_and_its_content_does_not_matter(kind: str, length: int) -> None:
    prefix, events = _inputs(length)
    bare = TOWERS[kind](prefix, events)
    room = HISTORY - length
    for content in (0.0, 99.0):
        padding = Events(
            torch.full((2, room, DIM), content), torch.full((2, room, 2), content), torch.full((2, room), content),
            torch.zeros(2, room, dtype=torch.bool),
        )  # fmt: skip
        names = ("items_BSD", "labels_BST", "gaps_BS", "valid_BS")
        joined = Events(*(torch.cat([getattr(padding, name), getattr(events, name)], 1) for name in names))
        padded = TOWERS[kind](prefix, joined)
        torch.testing.assert_close(padded[:, -length:], bare[:, -length:], atol=1e-5, rtol=0)
        torch.testing.assert_close(padded[:, 0], bare[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [0, 1, 3, HISTORY])
@torch.no_grad()
def test_event_by_event_gives_what_the_full_pass_gives_also_when_the_window_is_full(kind: str, start: int) -> None:
    tower = TOWERS[kind]
    prefix, events = _inputs(HISTORY + 3)
    every = slice(None)
    memory, user = tower.begin(prefix, _cut(events, every, slice(0, start)))
    for place in range(start, HISTORY + 3):
        full = tower(prefix, _cut(events, every, slice(max(0, place - HISTORY), place)))
        torch.testing.assert_close(user, full[:, -1], atol=1e-5, rtol=1e-5)
        event = replace(_cut(events, every, slice(place, place + 1)), away_BP=torch.full((2, 1), 500.0))
        memory, user = tower.extend(memory, event)
        window = _cut(events, every, slice(max(0, place + 1 - HISTORY), place + 1))
        away = torch.full((2, window.items_BSD.shape[1] + 1), 500.0)
        asked = tower(prefix, replace(window, away_BP=away))[:, -1]
        torch.testing.assert_close(user, asked, atol=1e-5, rtol=1e-5)
        memory, user = replace(memory), user - tower.away(time_buckets(away[:, 0])) + tower.away.weight[0]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_user_s_outputs_do_not_depend_on_the_others_of_the_batch(kind: str) -> None:
    prefix, events = _inputs(4)
    events.valid_BS[0, :3] = False
    both = TOWERS[kind](prefix, events)
    for row in (0, 1):
        alone = TOWERS[kind](prefix[row : row + 1], _cut(events, slice(row, row + 1), slice(None)))
        torch.testing.assert_close(alone[0], both[row], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_order_labels_and_the_time_of_asking_matter(kind: str) -> None:
    tower = TOWERS[kind]
    prefix, events = _inputs(4)
    before = tower(prefix, events)[:, -1]
    for other in (
        replace(events, items_BSD=events.items_BSD.flip(1)),
        replace(events, labels_BST=torch.full_like(events.labels_BST, torch.nan)),
        replace(events, away_BP=torch.full((2, 5), 60.0)),
    ):
        assert not torch.allclose(tower(prefix, other)[:, -1], before, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str) -> None:
    tower = _tower(kind)
    prefix, events = _inputs(HISTORY)
    tower.zero_grad()
    start = tower.prefix(torch.ones(2, 4), torch.tensor([[1, 3], [2, 4]]), prefix[:, :1])
    (tower(start, replace(events, away_BP=torch.full((2, HISTORY + 1), 9.0))) ** 3).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_without_the_time_signal_a_transformer_reads_no_time() -> None:
    tower = _tower("transformer", time_signal=False)
    prefix, events = _inputs(4)
    later = replace(events, gaps_BS=events.gaps_BS + 1e6, away_BP=torch.full((2, 5), 60.0))
    assert torch.equal(tower(prefix, later), tower(prefix, events))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_without_any_event_the_first_output_follows_from_the_prefix_and_is_finite(kind: str) -> None:
    prefix, events = _inputs(3)
    none = replace(events, valid_BS=torch.zeros(2, 3, dtype=torch.bool))
    outputs = TOWERS[kind](prefix, none)
    assert torch.isfinite(outputs).all()
    torch.testing.assert_close(outputs[:, 0], TOWERS[kind](prefix, _cut(events, slice(None), slice(0, 1)))[:, 0])
    torch.testing.assert_close(TOWERS[kind].begin(prefix, _cut(events, slice(None), slice(0, 0)))[1], outputs[:, 0])


@torch.no_grad()
def test_the_prefix_is_text_plus_the_mean_of_the_slots_plus_numbers() -> None:
    tower = TOWERS["transformer"]
    found = tower.prefix(torch.ones(1, 4), torch.tensor([[1, 3, 0]]), torch.tensor([[2.0]]))[0]
    slots = (tower.attributes.weight[1] + tower.attributes.weight[3]) / 2  # 0 pads
    expected = tower.text.weight.sum(1) + slots + 2 * tower.numbers.weight[:, 0] + tower.numbers.bias
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_drop_out_works_in_training_only() -> None:
    tower = _tower("transformer")
    arguments = _inputs(3)
    assert torch.equal(tower(*arguments), tower(*arguments))
    tower.train()
    assert not torch.equal(tower(*arguments), tower(*arguments))


def test_buckets_of_time_by_hand() -> None:
    seconds = torch.tensor([torch.nan, -5.0, 0.0, 0.9, 1.0, 2.9, 3.0, 1e30])
    assert time_buckets(seconds).tolist() == [0, 1, 1, 1, 2, 2, 3, BUCKETS - 1]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_label_beyond_those_of_training_says_what_the_largest_of_them_says(kind: str) -> None:
    prefix, events = _inputs(HISTORY)
    largest, beyond = events.labels_BST.clone(), events.labels_BST.clone()
    largest[:, 1, 1], beyond[:, 1, 1] = SCALES[1].high, 1e12
    first, second = (TOWERS[kind](prefix, replace(events, labels_BST=one)) for one in (largest, beyond))
    torch.testing.assert_close(first, second)
