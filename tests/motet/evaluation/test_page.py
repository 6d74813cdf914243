"""The report's page: all sections, escaped, and in need of nothing else."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from motet.evaluation.page import render

_DASH, _STAR = "\N{EN DASH}", "\N{BLACK STAR}"
_EVIL = "<script>alert(1)</script>"
_TITLES = {
    "counts": "Data",
    "ledger": "Row ledger",
    "ranking": "Ranking",
    "tasks": "Tasks",
    "off_policy": "Off-policy",
    "experts": "Experts",
    "training": "Training",
    "fusion": "Fusion",
    "index": "Index",
    "stages": "Stages",
}


def _system(ndcg: float, coverage: float) -> dict[str, Any]:
    means = {"ndcg": ndcg, "hit": 2 * ndcg, "recall": ndcg / 2, "mrr": ndcg}
    figures = {name: {"mean": mean, "low": mean - 0.02, "high": mean + 0.02} for name, mean in means.items()}
    return figures | {"coverage": coverage, "diversity": 0.7, "novelty": 8.5}


def _binary(auc: float | None) -> dict[str, Any]:
    figures = {"logloss": 0.5, "accuracy": 0.72, "base_rate": 0.55, "ece": 0.02, "rows": 1000}
    return {"kind": "binary", "auc": auc, **figures}


def _estimates(effective: float) -> dict[str, Any]:
    means = {"logged": 0.5, "ips": 0.6, "snips": 0.625, "clipped_ips": 0.55, "dr": 0.61}
    figures = {name: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1} for name, mean in means.items()}
    return figures | {"rows": 1000, "matched": 300, "mean_weight": 0.99, "effective_sample_size": effective}


def _report() -> dict[str, Any]:
    reasons = {"no_such_item": 2, "no_time": 5}
    curve = [
        {"low": place / 2, "high": (place + 1) / 2, "count": 9, "prediction": 0.3, "label": 0.4} for place in (0, 1)
    ]
    return {
        "recipe": "movielens",
        "protocol": "Time split; all items that the user has not seen are ranked.",
        "created": "2026-01-02T03:04:05+00:00",
        "counts": {"users": 943, "items": 1682, "interactions": 100_000, "evaluated_users": 77},
        "ledger": {
            "interactions": {"read": 100, "kept": 90, "quarantined": 7, "merged": 3, "reasons": reasons},
            "users": {"read": 10, "kept": 6, "quarantined": 1, "merged": 0, "reasons": {"twice": 1}},
        },
        "ranking": {
            "k": 10,
            "systems": {
                "popularity": _system(0.106, 0.05),
                "motet": _system(0.217, 0.31),
                "item_knn": _system(0.123, 0.42),
            },
            "differences": {
                "popularity": {"mean": 0.111, "low": 0.08, "high": 0.14},
                "item_knn": {"mean": 0.094, "low": -0.01, "high": 0.2},
                "oracle": {"mean": -0.2, "low": -0.3, "high": -0.1},
            },
        },
        "tasks": {
            "like": _binary(0.8) | {"reliability": curve, "calibrator": "platt", "tried": {"none": 0.6, "platt": 0.5}},
            "rare": _binary(None),
            "rating": {"kind": "regression", "rmse": 0.93, "mae": 0.74, "rows": 1000, "calibrator": "linear"},
        },
        "off_policy": {"k": 10, "tasks": {"like": _estimates(250.4), "rare": _estimates(12.0) | {"snips": None}}},
        "experts": {"like": [0.25, 0.75], "rating": [0.5, 0.5]},
        "training": [
            {
                "epoch": 1,
                "seconds": 12.5,
                "loss": 2.0,
                "losses": {"like": 2.0},
                "validation": {"ndcg@10": 0.1},
            },
            {
                "epoch": 2,
                "seconds": 12.5,
                "loss": 1.0,
                "losses": {"like": 1.0},
                "validation": {"ndcg@10": 0.2},
            },
        ],
        "fusion": {
            "ndcg": 0.3,
            "without": {"vectors": 0.25, "profile": 0.31},
            "chosen": ["vectors"],
            "importance": {"vectors rank": 0.75, "trend": 0.25},
        },
        "index": {"kind": "flat", "recall@100": 1.0, "floor": 0.95},
        "stages": {"prepare": 3.25, "train": 40.0},
    }


class _Page(HTMLParser):
    """Reads a page, checks that its tags close in order, and keeps what the tests ask for."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__()
        self.text = render(report)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.feed(self.text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.words.append((self.open[-1], data))
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def all_of(self, tag: str) -> list[str]:
        return [data for name, data in self.words if name == tag]

    def starting_with(self, first: str, width: int) -> list[str]:
        return next(row for row in self.rows if row[0] == first and len(row) == width)

    def looking(self, look: str) -> list[str]:
        return [tag for tag, attributes in self.tags if look in attributes.get("class", "").split()]

    def pictures(self) -> dict[str, ElementTree.Element]:
        images = [attributes for tag, attributes in self.tags if tag == "img"]
        codes = {image["alt"]: image["src"].removeprefix("data:image/svg+xml;base64,") for image in images}
        return {name: ElementTree.fromstring(b64decode(code, validate=True)) for name, code in codes.items()}


@pytest.fixture(scope="module")
def page() -> _Page:
    return _Page(_report())


def test_all_sections_are_there(page: _Page) -> None:
    assert page.all_of("title") == page.all_of("h1") == ["Evaluation of movielens"]
    assert page.all_of("h2") == list(_TITLES.values())
    assert page.all_of("p")[:3] == [
        "Recipe: movielens",
        "Protocol: Time split; all items that the user has not seen are ranked.",
        "Created: 2026-01-02T03:04:05+00:00",
    ]


def test_nothing_else_is_needed(page: _Page) -> None:
    addresses = [attributes.get(name, "data:") for _, attributes in page.tags for name in ("src", "href", "srcset")]
    assert all(address.startswith("data:") for address in addresses)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import", page.text)
    assert "default-src 'none'" in page.tags[3][1]["content"]


def test_counts_and_ledger(page: _Page) -> None:
    assert page.starting_with("evaluated users", 2) == ["evaluated users", "77"]
    assert page.starting_with("interactions", 2) == ["interactions", "100,000"]
    assert page.starting_with("table", 6) == ["table", "read", "kept", "quarantined", "merged", "reasons"]
    row = ["interactions", "100", "90", "7", "3", "no_time: 5, no_such_item: 2"]
    assert page.starting_with("interactions", 6) == row


def test_what_each_source_adds(page: _Page) -> None:
    # 0.3 with all sources; 0.25 without the vectors, 0.31 without the profile
    assert page.starting_with("source", 3) == ["source", "without it", "adds"]
    assert page.starting_with("vectors", 3) == ["vectors", "0.2500", "0.0500"]
    assert page.starting_with("profile", 3) == ["profile", "0.3100", "-0.0100"]
    sources = [row[0] for row in page.rows if row[0] in ("vectors", "profile")]
    assert sources == ["vectors", "profile"]
    assert page.starting_with("vectors rank", 2) == ["vectors rank", "0.7500"]
    assert "NDCG@10 on validation, cross-fitted: 0.3000." in page.all_of("p")


def test_rows_that_the_ledger_lost_stand_out(page: _Page) -> None:
    # 10 read, 6 kept, 1 quarantined: 3 are gone
    assert page.starting_with("users", 6)[-1] == "twice: 1, 3 rows unaccounted for"
    assert page.looking("bad") == ["td", "td"]  # the other is the off-policy estimate of few effective rows


def test_ranking_table_puts_ours_first_and_marks_the_best(page: _Page) -> None:
    names = [row[0] for row in page.rows if len(row) == 8]
    assert names == ["system", "motet", "item_knn", "popularity"]
    heads = ["NDCG@10", "hit rate@10", "recall@10", "MRR@10", "coverage", "diversity", "novelty (bits)"]
    assert page.starting_with("system", 8)[1:] == heads
    ours, knn = page.starting_with("motet", 8), page.starting_with("item_knn", 8)
    assert (ours[1], ours[5]) == (f"0.2170 {_STAR} [0.1970, 0.2370]", "0.3100")
    assert (knn[1], knn[5]) == ("0.1230 [0.1030, 0.1430]", f"0.4200 {_STAR}")
    # ours: name and 7 figures in the ranking, 2 cells of the sum of stages, the used source; best: 4 + 1 + 2 ties of 3
    assert len(page.looking("ours")) == 8 + 2 + 1
    assert len(page.looking("best")) == 4 + 1 + 2 * 3


def test_a_lone_system_is_not_the_best_of_anything() -> None:
    page = _Page({"ranking": {"k": 5, "systems": {"motet": {"ndcg": 0.5, "mrr": None}}}})
    assert page.rows == [["system", "NDCG@5", "MRR@5"], ["motet", "0.5000", _DASH]]


def test_differences_are_read_by_their_interval(page: _Page) -> None:
    assert page.starting_with("popularity", 3)[1:] == ["0.1110 [0.0800, 0.1400]", "ahead"]
    assert page.starting_with("item_knn", 3)[1:] == ["0.0940 [-0.0100, 0.2000]", "not told apart"]
    assert page.starting_with("oracle", 3)[1:] == ["-0.2000 [-0.3000, -0.1000]", "behind"]


def test_task_table_shows_what_each_kind_has(page: _Page) -> None:
    heads = ["AUC", "log loss", "accuracy at 0.5", "base rate", "calibration error", "RMSE", "MAE", "rows"]
    assert page.starting_with("task", 10)[2:] == heads
    rare = ["binary", _DASH, "0.5000", "0.7200", "0.5500", "0.0200", _DASH, _DASH, "1,000"]
    assert page.starting_with("rare", 10)[1:] == rare
    assert page.starting_with("rating", 10)[1:] == ["regression", *[_DASH] * 5, "0.9300", "0.7400", "1,000"]


def test_the_calibrator_and_what_it_was_chosen_by(page: _Page) -> None:
    assert page.starting_with("like", 3)[1:] == ["platt", "none 0.6000, platt 0.5000"]
    assert page.starting_with("rating", 3)[1:] == ["linear", _DASH]
    assert [row for row in page.rows if row[0] == "rare" and len(row) == 3] == []


def test_off_policy_says_the_policy_each_estimate_and_how_far_to_trust_it(page: _Page) -> None:
    assert any("drawn evenly from the release's list of 10" in line for line in page.all_of("p"))
    heads = ["as logged", "IPS", "SNIPS", "clipped IPS", "doubly robust", "rows", "in the lists", "mean weight"]
    assert page.starting_with("task", 10)[1:3] == ["kind", "AUC"]
    row = next(row for row in page.rows if row[0] == "task" and "IPS" in row)
    assert row[1:] == [*heads, "effective rows"]
    like, rare = (next(row for row in page.rows if row[0] == name and row[-1].startswith(size))
                  for name, size in (("like", "250"), ("rare", "12")))  # fmt: skip
    assert like[2] == "0.6000 [0.5000, 0.7000]"
    assert like[6:] == ["1,000", "300", "0.9900", "250"]
    assert (rare[3], rare[-1]) == (_DASH, "12, thin")


def test_plots_are_whole_pictures(page: _Page) -> None:
    assert list(page.pictures()) == [
        "NDCG@10 of each system",
        "NDCG@10 against catalogue coverage",
        "Reliability of like",
        "Mean weight of each expert in each task's mixture, over the test events; of ple the last is its own",
        "Losses and validation by epoch",
    ]


def test_training_index_and_stages(page: _Page) -> None:
    index = "Kind flat: recall@100 against exact search 1.0000, at or above the floor of 0.9500."
    assert {"2 epochs in 25.0 seconds.", index} <= set(page.all_of("p"))
    # 3.25 + 40 = 43.25
    assert page.starting_with("train", 2) == ["train", "40.0"]
    assert page.starting_with("all", 2) == ["all", "43.2"]


def test_index_under_its_floor_stands_out() -> None:
    page = _Page({"index": {"kind": "ivf", "recall@100": 0.9, "floor": 0.95}})
    assert page.all_of("p") == ["Kind ivf: recall@100 against exact search 0.9000, UNDER the floor of 0.9500."]
    assert page.looking("bad") == ["p"]


@pytest.mark.parametrize("key", _TITLES)
def test_missing_and_empty_sections_are_left_out(key: str) -> None:
    report = _report()
    section = report.pop(key)
    assert _Page(report).all_of("h2") == [title for name, title in _TITLES.items() if name != key]
    assert _Page({key: section}).all_of("h2") == [_TITLES[key]]
    assert _Page({key: type(section)()}).all_of("h2") == _Page({key: None}).all_of("h2") == []


def test_empty_report_is_a_page() -> None:
    page = _Page({})
    assert page.all_of("h1") == ["Evaluation of a recommender"]
    assert page.all_of("h2") == page.all_of("p") == []


def _planted(value: Any, name: str) -> Any:
    """Puts a name in place of every string, and one more entry with that name into every dict."""
    if isinstance(value, dict):
        known = {key: _planted(entry, name) for key, entry in value.items()}
        return known | {name: next(iter(known.values()))} if known else known
    if isinstance(value, list):
        return [_planted(entry, name) for entry in value]
    return name if isinstance(value, str) and value != "binary" else value


def test_script_in_every_name_is_escaped() -> None:
    page = _Page(_planted(_report(), _EVIL))
    assert page.all_of("title") == page.all_of("h1") == [f"Evaluation of {_EVIL}"]
    assert page.all_of("h2") == list(_TITLES.values())
    assert page.text.count("&lt;script&gt;") > 15
    assert "script" not in {tag for tag, _ in page.tags}
    nodes = [node.tag for picture in page.pictures().values() for node in picture.iter()]
    assert not [tag for tag in nodes if tag.endswith("script")]


def test_braces_and_quotes_stay_as_they_are() -> None:
    page = _Page(_planted(_report(), "{body}\"'"))
    assert page.all_of("h1") == ["Evaluation of {body}\"'"]
    assert "Reliability of {body}\"'" in page.pictures()


def test_rows_of_removed_items_are_accounted_for() -> None:
    entry = {"read": 4, "kept": 2, "quarantined": 0, "merged": 1, "removed": 1, "reasons": {}}
    shown = render({"ledger": {"items": entry}})
    assert "removed by the item log: 1" in shown
    assert "unaccounted" not in shown
