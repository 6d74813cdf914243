"""The Grafana dashboard asks for metrics that exist, by labels that they have, and leaves none out."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BOARD = json.loads((ROOT / "deploy" / "grafana.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]]
MADE = re.compile(r'(?:Counter|Histogram|Gauge)\(\s*"(motet_\w+)".*?\)\n', re.DOTALL)


def made() -> dict[str, set[str]]:
    """The labels of each metric, from where they are made."""
    found = {}
    for path in sorted((ROOT / "serve").glob("*.py")):
        for one in MADE.finditer(path.read_text()):
            labels = re.search(r"\((\s*\"\w+\",[^()]*)\)", one[0][one[0].index('"motet_') :])
            found[one[1]] = set(re.findall(r'"(\w+)"', labels[1])) if labels else set()
    return found


def test_there_is_something_to_compare():
    assert made()["motet_fallbacks_total"] == {"level", "step", "because"}
    assert made()["motet_in_flight"] == set()
    assert len(made()) >= 12


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_panel_asks_for_what_there_is(title, query):
    for name, metric in re.findall(r"ray_((motet_\w+?)(?:_bucket)?)\b", query):
        assert metric in made(), f"{title} asks for {name}"
    asked = re.findall(r"ray_(motet_\w+?)(?:_bucket)?\b", query)
    for labels in re.findall(r"by \(([^)]*)\)", query):
        named = {label.strip() for label in labels.split(",")} - {"le"}
        assert not asked or any(named <= made()[metric] for metric in asked), title


def test_every_metric_has_a_panel():
    asked = " ".join(query for _, query in QUERIES)
    assert [metric for metric in made() if f"ray_{metric}" not in asked] == []


def test_panels_do_not_overlap():
    places = [tuple(panel["gridPos"][key] for key in "xy") for panel in BOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in BOARD["panels"])
