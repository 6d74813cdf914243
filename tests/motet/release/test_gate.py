"""What the gate has against a release: overall, by task, by slice, against popularity; what is forced or refused."""

import re
from pathlib import Path
from typing import Any

import pytest

from motet.errors import ReleaseError
from motet.evaluation.report import write_report
from motet.release.gate import guarded, refusals
from motet.release.publish import Releases
from motet.settings import ReleaseSettings
from motet.storage import read_json, write_manifest

GATE = ReleaseSettings(max_drop=0.1, max_slice_drop=0.5, least_rows=100, max_below_popularity=0.0)


def _report(ndcg: float = 0.2, popular: float = 0.1, **changes: Any) -> dict[str, Any]:
    tasks = {
        "like": {"kind": "binary", "auc": 0.8, "logloss": 0.5, "ece": 0.01, "rows": 900},
        "plays": {"kind": "count", "deviance": 1.0, "mae": 0.4, "rows": 900},
        "best": {"kind": "ranking", "ndcg": None, "rows": 0},
    }
    one = {"like": {"auc": 0.7, "logloss": 0.6, "rows": 150}, "plays": {"deviance": 2.0, "rows": 150}}
    means = {"motet": {"mean": ndcg}, "popularity": {"mean": popular}}
    slices = {
        "cold items": {"events": 150, "lists": 120, "ndcg": {"motet": {"mean": 0.04}}, "tasks": one},
        "tail items": {"events": 90, "lists": 90, "ndcg": {"motet": {"mean": 0.1}}, "tasks": {}},
        "genre = drama": {"events": 500, "lists": 500, "ndcg": {"motet": {"mean": 0.3}}, "tasks": {}},
    }
    ranking = {"k": 10, "lists": 900, "systems": {name: {"ndcg": mean} for name, mean in means.items()}}
    return {"protocol": "Time.", "ranking": ranking, "tasks": tasks, "slices": slices, **changes}


def _with(path: str, value: float) -> dict[str, Any]:
    """The report with one figure changed."""
    report = _report()
    *parts, last = path.split("/")
    target = report
    for part in parts:
        target = target[part]
    target[last] = value
    return report


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"i1": 0.3}, {"i1": 0.9}, []),
        ({"i1": 0.02}, {"i1": 0.19, "i2": 0.1}, []),
        ({"i1": 0.005}, {"i1": 0.11}, ["item i1 is in 11.0% of the lists, of the current release's in 0.5%"]),
        ({}, {"i1": 0.5, "i2": 0.2}, ["item i1 is in 50.0% of the lists", "item i2 is in 20.0%"]),
        (None, {"i1": 0.5}, []),
    ],
)
def test_an_item_that_is_suddenly_in_many_lists(before: Any, now: dict[str, float], said: list[str]) -> None:
    old = _report() if before is None else _report(exposure={"items": 2000, "shares": before})
    new = _report(exposure={"items": 2000, "shares": now})
    found = refusals(new, old, GATE)
    assert len(found) == len(said)
    assert all(one in whole for one, whole in zip(said, found, strict=True))
    assert refusals(new, old, GATE.model_copy(update={"least_exposure": 1.0})) == []
    assert refusals(_report(exposure={"items": 90, "shares": now}), old, GATE) == []  # where each is in many


def test_what_is_guarded() -> None:
    found = guarded(_report())
    assert set(found) == {
        "NDCG", "like auc", "like logloss", "plays deviance", "NDCG, cold items", "NDCG, tail items",
        "like auc, cold items", "like logloss, cold items", "plays deviance, cold items",
    }  # fmt: skip
    assert found["like logloss"].larger_is_better is found["plays deviance"].larger_is_better is False


@pytest.mark.parametrize(
    ("path", "just", "beyond", "said"),
    [
        ("ranking/systems/motet/ndcg/mean", 0.181, 0.179, "NDCG 0.1790, the current one has 0.2000"),
        ("tasks/like/auc", 0.73, 0.71, "like auc 0.7100, .* has 0.8000 and release.max_drop allows 0.7200"),
        ("tasks/like/logloss", 0.54, 0.56, "like logloss 0.5600, the current one has 0.5000"),
        ("tasks/plays/deviance", 1.09, 1.11, "plays deviance 1.1100"),
        ("slices/cold items/ndcg/motet/mean", 0.021, 0.019, "NDCG, cold items 0.0190, .*max_slice_drop allows 0.0200"),
        ("slices/cold items/tasks/like/logloss", 0.89, 0.91, "like logloss, cold items 0.9100"),
    ],
)  # fmt: skip
def test_each_figure_may_fall_as_far_as_the_recipe_says(path: str, just: float, beyond: float, said: str) -> None:
    assert refusals(_with(path, just), _report(), GATE) == []
    (found,) = refusals(_with(path, beyond), _report(), GATE)
    assert re.match(said, found), found


