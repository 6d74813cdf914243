"""The log of answers forgets releases that are no longer served, and knows items that came since."""

from types import SimpleNamespace

import pyarrow as pa

from motet.privacy.watch import Watch
from serve.answer_log import _MOST_RELEASES, AnswerLog
from serve.meters import Meters


class ShelfWithLog:
    """A shelf of names, and items that its log has by the next look."""

    def __init__(self, *ids: str) -> None:
        self.items, self.log = SimpleNamespace(ids=list(ids)), []

    def catch_up(self) -> None:
        self.items.ids += self.log
        self.log = []


def test_the_ids_of_the_latest_releases_are_known_and_no_others():
    log = AnswerLog({"store": "none"}, Meters(), Watch(None))
    shelves = [ShelfWithLog(f"i{number}") for number in range(3 * _MOST_RELEASES)]
    for number, shelf in enumerate(shelves):
        log._remember("kept", shelves[0])
        log._remember(f"r{number}", shelf)
        assert log._ids(f"r{number}") == pa.array([f"i{number}"])
    assert log._ids("kept") == pa.array(["i0"])
    shelves[0].log.append("new")
    assert log._ids("kept") == pa.array(["i0", "new"])
    assert len(log._shelves) == _MOST_RELEASES
    assert set(log._known) <= set(log._shelves)
