"""The logs of the prepare benchmark: as many dirty rows as it says, popular items, sessions of one user."""

import numpy as np
import pyarrow.parquet as pq

from bench.prepare import ITEMS, write_log


def test_the_number_of_bad_rows_is_known(tmp_path) -> None:
    bad = write_log(tmp_path, 20_000)
    rows = pq.read_table(tmp_path / "events").to_pylist()
    known = {f"i{place}" for place in range(ITEMS)}
    wrong = [
        row["item_id"] not in known or not 1 <= row["rating"] <= 5 or row["timestamp"] < 0 for row in rows
    ]  # fmt: skip
    assert len(rows) == 20_000
    assert sum(wrong) == bad
    assert 150 < bad < 250  # 1 % of the rows
    assert {row["item_id"] for row in rows} - known == {None, "nobody knows"}


def test_few_items_are_popular_and_sessions_are_of_one_user(tmp_path) -> None:
    write_log(tmp_path, 20_000)
    table = pq.read_table(tmp_path / "events")
    counts = np.sort(np.unique(table.column("item_id").drop_null().to_numpy(), return_counts=True)[1])[::-1]
    assert counts[:100].sum() > 0.4 * counts.sum()
    users = table.column("user_id").to_numpy()
    changes = (users[1:] != users[:-1]).mean()
    assert 0.15 < changes < 0.25
    first, second = write_log(tmp_path / "a", 5_000), write_log(tmp_path / "b", 5_000)
    assert first == second
    assert pq.read_table(tmp_path / "a" / "events").equals(pq.read_table(tmp_path / "b" / "events"))
