"""The evaluate stage: protocols by name from the command line, and what a release's own choice would be worth."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jobs.asking import asked_at
from jobs.evaluate import command
from jobs.pipeline import run_pipeline
from jobs.stages import Run, claim_workspace
from motet.data.parquet import read_parquet
from motet.data.split import TEST
from motet.evaluation.held_out import held_out
from motet.evaluation.offline import evaluate_users
from motet.recipe_file import load_recipe
from motet.recommend import Recommender
from motet.storage import read_json
from tests.synthetic import ITEMS, USERS, recipe, write_csv, write_recipe, write_shop

pytestmark = pytest.mark.usefixtures("ray_here")
QUICK = {"trees": {"rounds": 10, "rows_per_leaf": 5, "threads": 1}, "moments": 1, "candidates": 30}


def content(folder: Path, encoder: Path) -> dict:
    """The shop's recipe, trained in a moment."""
    changed = recipe(folder, encoder)
    changed["train"] |= {"epochs": 1}
    changed["retrieval"] |= QUICK
    return changed


@pytest.fixture(scope="module")
def shop_file(tmp_path_factory, encoder_folder):
    """A shop by itself whose recipe leaves one out."""
    folder = tmp_path_factory.mktemp("protocols")
    write_shop(folder, encoder_folder)
    return write_recipe(folder / "shop.yaml", content(folder, encoder_folder))


def evaluated(file: Path, *options: str):
    return CliRunner().invoke(command, [str(file), *options])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "words", "rows"),
    [
        ("ratings", "Random: rows are divided by a seeded hash", None),
        ("time", "Time: the latest events are the test", None),
        pytest.param("leave-one-out", "Leave one out: each user's last event", 40, marks=pytest.mark.slow),
    ],
)
def test_a_recipe_is_evaluated_under_a_named_protocol(shop_file, protocol: str, words: str, rows: int | None) -> None:
    shown = evaluated(shop_file, "--protocol", protocol)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(words)
    assert {"motet", "popularity", "like", "rating"} <= {line.split()[1] for line in lines if line.startswith("│")}
    path = Path(lines[-1].removeprefix("report: "))
    assert path.is_file()
    report = read_json(path.with_name("report.json"))
    ndcg = next(line for line in lines if line.startswith("│ motet")).split("│")[2]
    assert float(ndcg) == pytest.approx(report["ranking"]["systems"]["motet"]["ndcg"]["mean"], abs=1e-4)
    assert report["protocol"].startswith(words)
    prepared = read_parquet(path.parents[2] / "prepared" / _prepared(path))
    parts = [part for row in prepared.column("parts").to_pylist() for part in row]
    assert report["tasks"]["like"]["rows"] == (rows or parts.count(TEST))
    found = report["slices"]
    of_items = [found[name]["events"] for name in ("cold items", "head items", "tail items") if name in found]
    assert sum(of_items) == report["tasks"]["like"]["rows"]
    assert not (shop_file.parent / "workspace" / "releases").exists()
    again = evaluated(shop_file, "--protocol", protocol)
    assert again.stdout == shown.stdout
    assert "evaluate: up to date" in again.stderr


def _prepared(report: Path) -> str:
    """The folder of histories that a report is about: that of the same split."""
    words = read_json(report.with_name("report.json"))["protocol"].split(":")[0].lower().replace(" ", "_")
    folders = (report.parents[2] / "prepared").iterdir()
    kinds = {one.name: read_json(one / "manifest.json")["inputs"]["data"]["split"]["kind"] for one in folders}
    return f"{next(name for name, kind in kinds.items() if kind == words)}/histories"


def test_another_protocol_is_refused_with_the_list(shop_file) -> None:
    refused = evaluated(shop_file, "--protocol", "random")
    assert refused.exit_code == 2
    said = "RecipeError: --protocol random is not a protocol; protocols: time, leave-one-out, ratings"
    assert refused.stderr.splitlines() == [said]


OWN, OTHER = 0.25 / 15, 0.75 / 15
"""The chance with which the planted policy shows an item of the user's own parity, and one of the other."""
LIKED = {True: 0.8, False: 0.2}


