"""What a log comes to, and its export."""

import pyarrow as pa
import pyarrow.parquet as pq

from motet.itemlog.entry import ItemEntry
from motet.itemlog.export import export_items
from motet.itemlog.fold import Fold, let_log_win
from motet.itemlog.rows import SOURCE
from tests.motet.itemlog.makers import MOMENT, columns, item_log, removed


def _entry(number: int, item: str, title: str) -> ItemEntry:
    return ItemEntry(f"e{number}", item, MOMENT + number, {"title": title})


def test_the_latest_entry_of_an_item_counts() -> None:
    entries = [_entry(1, "a", "x"), _entry(2, "b", "y"), removed("a"), _entry(3, "b", "z"), removed("c"),
               _entry(4, "c", "back")]  # fmt: skip
    fold = Fold.of(entries)
    assert [(one.item, one.columns) for one in fold.adds] == [("b", {"title": "z"}), ("c", {"title": "back"})]
    assert fold.gone == ["a"]


def test_the_key_is_that_of_the_content() -> None:
    one = Fold.of([_entry(1, "a", "x"), _entry(2, "b", "y")])
    assert one.key == Fold.of([_entry(9, "b", "y"), _entry(3, "a", "old"), _entry(8, "a", "x")]).key
    assert one.key != Fold.of([_entry(1, "a", "x")]).key != Fold().key


def test_the_log_wins_over_files_by_hand() -> None:
    """Files have a (twice), b, c; the log has b and d, and removed a: b of the log, c and d stay."""
    good = pa.table({"id": ["a", "b", "a", "c", "b", "d"], "_file": ["f", "f", "f", "f", SOURCE, SOURCE]})
    stays, gone, added = let_log_win(good, ["a", "nothing"])
    assert stays.to_pylist() == [
        {"id": "c", "_file": "f"}, {"id": "b", "_file": SOURCE}, {"id": "d", "_file": SOURCE}
    ]  # fmt: skip
    assert (gone, added) == (2, 1)


def test_without_a_log_all_rows_stay() -> None:
    good = pa.table({"id": ["a", "b"], "_file": ["f", "f"]})
    stays, gone, added = let_log_win(good, [])
    assert (stays.num_rows, gone, added) == (2, 0, 0)


def test_an_export_is_a_file_of_items(tiny, tmp_path) -> None:
    log = item_log(tmp_path)
    values = [columns(1), columns(4)]
    log.append([ItemEntry(f"e{n}", f"n{n}", MOMENT, one) for n, one in enumerate(values)])
    log.append([removed("i03"), removed("n1")])
    assert export_items(log, tmp_path / "items.parquet", tiny.recipe) == (1, 2)
    expected = {"item_id": "n0", "title": values[0]["title"], "colour": values[0]["colour"], "year": "1961"}
    assert pq.read_table(tmp_path / "items.parquet").to_pylist() == [expected]
