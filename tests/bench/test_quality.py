"""The quality benchmark on a part of its rows: the pipeline and a peer on one split file, one table, one page."""

import functools
from pathlib import Path

import numpy as np
import pytest

from bench import protocols, quality
from bench.runs import CACHE, ours
from motet.data.parquet import read_parquet
from motet.storage import read_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FEW = {"train.epochs": 1, "train.workers": 1, "model.dim": 16}
OF_LISTS = {"train.held_back": 1, "retrieval.moments": 1, "retrieval.fit_users": 50, "retrieval.trees.rounds": 20,
            "retrieval.sources": "[vectors, item_knn, popularity]"}  # fmt: skip
"""What makes a run short; whether it is any good is not the question here."""


@pytest.fixture
def log(monkeypatch) -> protocols.Log:
    path = CACHE / "ml-100k" / "interactions.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there: make fetch")

    def short(recipe: str, workspace: Path, settings: dict) -> dict:
        few = FEW if "ratings" in recipe else FEW | OF_LISTS
        return ours(recipe, workspace, settings | few)

    monkeypatch.setattr(quality, "ours", short)
    whole = protocols.Log.read(path)
    kept_N = np.isin(whole.user_N, np.unique(whole.user_N)[:120])
    return protocols.Log(*(values[kept_N] for values in (whole.user_N, whole.item_N, whole.rating_N, whole.moment_N)))


def test_ours_and_a_peer_are_asked_about_the_same_people_and_stand_in_one_table(tmp_path: Path, log, capsys) -> None:
    rows = quality.ranking("T", tmp_path, log, 1, ["popularity"])
    assert [row["what"] for row in rows] == ["T ndcg", "T hit", "T coverage"]
    assert all(0 < row["ours"] <= 1 for row in rows)
    assert all(row["against"] > 0 and row["ratio"] == row["ours"] / row["against"] for row in rows)
    assert [row["met"] for row in rows] == [row["ours"] >= row["goal"] for row in rows]
    part_N = protocols.by_time(log, 1.0)
    liked_N = (part_N == 2) & (log.rating_N >= 4) & np.isin(log.user_N, log.user_N[part_N < 2])
    report = max((tmp_path / "T" / "workspace" / "reports").glob("*/report.json"))
    assert read_json(report)["ranking"]["users"] == len(set(log.user_N[liked_N]))
    (prepared,) = (tmp_path / "T" / "workspace" / "prepared").iterdir()
    parts_N = read_parquet(prepared / "histories").column("parts").combine_chunks().flatten().to_numpy()
    assert np.bincount(parts_N).tolist() == np.bincount(part_N).tolist()
    shown = capsys.readouterr().out
    assert "T ndcg: " in shown
    page = (tmp_path / "T" / "T.html").read_text()
    assert "Other libraries, same rows" in page
    assert "popularity" in page


def test_peers_alone_need_no_run_of_ours(tmp_path: Path, log, monkeypatch, capsys) -> None:
    monkeypatch.setattr(quality, "ours", functools.partial(pytest.fail, "the pipeline was run"))
    assert quality.ranking("L", tmp_path, log, 0, ["popularity"]) == []
    assert "popularity" in capsys.readouterr().out