def planted(seed: int = 2) -> list[dict]:
    """A log of 120 events a user: mostly what they don't like is shown, by chances that the log holds."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        chance_I = np.where(np.arange(ITEMS) % 2 == user % 2, OWN, OTHER)
        for step, item in enumerate(random.choice(ITEMS, 120, p=chance_I)):
            liked = random.random() < LIKED[item % 2 == user % 2]
            moment = 1_600_000_000 + 3_600 * (USERS * step + user)
            shown = "" if step % 10 == 0 else f"{chance_I[item]:.9f}"
            rows.append({"user_id": f"u{user}", "item_id": f"i{item}", "rating": 5 if liked else 1,
                         "timestamp": moment, "shown": shown})  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def logged(tmp_path_factory, encoder_folder):
    """(results of the stages, folder) of a shop with the planted log; three rows have an impossible propensity."""
    folder = tmp_path_factory.mktemp("logged")
    write_shop(folder, encoder_folder)
    rows = planted()
    for place, wrong in ((5, "0"), (6, "1.5"), (7, "-0.2")):
        rows[place]["shown"] = wrong
    write_csv(folder / "events.csv", rows)
    changed = content(folder, encoder_folder)
    changed["data"]["interactions"] |= {"repeats": "keep", "propensity": "shown"}
    changed["data"]["split"] = {"kind": "time", "validation": 0.1, "test": 0.3}
    changed["train"] |= {"epochs": 12, "select_by": "like.auc"}
    changed["surfaces"] = {"home": {"weights": {"like": 1.0}}}
    run = Run(load_recipe(write_recipe(folder / "shop.yaml", changed)))
    claim_workspace(run)
    return run_pipeline(run, "evaluate"), folder


def test_rows_without_a_possible_propensity_are_in_quarantine(logged) -> None:
    results, _ = logged
    reasons = read_json(results["prepare"].folder / "ledger.json")["interactions"]["reasons"]
    assert reasons == {"shown is not above 0": 2, "shown is above 1": 1}


def test_the_estimates_cover_what_the_lists_are_worth(logged) -> None:
    """The truth is the chance of a like over the release's own lists, one for each test event with a propensity."""
    results, _ = logged
    report = read_json(results["evaluate"].folder / "report.json")["off_policy"]
    found = report["tasks"]["like"]
    histories = read_parquet(results["prepare"].folder / "histories")
    users = held_out(histories, TEST, "label:like", asked_ms=asked_at(results["prepare"].folder, TEST))
    recommender = Recommender(results["index"].folder, threads=1)
    rows = evaluate_users(recommender, users)
    ids = recommender.embedder.items.ids
    worth, known = [], []
    for user, row in zip(users, rows, strict=True):
        own = [int(ids[place][1:]) % 2 == int(user.user[1:]) % 2 for place in row["lists"]["motet"]]
        worth.append(np.mean([LIKED[one] for one in own]))
        known.append(int((~np.isnan(user.propensities_N)).sum()))
    truth = np.average(worth, weights=known)
    assert found["rows"] == sum(known)
    assert 0.25 < sum(known) / (120 * USERS) < 0.3  # of the last three tenths, nine in ten have a propensity
    for name in ("ips", "snips", "clipped_ips", "dr"):
        assert found[name]["low"] <= truth <= found[name]["high"], (name, found, truth)
        assert found[name]["high"] - found[name]["low"] < 0.4
    assert found["mean_weight"] == pytest.approx(1.0, abs=0.25)
    assert 60 < found["effective_sample_size"] < found["rows"]
    assert truth > 0.55 > found["logged"]["high"]
    assert "Off-policy" in (results["evaluate"].folder / "report.html").read_text()


def test_the_report_has_experts_and_calibrators(logged) -> None:
    results, _ = logged
    report = read_json(results["evaluate"].folder / "report.json")
    assert {name: pytest.approx(1.0) for name in ("like", "rating")} == {
        name: sum(weights) for name, weights in report["experts"].items()
    }
    stored = read_json(results["index"].folder / "calibrators.json")
    assert {name: report["tasks"][name]["calibrator"] for name in stored} == {
        name: one["kind"] for name, one in stored.items()
    }
    table = read_parquet(results["evaluate"].folder / "rows.parquet")
    assert table.column("ndcg").drop_null().to_numpy().mean() == pytest.approx(
        report["ranking"]["systems"]["motet"]["ndcg"]["mean"]
    )
