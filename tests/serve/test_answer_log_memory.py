"""The log of answers forgets releases that are no longer served."""

from types import SimpleNamespace

import pyarrow as pa

from serve.answer_log import _MOST_RELEASES, AnswerLog
from serve.meters import Meters


def test_the_ids_of_the_latest_releases_are_known_and_no_others():
    log = AnswerLog({"store": "none"}, Meters())
    tables = [SimpleNamespace(ids=[f"i{number}"]) for number in range(3 * _MOST_RELEASES)]
    for number, items in enumerate(tables):
        log._remember("kept", tables[0])
        log._remember(f"r{number}", items)
        assert log._ids(f"r{number}") == pa.array([f"i{number}"])
    assert log._ids("kept") == pa.array(["i0"])
    tables[0].ids.append("new")
    assert log._ids("kept") == pa.array(["i0", "new"])
    assert len(log._items) == _MOST_RELEASES
    assert set(log._known) <= set(log._items)