def test_what_rests_on_few_rows_another_protocol_and_an_unknown_figure_are_not_judged() -> None:
    assert refusals(_with("slices/tail items/ndcg/motet/mean", 0.0), _report(), GATE) == []
    assert refusals(_with("slices/genre = drama/ndcg/motet/mean", 0.0), _report(), GATE) == []
    assert refusals(_with("tasks/like/auc", 0.1) | {"protocol": "Other."}, _report(), GATE) == []
    worse = _report()
    worse["tasks"]["like"]["auc"] = None
    assert refusals(worse, _report(), GATE) == []


def test_what_is_less_than_popularity_is_refused_even_as_the_first_release() -> None:
    (found,) = refusals(_report(0.09, 0.1), None, GATE)
    assert found == "NDCG 0.0900 is below that of popularity, 0.1000, and release.max_below_popularity allows 0.1000"
    assert refusals(_report(0.09, 0.1), None, ReleaseSettings(max_below_popularity=0.2)) == []
    report = _report(0.01)
    del report["ranking"]["systems"]["popularity"]
    assert refusals(report, None, GATE) == []


def _written(folder: Path, report: dict[str, Any]) -> Path:
    told = {"recipe": "tiny", "counts": {"items": 20, "users": 12}}
    write_report(folder, told | report)
    write_manifest(folder, {"stage": "evaluate"})
    return folder


def test_what_is_forced_says_so_in_its_manifest(workspace: Path, draft: Path, tmp_path: Path) -> None:
    releases, report = Releases(workspace), _written(tmp_path / "bad", _report(0.05))
    before = releases.current_id()
    with pytest.raises(ReleaseError, match=r"below that of popularity.*train a better one, raise .* or publish"):
        releases.publish(draft, report, GATE, {"recipe": "tiny"})
    assert releases.current_id() == before
    forced = releases.publish(draft, report, GATE, {"recipe": "tiny"}, force=True)
    assert releases.current_id() == forced.id
    (against,) = read_json(releases.verified(forced.id) / "manifest.json")["forced"]
    assert against.startswith("NDCG 0.0500 is below that of popularity")
    assert "forced" not in releases.find(before).joinpath("manifest.json").read_text()


def test_a_release_that_was_left_for_an_older_one_is_passed_over_until_it_is_named(
    workspace: Path, draft: Path, report: Path
) -> None:
    releases = Releases(workspace)
    first = releases.current_id()
    second, third = (releases.publish(draft, report, GATE, {"recipe": "tiny"}).id for _ in range(2))
    assert releases.refused() == {}
    assert releases.rollback() == second
    assert releases.refused()[third].startswith(f"rolled back to {second} on 20")
    with pytest.raises(ReleaseError, match=f"{third} was refused: rolled back to {second}"):
        releases.try_out(third)
    assert releases.rollback(third) == third  # by name: whoever says so wants it
    assert releases.refused() == {}
    assert releases.rollback(second) == second
    assert releases.rollback() == first
    assert set(releases.refused()) == {second, third}
    fourth = releases.publish(draft, report, GATE, {"recipe": "tiny"}).id
    assert releases.rollback() == first  # and not to what was refused in between
    assert set(releases.refused()) == {second, third, fourth}


def test_a_candidate_that_was_dropped_for_a_reason_is_not_tried_again(
    workspace: Path, draft: Path, report: Path
) -> None:
    releases = Releases(workspace)
    first = releases.current_id()
    second = releases.publish(draft, report, GATE, {"recipe": "tiny"}).id
    releases.point(first)
    releases.try_out(second)
    assert releases.drop_candidate() == second  # no reason is given
    releases.try_out(second)
    assert releases.drop_candidate(second, "it is slow") == second
    with pytest.raises(ReleaseError, match=f"{second} was refused: it is slow; motet release canary {second} --again"):
        releases.try_out(second)
    assert releases.try_out(second, again=True) == second
    assert releases.refused() == {}
