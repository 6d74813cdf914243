"""Faults of what the pipeline reads: cut files, flipped bits, other columns, dirt."""

import random

import pyarrow as pa
import pytest
import yaml

from motet.data.parquet import read_parquet, write_parquet
from motet.errors import MotetError
from motet.inputs import check_inputs
from motet.recipe_file import load_recipe
from motet.storage import read_json
from tests.chaos.rig import record
from tests.chaos.runs import finish, own_environment, start
from tests.synthetic import events, write_csv, write_recipe, write_shop

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture
def apart():
    with own_environment() as environment:
        yield environment


def test_f02_a_row_that_nobody_can_read(tmp_path, encoder_folder, apart):
    """One among thousands: bytes that are no text, a quote that never ends, too many columns. Its neighbours stay."""
    rows, broken = events(), [b'u1,"i1,4,16', b"\xff\xfe,i1,3,1600000000", b"u1,i1,3,1600000000,and,more"]
    file = write_shop(tmp_path, encoder_folder)
    header, *lines = (tmp_path / "events.csv").read_bytes().splitlines()
    for place, line in enumerate(broken):
        lines.insert(137 + 100 * place, line)
    (tmp_path / "events.csv").write_bytes(b"\n".join([header, *lines]) + b"\n")
    finish(start(file, apart, "--until", "prepare"))
    (folder,) = (tmp_path / "workspace" / "prepared").iterdir()
    ledger = read_json(folder / "ledger.json")["interactions"]
    held = read_parquet(folder / "quarantine").num_rows
    figures = {"read": ledger["read"], "kept or merged": ledger["kept"] + ledger["merged"], "quarantined": held}
    record("F02", "a row that nobody can read", "no text, an endless quote, too many columns", figures)
    assert figures == {"read": len(rows) + 3, "kept or merged": len(rows), "quarantined": 3}


def test_f04_a_file_of_the_input_is_cut(tmp_path, encoder_folder):
    file = write_shop(tmp_path, encoder_folder)
    write_parquet(tmp_path / "events.parquet", pa.Table.from_pylist(events()))
    content = yaml.safe_load(file.read_text())
    content["data"]["interactions"]["path"] = str(tmp_path / "events.parquet")
    write_recipe(file, content)
    whole, chance, named = (tmp_path / "events.parquet").read_bytes(), random.Random(0), 0
    for _ in range(50):
        (tmp_path / "events.parquet").write_bytes(whole[: chance.randrange(len(whole))])
        with pytest.raises(MotetError) as said:
            check_inputs(load_recipe(file))
        named += "events.parquet" in str(said.value)
    record(
        "F04", "an input file is cut", "at 50 random places", {"refused by name before anything runs": f"{named} of 50"}
    )
    assert named == 50


def test_f05_bits_of_a_stages_files_are_flipped(tmp_path):
    table = pa.table({"user": [f"u{n}" for n in range(5000)], "items": [[n, n + 1] for n in range(5000)]})
    path, chance = tmp_path / "part.parquet", random.Random(0)
    write_parquet(path, table)
    whole, silent, caught = path.read_bytes(), 0, 0
    for _ in range(200):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(broken))
        try:
            silent += not read_parquet(path).equals(table)
        except Exception:  # any refusal is one
            caught += 1
    record(
        "F05", "a bit of a stage's file is flipped", "200 times", {"refused": caught, "other rows unnoticed": silent}
    )
    assert silent == 0


def test_f06_the_columns_are_not_what_they_were(tmp_path, encoder_folder):
    rows = events()
    drifts = {
        "a column is gone": [{k: v for k, v in row.items() if k != "rating"} for row in rows],
        "a column has another name": [{("stars" if k == "rating" else k): v for k, v in row.items()} for row in rows],
        "the time has another name": [{("ts" if k == "timestamp" else k): v for k, v in row.items()} for row in rows],
    }
    named = 0
    for place, drifted in enumerate(drifts.values()):
        file = write_shop(tmp_path / str(place), encoder_folder)
        write_csv(tmp_path / str(place) / "events.csv", drifted)
        with pytest.raises(MotetError) as said:
            check_inputs(load_recipe(file))
        named += "events.csv has no column" in str(said.value)
    record(
        "F06",
        "columns are gone or renamed",
        ", ".join(drifts),
        {"refused by file and column": f"{named} of {len(drifts)}"},
    )
    assert named == len(drifts)


def test_f07_rows_of_every_kind_of_dirt(tmp_path, encoder_folder, apart):
    chance, dirt = (
        random.Random(0),
        ["", "NaN", "inf", "1e400", "-1", "x" * 100_000, "\u202e\u200b", "é\u0301", "0x1", "None", "2e9"],
    )
    good, bad = events(), []
    for row in chance.sample(good, 300):
        bad.append({**row, chance.choice(list(row)): chance.choice(dirt)})
    file = write_shop(tmp_path, encoder_folder)
    write_csv(tmp_path / "events.csv", good + bad)
    finish(start(file, apart, "--until", "prepare"))
    (folder,) = (tmp_path / "workspace" / "prepared").iterdir()
    ledger = read_json(folder / "ledger.json")["interactions"]
    gap = ledger["read"] - ledger["kept"] - ledger["quarantined"] - ledger["merged"]
    held = read_parquet(folder / "quarantine").num_rows
    figures = {name: ledger[name] for name in ("read", "kept", "quarantined", "merged")}
    record(
        "F07",
        "300 rows with dirt in them",
        "missing, huge, infinite, invisible, composed",
        figures | {"unaccounted for": gap},
    )
    assert ledger["read"] == len(good) + len(bad)
    assert gap == 0
    assert held == ledger["quarantined"] > 0
