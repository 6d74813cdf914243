"""Two releases by their stored rows: differences by hand, noise, and what cannot be compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.data.parquet import read_parquet
from motet.errors import EvaluationError
from motet.evaluation.comparison import Difference, conclusion
from motet.evaluation.comparison import compare as compare_with
from motet.evaluation.per_user import write_rows
from motet.evaluation.ranking_metrics import METRICS
from motet.evaluation.report import write_report
from tests.builders import Tiny

_USERS = 60


def compare(first: Path, second: Path) -> list[Difference]:
    return compare_with(first, second, resamples=100)


def _row(user: int, score: float, like: list[list[float]], **more: Any) -> dict[str, Any]:
    metrics = {"motet": dict.fromkeys(METRICS, score)}
    tasks = {"like": like, "rating": [[said * 4 + 1, 1.0 + 4 * label, -1] for said, label, _ in like]}
    return {"user": f"u{user:03d}", "asked": f"h{user}", "warm": True, "metrics": metrics, "tasks": tasks} | more


def _rows(seed: int, lift: float, skill: float) -> list[dict[str, Any]]:
    """Rows of users whose likes and ease are always the same; `lift` and `skill` make the release."""
    fixed, own = np.random.default_rng(0), np.random.default_rng(seed)
    rows = []
    for user in range(_USERS):
        ease, labels = fixed.uniform(0.1, 0.7), fixed.integers(2, size=4)
        said = np.clip(0.5 + skill * (labels - 0.5) + own.normal(size=4) * 0.2, 0.01, 0.99)
        like = [[float(one), float(label), -1] for one, label in zip(said, labels, strict=True)]
        rows.append(_row(user, float(np.clip(ease + lift + own.normal() * 0.02, 0, 1)), like))
    return rows


@pytest.fixture
def write(tiny: Tiny, tmp_path: Path):
    """Writes a release's report and rows into a folder."""

    def writing(name: str, rows: list[dict[str, Any]], **changes: Any) -> Path:
        kinds = {"like": {"kind": "binary"}, "rating": {"kind": "regression"}}
        about = {"protocol": "Leave one out.", "ranking": {"k": 10, "systems": {}}, "counts": {"users": 9}}
        write_report(tmp_path / name, about | {"tasks": kinds} | changes)
        write_rows(tmp_path / name, rows, tiny.recipe)
        return tmp_path / name

    return writing


def _by_metric(found: list[Difference]) -> dict[str, Difference]:
    return {one.metric: one for one in found}


def test_differences_by_hand(write) -> None:
    # NDCG of the first: 0.5 and 1, of the second: 0.25 each; the likes are ordered rightly by the first only
    right, wrong = [[0.9, 1.0, -1], [0.1, 0.0, -1]], [[0.1, 1.0, -1], [0.9, 0.0, -1]]
    first = write("a", [_row(0, 0.5, right), _row(1, 1.0, right)])
    second = write("b", [_row(0, 0.25, wrong), _row(1, 0.25, wrong)])
    found = _by_metric(compare(first, second))
    assert set(found) == {*METRICS, "like auc", "like logloss", "rating rmse"}
    ndcg = found["ndcg"]
    assert (ndcg.first, ndcg.second, ndcg.mean) == (0.75, 0.25, 0.5)
    assert (ndcg.low, ndcg.high, ndcg.verdict) == (0.25, 0.75, "first")
    auc = found["like auc"]
    assert (auc.first, auc.second, auc.low, auc.high) == (1.0, 0.0, 1.0, 1.0)
    # errors of 0.1 and 0.9 of the range of 4
    assert found["rating rmse"].mean == pytest.approx(0.4 - 3.6)
    assert {found[name].verdict for name in ("like logloss", "rating rmse")} == {"first"}


def test_the_better_one_is_said_whichever_comes_first(write) -> None:
    better, worse = write("a", _rows(1, 0.1, 0.6)), write("b", _rows(2, 0.0, 0.2))
    ahead, behind = _by_metric(compare(better, worse)), _by_metric(compare(worse, better))
    assert {one.verdict for one in ahead.values()} == {"first"}
    assert {one.verdict for one in behind.values()} == {"second"}
    assert conclusion(list(ahead.values()), "A", "B").startswith("A is better: NDCG ")
    assert conclusion(list(behind.values()), "A", "B").startswith("B is better: NDCG ")


