"""Golden requests: recorded once, replayed in a child process, a changed answer is refused."""

from pathlib import Path
from typing import Any

import pytest

from motet.errors import ReleaseError
from motet.release.golden import replay
from motet.release.publish import Releases, replay_in_child
from motet.storage import read_json, write_json


@pytest.fixture
def release(workspace: Path) -> Path:
    return Releases(workspace).current()


def _change(release: Path, change: Any, number: int = 0) -> None:
    golden = read_json(release / "golden.json")
    change(golden[number]["answer"])
    write_json(release / "golden.json", golden)


def test_requests_are_known_users_bare_histories_and_every_surface(release: Path) -> None:
    queries = [one["query"] for one in read_json(release / "golden.json")]
    # 12 users, 3 wanted: every fourth; the histories of the first two; home, ratings, reds for nobody in particular.
    assert [query["user"] for query in queries] == ["u00", "u04", "u08", *[None] * 5]
    assert [len(query["history"] or []) for query in queries] == [0, 0, 0, 5, 5, 0, 0, 0]
    assert [query["surface"] for query in queries][5:] == ["home", "ratings", "reds"]
    assert replay(release) == 8


def test_a_child_process_replays_them(release: Path) -> None:
    replay_in_child(release)


def test_a_child_process_refuses_changed_weights(release: Path) -> None:
    trees = read_json(release / "trees.json")
    write_json(release / "trees.json", trees | {"factor": -5.0})
    with pytest.raises(ReleaseError, match=r"golden requests failed after \d+ s: ReleaseError: golden request 0 of"):
        replay_in_child(release)


def test_an_item_that_is_no_longer_recommended_is_refused(release: Path) -> None:
    _change(release, lambda answer: answer[0].update(item="i99"))
    with pytest.raises(ReleaseError, match=r"golden request 0 of tiny-.* is answered otherwise"):
        replay(release)


def test_two_items_of_different_value_that_changed_places_are_refused(release: Path) -> None:
    def swap(answer: list[dict[str, Any]]) -> None:
        assert answer[0]["value"] > answer[1]["value"] * 1.01
        answer[0]["item"], answer[1]["item"] = answer[1]["item"], answer[0]["item"]

    _change(release, swap)
    with pytest.raises(ReleaseError, match="golden request 0"):
        replay(release)


def test_a_value_may_differ_by_a_thousandth_and_no_more(release: Path) -> None:
    _change(release, lambda answer: answer[0].update(value=answer[0]["value"] * 1.0005), 6)
    assert replay(release) == 8
    _change(release, lambda answer: answer[0].update(value=answer[0]["value"] * 1.002), 6)
    with pytest.raises(ReleaseError, match="golden request 6"):
        replay(release)


def test_a_shorter_answer_is_refused(release: Path) -> None:
    _change(release, lambda answer: answer.pop(), 7)
    with pytest.raises(ReleaseError, match="golden request 7"):
        replay(release)


def test_a_child_that_cannot_even_load_is_refused(release: Path) -> None:
    (release / "golden.json").write_text("[")
    with pytest.raises(ReleaseError, match=r"DataError: .*golden\.json is not JSON"):
        replay_in_child(release)
