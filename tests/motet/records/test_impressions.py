"""Showings joined with events: what came in time, what did not, what may still; and what it is worth."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from motet.cli import main
from motet.data.histories import DAY_MS
from motet.evaluation.off_policy import Logged, clipped_ips, ips, snips
from motet.events.event import Event
from motet.events.segments import Segments
from motet.recommend import Query, Recommender
from motet.recommend.trace import Numbers
from motet.records.impressions import Rules, export_impressions
from motet.records.record import candidate_arrays
from motet.release.publish import Releases
from motet.retrieval.state import Candidates
from tests.builders import Tiny
from tests.motet.records.makers import record, write_records
from tests.serve.graphs import publish

SHOWN_MS = 1_700_000_000_000
DAY = int(DAY_MS)


@pytest.fixture
def log(tmp_path):
    store = Segments(tmp_path / "events")
    yield store
    store.close()


def shown_to(one) -> list[str]:
    order = np.argsort(np.where(one.position_C > 0, one.position_C, 999))[: one.query.k]
    return [f"i{place:02d}" for place in one.places_C[order]]


def of(rows: list[dict], item: str) -> dict:
    (row,) = [row for row in rows if row["item_id"] == item]
    return row


def test_each_showing_is_a_row_with_what_came_of_it(tmp_path, recommender, tiny, log):
    one = record(recommender, Query(user="u03", k=4), "r1")
    first, second, third, fourth = shown_to(one)

    def event(name, item, after_ms, kind=None, value=None, request="r1", user="u03"):
        return Event(name, user, item, SHOWN_MS + after_ms, kind, value, request)

    log.append(
        [
            event("click", first, 1000, "click"),
            event("rate", first, 5000, "rating", 4.0),
            event("late", second, 2 * DAY, "click"),
            event("other request", third, 1000, "click", request="r2"),
            event("other user", third, 1000, "click", user="u04"),
            event("no request", "i19", 1000, "rating", 2.0, request=None),
        ]
    )
    nobody = record(recommender, Query(k=2), "anyone")
    write_records(tmp_path / "records", recommender, [one, nobody])
    target = tmp_path / "out.parquet"
    found = export_impressions(tmp_path / "records", log, target, Rules(tiny.recipe, SHOWN_MS + 2 * DAY))
    assert (found.shown, found.answered, found.alone, found.without_user) == (4, 1, 4, 2)
    assert found.kinds == {"click": 1, "rating": 1}
    rows = pq.read_table(target).to_pylist()
    assert len(rows) == 8
    shown = [row for row in rows if row["position"] is not None]
    assert [(row["item_id"], row["position"]) for row in shown] == [
        (first, 1), (second, 2), (third, 3), (fourth, 4)
    ]  # fmt: skip
    moments = [round(row["timestamp"].timestamp() * 1000) - SHOWN_MS for row in shown]
    assert moments == [5000, 0, 0, 0]
    assert [(row["kind"], row["value"], row["rating"]) for row in shown] == [
        ("rating", 4.0, 4.0), *[("shown", None, None)] * 3
    ]  # fmt: skip
    assert [(row["got_click"], row["got_rating"]) for row in shown] == [(1.0, 1.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)]
    assert [(row["propensity"], row["chance"], row["explored"]) for row in shown] == [(1.0, 0.25, False)] * 4
    alone = {row["event_id"]: row for row in rows if row["position"] is None}
    assert alone.keys() == {"late", "other request", "other user", "no request"}
    assert (alone["no request"]["rating"], alone["no request"]["got_click"]) == (2.0, None)
    assert alone["late"]["got_click"] == 1.0


def test_nothing_is_known_of_what_is_too_young(tmp_path, recommender, tiny, log):
    """`got_buy` has the window of the task that reads it, 3 days; `got_click` has the day that is given."""
    task = {"name": "buy", "kind": "binary", "label": "got_buy > 0", "delay_days": 3.0}
    recipe = Tiny.of(tiny.recipe.encoder.model, tasks=[*[t.model_dump() for t in tiny.recipe.tasks], task]).recipe
    one = record(recommender, Query(user="u03", k=3), "r1")
    first = shown_to(one)[0]
    log.append([Event("b", "u03", first, SHOWN_MS + 2 * DAY, "buy", 1.0, "r1")])
    log.append([Event("c", "u03", first, SHOWN_MS + 2 * DAY, "click", 1.0, "r1")])
    write_records(tmp_path / "records", recommender, [one])
    got = {}
    for days in (0.5, 2.5, 3.0):
        rules = Rules(recipe, SHOWN_MS + round(days * DAY))
        export_impressions(tmp_path / "records", log, tmp_path / "out.parquet", rules)
        rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
        got[days] = [(row["got_buy"], row["got_click"]) for row in rows if row["position"] is not None]
    assert got[0.5] == [(1.0, None), (None, None), (None, None)]
    assert got[2.5] == [(1.0, 0.0), (None, 0.0), (None, 0.0)]
    assert got[3.0] == [(1.0, 0.0), (0.0, 0.0), (0.0, 0.0)]


def test_answered_only_leaves_out_what_was_merely_shown(tmp_path, recommender, tiny, log):
    one = record(recommender, Query(user="u03", k=4), "r1")
    log.append([Event("c", "u03", shown_to(one)[2], SHOWN_MS + 9, "click", None, "r1")])
    write_records(tmp_path / "records", recommender, [one])
    rules = Rules(tiny.recipe, SHOWN_MS, answered_only=True)
    assert export_impressions(tmp_path / "records", log, tmp_path / "out.parquet", rules).shown == 1
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["position"], row["got_click"], row["click"]) == (3, 1.0, None)


def test_the_command(workspace, recommender):
    name = Releases(workspace).current_id()
    one = record(recommender, Query(user="u03", k=4), "r1", release=name)
    write_records(workspace / "recommendations", recommender, [one])
    store = Segments(workspace / "events")
    store.append([Event("c", "u03", shown_to(one)[0], SHOWN_MS + 9, "click", 1.0, "r1")])
    store.close()
    target = workspace / "shown.parquet"
    done = CliRunner().invoke(main, ["records", "export", str(workspace), str(target)])
    assert done.exit_code == 0, done.output
    assert f"4 items shown, 1 with an event (click 1), 0 other events in {target}" in done.stdout
    assert of(pq.read_table(target).to_pylist(), shown_to(one)[0])["click"] == 1.0


@pytest.mark.parametrize("temperature", [0.05, 10.0])
def test_what_another_list_would_have_been_worth_is_estimated_without_bias(draft, report, tmp_path, temperature, log):
    """Click probabilities are known; what is estimated from the log for another policy agrees with its true worth.

    The other policy shows one of the four items of lowest value among the candidates, which only exploration shows.
    """
    surfaces = {
        "home": {"weights": {"watch": 1.0}, "exploration": {"share": 0.5, "slots": 2, "temperature": temperature}}
    }
    recommender = Recommender(publish(draft, report, tmp_path / "release", surfaces=surfaces), threads=1)
    base = record(recommender, Query(user="u03", k=4), "base")
    true_I = np.linspace(0.1, 0.9, 20)
    wanted = base.places_C[np.argsort(base.values_C)[:4]]
    random, records, events = np.random.default_rng(5), [], []
    found = Candidates(base.places_C, base.fused_C, base.sources_CS, base.sources)
    for number in range(4000):
        query = replace(base.query, request=f"r{number}")
        rows, _ = recommender.reranker.pick(found, base.values_C, query)
        list_ = recommender.reranker.explore(rows, found, base.values_C, query)
        numbers = Numbers(
            base.names, base.raw_CT, base.scores_CT, base.values_C, list_.rows_K, list_.propensity_K, list_.drawn_K
        )
        query = replace(query, user=f"v{number}")
        records.append(replace(base, request_id=f"r{number}", query=query, **candidate_arrays(found, numbers)))
        for place in base.places_C[list_.rows_K]:
            if random.random() < true_I[place]:
                events.append(
                    Event(f"e{len(events)}", f"v{number}", f"i{place:02d}", SHOWN_MS, "click", 1.0, f"r{number}")
                )
    log.append(events)
    write_records(tmp_path / "records", recommender, records)
    export_impressions(
        tmp_path / "records", log, tmp_path / "out.parquet", Rules(recommender.reranker.recipe, SHOWN_MS + DAY)
    )
    table = pq.read_table(tmp_path / "out.parquet")
    ids = [f"i{place:02d}" for place in wanted]
    reward_N, chance_N = (table.column(name).to_numpy() for name in ("got_click", "chance"))
    target_N = np.isin(table.column("item_id").to_pylist(), ids) / 4
    logged = Logged(reward_N, chance_N, target_N)
    truth = float(true_I[wanted].mean())
    assert logged.weight_N.mean() == pytest.approx(1.0, abs=0.12)
    assert snips(logged) == pytest.approx(truth, abs=0.06)
    assert ips(logged) == pytest.approx(truth, abs=0.1)
    assert clipped_ips(logged, 1e9) == ips(logged)
    assert abs(reward_N.mean() - truth) > 0.02
