"""The report's two files: JSON that is finite and sorted, and a page beside it."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.errors import EvaluationError
from motet.evaluation.page import render
from motet.evaluation.report import write_report


def _report() -> dict[str, Any]:
    return {
        "recipe": "movielens",
        "created": "2026-01-02T03:04:05+00:00",
        "ranking": {"k": 10, "systems": {"popularity": {"ndcg": 0.1}, "motet": {"ndcg": 0.2, "hit": None}}},
        "training": [
            {"epoch": 1, "loss": 2.0, "losses": {"watch": 1.5}},
            {"epoch": 2, "loss": 1.0, "losses": {"watch": 0.5}},
        ],
    }


def _json(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_json_is_the_report_with_sorted_keys(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    write_report(folder, _report())
    assert (folder / "report.json").read_text(encoding="utf-8") == json.dumps(
        _report(), sort_keys=True, indent=2
    ) + "\n"
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]


def test_page_is_the_rendered_report(tmp_path: Path) -> None:
    write_report(tmp_path, _report())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text == render(_report())
    HTMLParser().feed(text)


def test_numpy_values_become_plain_ones(tmp_path: Path) -> None:
    numbers = {"users": np.int64(3), "share": np.float32(0.5)}
    write_report(tmp_path, {"counts": numbers, "rest": np.arange(2), "pair": (1, True)})
    assert _json(tmp_path) == {"counts": {"users": 3, "share": 0.5}, "rest": [0, 1], "pair": [1, True]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("-inf"), np.float32("nan")])
def test_numbers_that_are_not_finite_are_refused_by_their_place(tmp_path: Path, value: float) -> None:
    report = _report()
    report["training"][1]["losses"]["watch"] = value
    with pytest.raises(EvaluationError, match=rf"report\.training\[1\]\.losses\.watch = {value} is not finite"):
        write_report(tmp_path / "out", report)
    assert not (tmp_path / "out").exists()


def test_nan_inside_an_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"report\.curve\[1\] = nan is not finite: give None"):
        write_report(tmp_path, {"curve": np.array([1.0, np.nan])})


def test_values_and_keys_without_a_json_form_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"report\.stages is a set: give numbers, strings, lists and dicts"):
        write_report(tmp_path, {"stages": {1, 2}})
    with pytest.raises(EvaluationError, match=r"report\.stages has the key 7, a int: give strings as keys"):
        write_report(tmp_path, {"stages": {7: 1.0}})


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    write_report(tmp_path, _report())
    write_report(tmp_path, {"recipe": "other"})
    assert _json(tmp_path) == {"recipe": "other"}
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render({"recipe": "other"})


def test_a_refused_report_leaves_the_last_one(tmp_path: Path) -> None:
    write_report(tmp_path, _report())
    with pytest.raises(EvaluationError):
        write_report(tmp_path, {"counts": {"users": float("nan")}})
    assert _json(tmp_path) == _report()


def test_text_that_utf8_cannot_hold_is_written(tmp_path: Path) -> None:
    write_report(tmp_path, {"recipe": "a\ud800b"})
    assert _json(tmp_path) == {"recipe": "a\ud800b"}
    assert "<h1>Evaluation of a&#55296;b</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
