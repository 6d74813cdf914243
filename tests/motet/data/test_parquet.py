"""Parquet files are whole, checked and named when damaged."""

from pathlib import Path

import pyarrow as pa
import pytest

from motet.data.parquet import read_parquet, write_parquet
from motet.errors import DataError


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, value in (("b", 2), ("a", 1), ("c", 3)):
        write_parquet(tmp_path / "sub" / f"{name}.parquet", pa.table({"x": [value], "y": ["z"]}))
    (tmp_path / "sub" / "notes.txt").write_text("not read")
    assert read_parquet(tmp_path / "sub").to_pydict() == {"x": [1, 2, 3], "y": ["z"] * 3}
    assert read_parquet(tmp_path / "sub" / "b.parquet", ["x"]).to_pydict() == {"x": [2]}


def test_what_is_not_there_says_what_to_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "a.parquet"):
        with pytest.raises(DataError, match=r"holds no parquet file; run the stage that writes it"):
            read_parquet(path)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, pa.table({"x": list(range(5000))}))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.parquet is damaged \(.*\); run its stage again"):
        read_parquet(path)


def test_a_table_that_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, pa.table({"x": [1]}))
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])
    with pytest.raises(pa.ArrowNotImplementedError):
        write_parquet(path, pa.table({"x": union}))
    assert read_parquet(path).to_pydict() == {"x": [1]}
    assert [one.name for one in tmp_path.iterdir()] == ["a.parquet"]
