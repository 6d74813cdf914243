"""Past moments by hand: by time, and by each user's last events."""

import pyarrow as pa
import pytest

from motet.data.moments import (
    BEFORE_VALIDATION,
    LATER,
    NOW,
    Before,
    Moment,
    WithoutLatest,
    first_training,
    past_moments,
)
from motet.data.split import TEST, TRAIN, VALIDATION
from motet.data_settings import Split

PERCENTILES = list(range(0, 10_100, 100))


def _histories(*users: tuple[list[int], list[int]]) -> pa.Table:
    moments, parts = zip(*users, strict=True)
    return pa.table({
        "user": [f"u{place}" for place in range(len(users))], "timestamps": pa.array(moments, pa.list_(pa.int64())),
        "parts": pa.array(parts, pa.list_(pa.int8())),
    })  # fmt: skip


def test_by_time_each_is_half_a_test_share_before_the_next_and_ends_a_share_after_it() -> None:
    split = Split(kind="time", validation=0.1, test=0.1)
    moments = past_moments(split, PERCENTILES, 3)
    assert [(one.at_ms, one.until_ms) for one in moments] == [(7000, 8000), (6500, 7500), (6000, 7000)]
    # Nothing reaches into validation, which begins at 8000.
    assert max(one.until_ms for one in moments) <= 8000


def test_there_are_no_more_than_the_log_has_room_for() -> None:
    assert len(past_moments(Split(kind="time", validation=0.3, test=0.2), PERCENTILES, 50)) == 3
    assert past_moments(Split(kind="time"), [5] * 101, 4) == []
    assert past_moments(Split(kind="time"), PERCENTILES, 0) == []


def test_only_the_used_share_of_the_log_has_moments() -> None:
    moments = past_moments(Split(kind="time", validation=0.1, test=0.1, until=0.5), PERCENTILES, 1)
    assert [(one.at_ms, one.until_ms) for one in moments] == [(2000, 3000)]


@pytest.mark.parametrize("kind", ["leave_one_out", "random"])
def test_for_other_splits_they_are_last_events(kind: str) -> None:
    assert past_moments(Split(kind=kind), PERCENTILES, 2) == [Moment(back=1), Moment(back=2)]


def test_parts_by_time() -> None:
    histories = _histories(([10, 20, 21, 30, 31], [TRAIN, TRAIN, TRAIN, VALIDATION, TEST]), ([], []))
    shifted = Moment(20, 30).parts(histories)
    assert shifted.column("parts").to_pylist() == [[TRAIN, TRAIN, NOW, NOW, LATER], []]
    assert shifted.column("user").equals(histories.column("user"))
    assert shifted.column("parts").type == histories.column("parts").type


@pytest.mark.parametrize(
    ("back", "parts"),
    [
        (1, [[TRAIN, TRAIN, NOW, LATER, LATER], [TRAIN], [TRAIN, LATER, NOW]]),
        (2, [[TRAIN, NOW, LATER, LATER, LATER], [TRAIN], [TRAIN, LATER, TRAIN]]),
    ],
)
def test_parts_by_place_among_the_training_events(back: int, parts: list[list[int]]) -> None:
    """Validation and test are always later; who has too few events stays as before."""
    histories = _histories(
        ([1, 2, 3, 4, 5], [TRAIN, TRAIN, TRAIN, VALIDATION, TEST]), ([1], [TRAIN]), ([1, 2, 3], [TRAIN, TEST, TRAIN])
    )
    assert Moment(back=back).parts(histories).column("parts").to_pylist() == parts


def test_before_a_part_all_that_came_earlier_is_trained_on() -> None:
    histories = _histories(([1, 2, 3], [TRAIN, VALIDATION, TEST]))
    assert Before(TEST).parts(histories).column("parts").to_pylist() == [[TRAIN, TRAIN, TEST]]
    assert BEFORE_VALIDATION.parts(histories).equals(histories)


def test_the_first_network_leaves_out_what_came_at_the_moments_it_is_asked_about() -> None:
    split = Split(kind="time", validation=0.1, test=0.1)
    moments = past_moments(split, PERCENTILES, 5)
    for held_back in (1, 3):
        trained = first_training(split, PERCENTILES, held_back)
        assert all(trained.at_ms <= moment.at_ms for moment in moments[:held_back])
    assert first_training(split, PERCENTILES, 0) == BEFORE_VALIDATION
    assert first_training(Split(kind="leave_one_out"), PERCENTILES, 2) == WithoutLatest(2)
    assert first_training(Split(kind="leave_one_out"), PERCENTILES, 0) == BEFORE_VALIDATION


def test_nobody_is_asked_about_an_event_that_the_first_network_has_seen() -> None:
    """Also those with fewer events than are held back, who have none left to be trained on."""
    lengths = range(1, 7)
    histories = _histories(*(([*range(n), 99], [TRAIN] * n + [VALIDATION]) for n in lengths))
    trained = WithoutLatest(3).parts(histories).column("parts").to_pylist()
    assert [parts.count(TRAIN) for parts in trained] == [0, 0, 0, 1, 2, 3]
    for back in (1, 2, 3):
        for parts, seen in zip(Moment(back=back).parts(histories).column("parts").to_pylist(), trained, strict=True):
            assert all(known != TRAIN for known, part in zip(seen, parts, strict=True) if part == NOW)
