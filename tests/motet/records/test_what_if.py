"""What if: nothing changes with the surface's own weights, and by how much lists change with others, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from motet.cli import main
from motet.errors import DataError, RequestError
from motet.ranking.value import values
from motet.recommend import Query, Recommender
from motet.records.record import query_to_json
from motet.records.what_if import spearman, what_if
from motet.release.publish import Releases
from tests.motet.records.makers import record, rows_of, write_records
from tests.serve.graphs import publish

QUERIES = [Query(user=f"u{n:02d}", k=4, surface="home") for n in range(10)]


@pytest.fixture(scope="module")
def rows(recommender):
    return rows_of(recommender, [record(recommender, query, f"r{n}") for n, query in enumerate(QUERIES)])


def test_with_the_surfaces_own_weights_nothing_changes(recommender, rows):
    for weights in ({}, {"watch": 1.0, "like": 0.1}):
        found = what_if(rows, lambda _: recommender.reranker, weights, 1)
        assert (found.requests, found.lists_changed, found.items_changed) == (10, 0.0, 0.0)
        assert (found.overlap, found.length) == (4.0, 4.0)
        assert found.rank_correlation == pytest.approx(1.0)
        for change in found.scores.values():
            assert (change.after, change.low, change.high) == (change.before, 0.0, 0.0)


def test_nothing_changes_under_diversity_caps_and_exploration_either(draft, report, tmp_path):
    surfaces = {"home": {"weights": {"watch": 1.0, "like": 0.1}, "caps": {"colour": 2}, "exploration": {"share": 1.0}}}
    folder = publish(draft, report, tmp_path, ranking={"diversity": 0.4}, surfaces=surfaces)
    other = Recommender(folder, threads=1)
    records = [record(other, query, f"r{n}") for n, query in enumerate(QUERIES)]
    assert all(one.drawn_C.any() for one in records)
    found = what_if(rows_of(other, records), lambda _: other.reranker, {}, 1)
    assert (found.requests, found.lists_changed) == (10, 0.0)


def test_an_item_that_nobody_knows_any_more(recommender, rows):
    lost = {**rows[0], "candidates": [{**rows[0]["candidates"][0], "item": "gone"}, *rows[0]["candidates"][1:]]}
    found = what_if([lost, *rows[1:]], lambda _: recommender.reranker, {}, 1)
    assert (found.requests, found.lists_changed) == (9, 0.0)
    assert found.left_out == {"it had an item that neither its release nor the item log knows": 1}


def test_other_weights_give_the_lists_that_a_request_with_them_gets(recommender, rows):
    """`like` alone: the new lists are those of a query with these weights, and so are the means."""
    found = what_if(rows, lambda _: recommender.reranker, {"watch": 0.0, "like": 1.0}, 1)
    both, same, before, after = [], [], [], []
    for query in QUERIES:
        one = record(recommender, query, "r")
        other = record(recommender, replace(query, weights={"like": 1.0, "watch": 0.0}), "r")
        lists = [each.places_C[each.position_C > 0] for each in (one, other)]
        both.append(len(np.intersect1d(*lists)))
        ordered = [
            each.places_C[np.argsort(np.where(each.position_C > 0, each.position_C, 99))[:4]] for each in (one, other)
        ]
        same.append(ordered[0].tolist() == ordered[1].tolist())
        column = one.names.index("like")
        for means, each in ((before, one), (after, other)):
            means.append(float(each.scores_CT[each.position_C > 0, column].mean()))
    assert found.overlap == pytest.approx(np.mean(both))
    assert found.items_changed == pytest.approx(1 - np.mean(both) / 4)
    assert found.lists_changed == pytest.approx(1 - np.mean(same))
    change = found.scores["like"]
    assert (change.before, change.after) == pytest.approx((np.mean(before), np.mean(after)))
    assert 0 < change.low <= change.after - change.before <= change.high
    assert found.scores["watch"].after <= found.scores["watch"].before
    assert found.rank_correlation < 1


def test_values_of_a_record_are_those_of_its_scores(recommender, rows):
    one = record(recommender, QUERIES[0], "r")
    scores = {name: one.scores_CT[:, column] for column, name in enumerate(one.names)}
    assert values(scores, {"watch": 1.0, "like": 0.1}).tolist() == one.values_C.tolist()


def test_rank_correlation_by_hand():
    assert spearman(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1.0)
    assert spearman(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(0.5)
    assert spearman(np.array([1.0, 2, 3]), np.zeros(3)) is None


def test_what_cannot_be_compared_is_left_out_and_counted(recommender, rows):
    own = record(recommender, replace(QUERIES[0], weights={"like": 1.0}), "own")
    low = replace(record(recommender, QUERIES[0], "low"), level="retrieval")
    gone = record(recommender, QUERIES[0], "gone", release="gone")
    more = [*rows, *rows_of(recommender, [own, low, gone])]
    found = what_if(more, {"r1": recommender.reranker}.get, {"like": 3.0}, 1)
    assert found.requests == 10
    assert found.left_out == {
        "asked with weights of its own": 1, "answered at level retrieval": 1, "its release is gone": 1
    }  # fmt: skip
    with pytest.raises(DataError, match=r"no logged request can be compared; left out: \{'its release is gone': 10\}"):
        what_if(rows, lambda _: None, {}, 1)
    with pytest.raises(RequestError, match=r"--set lik: no score of that name; this release has \['watch', 'like'"):
        what_if(rows, lambda _: recommender.reranker, {"lik": 1.0}, 1)


@pytest.fixture
def logged(workspace, recommender):
    name = Releases(workspace).current_id()
    records = [record(recommender, query, f"r{n}", release=name) for n, query in enumerate(QUERIES)]
    write_records(workspace / "recommendations", recommender, records)
    return workspace


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_says_it_in_words(logged):
    shown = run("whatif", logged, "--surface", "home")
    assert shown.exit_code == 0, shown.output
    assert "surface home with its own weights: 10 requests, lists of 4.0" in shown.stdout
    assert "0.0% of the items leave their list (4.0 are in both), 0.0% of the lists change" in shown.stdout
    shown = run("whatif", logged, "--set", "like=50", "--set", "watch=0")
    assert "with like 50, watch 0: 10 requests" in shown.stdout
    assert "95 % interval" in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--set", "lik=2"],
            "RequestError: --set lik: no score of that name; this release has ['watch', 'like', 'rating']",
        ),
        (["--set", "like"], "RequestError: --set like: not a weight; write the score's name and a number, as like=2"),
        (["--set", "like=inf"], "RequestError: --set like=inf: not a weight; write the score's name and a number"),
        (["--surface", "away"], "RequestError: surface: unknown; this release has ['home', 'ratings', 'reds']"),
        (["--surface", "reds"], "DataError: no logged request can be compared; left out: there is none"),
    ],
)
def test_mistakes_are_one_line(logged, words, said):
    shown = run("whatif", logged, *words)
    assert shown.exit_code == 2
    assert shown.stderr.startswith(said)


def test_a_workspace_without_records_says_so(workspace):
    shown = run("whatif", workspace)
    assert shown.exit_code == 2
    assert "holds no records; serve a release with serve.records.store = parquet" in shown.stderr


def test_weights_that_a_surface_had_while_it_served_are_its_own(recommender):
    """A request of a surface whose weights were changed is compared with them, not with the recipe's."""
    changed = replace(QUERIES[0], surface_weights={"like": 1.0})
    rows = rows_of(recommender, [record(recommender, changed, "changed")])
    found = what_if(rows, lambda _: recommender.reranker, {}, 1)
    assert (found.requests, found.lists_changed, found.left_out) == (1, 0.0, {})
    assert what_if(rows, lambda _: recommender.reranker, {"like": -1.0}, 1).lists_changed == 1.0


def test_a_filter_that_is_called_weights_is_no_weights(recommender, rows):
    (row,) = rows_of(recommender, [record(recommender, QUERIES[0], "filtered")])
    named = query_to_json(replace(QUERIES[0], filters={"weights": ("heavy",)}))
    found = what_if([*rows, {**row, "query": named}], lambda _: recommender.reranker, {}, 1)
    assert (found.requests, found.left_out) == (11, {})