def test_the_same_is_within_noise_and_so_are_equals_but_for_chance(write) -> None:
    one, other = write("a", _rows(1, 0.1, 0.4)), write("b", _rows(2, 0.1, 0.4))
    same = compare(one, one)
    assert {(d.mean, d.low, d.high, d.verdict) for d in same} == {(0.0, 0.0, 0.0, "within noise")}
    assert _by_metric(compare(one, other))["ndcg"].verdict == "within noise"
    assert conclusion(same, "A", "B").startswith("within noise: NDCG ")


def test_pairing_sees_what_unpaired_intervals_would_not(write) -> None:
    """Users differ by 0.6 in ease, the releases by 0.03: the interval is that of the differences."""
    found = _by_metric(compare(write("a", _rows(1, 0.03, 0.4)), write("b", _rows(2, 0.0, 0.4))))["ndcg"]
    assert found.verdict == "first"
    assert found.high - found.low < 0.02


def test_a_user_asked_many_times_is_one_draw(write) -> None:
    """Fifty equal rows of one user beside one of another: means from 0 to 1, since both, or one twice, are drawn."""
    like = [[0.5, 1.0, -1]]
    rows = [[_row(0, value, like, asked=f"h{n}") for n in range(50)] + [_row(1, 0.0, like)] for value in (1.0, 0.0)]
    ndcg = _by_metric(compare(write("a", rows[0]), write("b", rows[1])))["ndcg"]
    assert ndcg.mean == pytest.approx(50 / 51)
    assert (ndcg.low, ndcg.high) == (0.0, 1.0)


def test_rows_that_were_not_ranked_count_for_tasks_only(write) -> None:
    like = [[0.9, 1.0, -1], [0.1, 0.0, -1]]
    rows = [_row(0, 0.5, like), _row(1, 0.0, like, metrics={})]
    folder = write("a", rows)
    assert read_parquet(folder / "rows.parquet").column("ndcg").to_pylist() == [0.5, None]
    found = _by_metric(compare(folder, folder))
    assert (found["ndcg"].first, found["like auc"].first) == (0.5, 1.0)


def _changed(name: str, value: Any):
    rows = _rows(1, 0.0, 0.4)
    rows[7] = rows[7] | {name: value}
    return rows


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (
            _rows(1, 0, 0.4),
            {"protocol": "Time."},
            r"first one's protocol is 'Leave one out.', the second one's 'Time.'",
        ),
        (_rows(1, 0, 0.4), {"ranking": {"k": 5, "systems": {}}}, "length of lists is 10, the second one's 5"),
        (
            _rows(1, 0, 0.4),
            {"counts": {"users": 8}},
            "number of users is 9, the second one's 8; compare releases of one",
        ),
        (_changed("asked", "x"), {}, "asked about other events of 1 users, such as 'u007'"),
        (_rows(1, 0, 0.4)[1:], {}, "asked about other events of 1 users, such as 'u000'"),
    ],
)
def test_other_data_or_another_split_is_refused(write, rows, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        compare(write("a", _rows(1, 0.0, 0.4)), write("b", rows, **changes))


def test_a_release_without_rows_is_refused(write) -> None:
    whole, bare = write("a", _rows(1, 0.0, 0.4)), write("b", _rows(1, 0.0, 0.4))
    (bare / "rows.parquet").unlink()
    with pytest.raises(EvaluationError, match=r"b has no rows.parquet: the release is older than this"):
        compare(whole, bare)


def test_a_task_whose_labels_changed_is_left_out(write) -> None:
    rows = _rows(1, 0.0, 0.4)
    other = [
        row | {"tasks": row["tasks"] | {"like": [[s, 1 - y, g] for s, y, g in row["tasks"]["like"]]}} for row in rows
    ]
    found = _by_metric(compare(write("a", rows), write("b", other)))
    assert set(found) == {*METRICS, "rating rmse"}


def test_slates_of_a_user_who_is_drawn_twice_stay_apart(tmp_path: Path, write, monkeypatch) -> None:
    """With slates mixed up, a resample's NDCG could not be the mean of its users' 1 and its counterpart."""
    from motet.evaluation import comparison

    events = [[[0.9, 1.0, 0], [0.1, 0.0, 0], [0.2, 0.0, 1], [0.8, 1.0, 1]] for _ in range(3)]
    rows = [_row(user, 0.5, like) for user, like in enumerate(events)]
    folder = write("a", rows)
    table = read_parquet(folder / "rows.parquet")
    task = comparison._Task("like", "ranking", [table, table], np.arange(3))
    drawn, slates = task._drawn(np.array([2, 0, 2]))
    assert len(np.unique(slates)) == 6
    assert task._values(drawn, slates) == [{"ndcg": 1.0}] * 2
    assert np.bincount(np.unique(slates, return_inverse=True)[1]).tolist() == [2] * 6
