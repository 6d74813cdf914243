"""The row ledger: nothing is lost without being noticed."""

import json
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.ledger import Ledger, quarantine_rows, take_counts
from motet.data.reading import COUNT
from motet.errors import DataError


def test_a_balanced_ledger_passes() -> None:
    Ledger(read=10, kept=6, quarantined=3, merged=1).check("items")


@pytest.mark.parametrize("change", ["read", "kept", "quarantined", "merged"])
@pytest.mark.parametrize("by", [1, -1])
def test_one_row_too_many_or_too_few_is_noticed(change: str, by: int) -> None:
    ledger = Ledger(10, 6, 3, 1)
    setattr(ledger, change, getattr(ledger, change) + by)
    with pytest.raises(DataError, match=r"the row ledger of items is out of balance: read \d+ rows but kept \d+ \+"):
        ledger.check("items")


def test_the_message_shows_the_sum() -> None:
    with pytest.raises(DataError) as error:
        Ledger(10, 6, 3, 2).check("x")
    assert "read 10 rows but kept 6 + quarantined 3 + merged 2 = 11; rows were lost or doubled" in str(error.value)


def test_rows_of_removed_items_count_and_are_said() -> None:
    Ledger(10, 6, 2, 1, removed=1).check("items")
    with pytest.raises(DataError, match=r"kept 6 \+ removed 2 \+ quarantined 3 \+ merged 1 = 12; rows"):
        Ledger(10, 6, 3, 1, removed=2, added=4).check("items")


_COUNTS = st.integers(0, 100)
_LEDGER = st.builds(
    lambda kept, bad, merged, removed, added: Ledger(
        kept + bad + merged + removed, kept, bad, merged, Counter({"null": bad} if bad else {}), removed, added
    ),
    _COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS,
)  # fmt: skip


@given(st.lists(_LEDGER, max_size=5))
def test_the_sum_of_balanced_ledgers_balances(parts: list[Ledger]) -> None:
    total = Ledger()
    for part in parts:
        total.add(Ledger.from_dict(json.loads(json.dumps(part.to_dict()))))
    total.check("all")
    assert total.read == sum(part.read for part in parts)
    assert total.reasons.total() == total.quarantined


def test_reasons_are_in_one_order() -> None:
    assert list(Ledger(reasons=Counter({"b": 1, "a": 2})).to_dict()["reasons"]) == ["a", "b"]


def test_counts_are_taken_out() -> None:
    table = pa.table({"_row": [0, 1, 2, 5], "_problem": [None, "bad", COUNT, COUNT]})
    rows, counted = take_counts(table)
    assert (rows.column("_row").to_pylist(), counted) == ([0, 1], 7)
    assert take_counts(table.slice(0, 1))[1] == 0


def test_quarantine_tells_file_row_reason_and_raw() -> None:
    bad = pa.table(
        {
            "user": ["u", "v"], "item": ["i", "é"], "_file": ["f", "f"], "_row": [3, 4],
            "_problem": ["user is null", "item is not in the catalogue"],
            "_raw": pa.array(['{"user_id": ""}', None], pa.string()),
        }
    )  # fmt: skip
    first, second = quarantine_rows(bad).to_pylist()
    assert first == {"file": "f", "row": 3, "reason": "user is null", "raw": '{"user_id": ""}'}
    assert json.loads(second["raw"]) == {"user": "v", "item": "é"}
