"""The plots: whole SVGs with the right names on them, whatever the names and gaps."""

from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from motet.evaluation import plots

_SVG = "{http://www.w3.org/2000/svg}"
_SYSTEMS: dict[str, Any] = {
    "popularity": {"ndcg": {"mean": 0.1, "low": 0.08, "high": 0.12}, "coverage": 0.05},
    "motet": {"ndcg": {"mean": 0.2, "low": 0.15, "high": 0.25}, "coverage": 0.3},
    "item_knn": {"ndcg": 0.12, "coverage": {"mean": 0.4}},
}
_TRAINING: list[dict[str, Any]] = [
    {"epoch": 1, "loss": 2.0, "losses": {"watch": 1.5, "like": 0.5}, "validation": {"ndcg@10": 0.1}},
    {"epoch": 2, "loss": 1.0, "losses": {"watch": 0.5, "like": 0.5}, "validation": {"ndcg@10": 0.2}},
]
_BINS: list[dict[str, Any]] = [
    {"low": 0.0, "high": 0.5, "count": 6, "prediction": 0.2, "label": 0.3},
    {"low": 0.5, "high": 1.0, "count": 0, "prediction": None, "label": None},
]


def _texts(svg: str) -> set[str]:
    return {(node.text or "").strip() for node in ElementTree.fromstring(svg).iter(f"{_SVG}text")}


def test_order_is_ours_then_by_falling_ndcg() -> None:
    systems = {"unknown": {"ndcg": None}, "none": {}, **_SYSTEMS, "zero": {"ndcg": 0.0}}
    assert plots.by_ndcg(systems) == ["motet", "item_knn", "popularity", "zero", "unknown", "none"]


def test_mean_of_a_figure_in_any_form() -> None:
    assert plots.mean_of({"mean": 0.5, "low": 0.4, "high": 0.6}) == plots.mean_of(0.5) == 0.5
    assert plots.mean_of(None) is plots.mean_of({}) is plots.mean_of({"mean": None}) is None


def test_names_are_on_the_plots() -> None:
    assert {*_SYSTEMS, "NDCG@5, mean over users with 95 % interval"} <= _texts(plots.ndcg_bars(_SYSTEMS, 5))
    assert {*_SYSTEMS, "NDCG@5"} <= _texts(plots.coverage_scatter(_SYSTEMS, 5))
    assert {"perfect", "model", "rows"} <= _texts(plots.reliability_curve(_BINS))
    names = {"all tasks", "watch", "like", "ndcg@10", "epoch", "training loss", "validation"}
    assert names <= _texts(plots.learning_curve(_TRAINING))


def test_gaps_are_left_out() -> None:
    systems = {**_SYSTEMS, "no_ndcg": {"ndcg": None, "coverage": 0.5}, "no_coverage": {"ndcg": 0.3}}
    bars, points = _texts(plots.ndcg_bars(systems, 10)), _texts(plots.coverage_scatter(systems, 10))
    assert "no_coverage" in bars
    assert "no_ndcg" not in bars
    assert not {"no_coverage", "no_ndcg"} & points
    masked = {"epoch": 3, "loss": None, "losses": {"watch": None, "late": 0.1, "never": None}}
    curve = _texts(plots.learning_curve([*_TRAINING, masked]))
    assert {"watch", "late"} <= curve
    assert "never" not in curve


def test_without_validation_there_is_one_panel() -> None:
    texts = _texts(plots.learning_curve([{"epoch": 1, "loss": 2.0}]))
    assert "training loss" in texts
    assert "validation" not in texts


def test_nothing_to_draw_is_no_plot() -> None:
    assert plots.ndcg_bars({"motet": {"hit": 0.5}}, 10) == ""
    assert plots.coverage_scatter({"motet": {"ndcg": 0.5}}, 10) == ""
    assert plots.reliability_curve(_BINS[1:]) == ""
    assert plots.learning_curve([{"epoch": 1, "loss": None}]) == ""


def test_interval_that_misses_its_mean_is_drawn() -> None:
    assert plots.ndcg_bars({"motet": {"ndcg": {"mean": 0.3, "low": 0.31, "high": 0.29}}}, 10)
    assert plots.ndcg_bars({"motet": {"ndcg": {"mean": 0.3, "low": None, "high": None}}}, 10)


_STRANGE = ["$\\frac{", "\"'&<b>", "\u6b4c\u266a", "\ud800", "a\x00b", "_x", "{x}", "n" * 200, ""]


@pytest.mark.parametrize("name", _STRANGE)
def test_strange_names_are_drawn(name: str) -> None:
    systems = {**_SYSTEMS, name: _SYSTEMS["popularity"]}
    training = [{**entry, "losses": {name: 1.0}, "validation": {name: 1.0}} for entry in _TRAINING]
    svgs = [plots.ndcg_bars(systems, 10), plots.coverage_scatter(systems, 10), plots.learning_curve(training)]
    shown = [_texts(svg) for svg in svgs if svg.encode()]
    assert len(shown) == 3
    if name.isprintable() and len(name) < 20:
        assert all(name in texts for texts in shown if name)


def test_names_stay_text_and_long_ones_are_cut() -> None:
    systems = {"<b>$x$": _SYSTEMS["motet"], "a\x00b": _SYSTEMS["motet"], "n" * 200: _SYSTEMS["motet"]}
    shown = {"<b>$x$", "a?b", "n" * 27 + "\N{HORIZONTAL ELLIPSIS}"}
    assert shown <= _texts(plots.ndcg_bars(systems, 10))


def test_the_same_figures_give_the_same_plot() -> None:
    assert plots.ndcg_bars(_SYSTEMS, 10) == plots.ndcg_bars(_SYSTEMS, 10)
    assert plots.learning_curve(_TRAINING) == plots.learning_curve(_TRAINING)


def test_matplotlib_is_left_as_it_was() -> None:
    before = dict(mpl.rcParams)
    plots.reliability_curve(_BINS)
    assert dict(mpl.rcParams) == before


def test_heat_map_has_a_cell_for_each_task_and_expert() -> None:
    svg = plots.expert_heat_map({"like": [0.25, 0.75, 0.0], "<b>rating": [0.5, 0.375, 0.125]})
    assert {"like", "<b>rating", "1", "2", "3", "expert", "0.25", "0.75", "0.00", "0.50", "0.38", "0.12"} <= _texts(svg)
    assert svg == plots.expert_heat_map({"like": [0.25, 0.75, 0.0], "<b>rating": [0.5, 0.375, 0.125]})
    assert plots.expert_heat_map({}) == ""
