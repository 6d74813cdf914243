"""Held-out rows and what networks say about them: the figures of validation come out of them again."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from motet.data.split import TEST, VALIDATION
from motet.evaluation.doctor_metrics import Rows, statistic
from motet.evaluation.doctor_scores import held_rows, score_rows
from motet.recipe import Recipe
from motet.training.validation import validate
from tests.builders import Tiny, recipe_dict


@pytest.fixture(scope="module")
def trained(tiny):
    return tiny.train()[0].step_module


def rows_of(tiny, part):
    return held_rows(tiny.histories, tiny.users, part, tiny.recipe.model.history, tiny.text, None)


def scores_of(tiny, networks, part):
    return score_rows(rows_of(tiny, part), networks, tiny.names, tiny.recipe.model.history, tiny.recipe.excludes_seen)


def test_held_rows_of_validation_are_those_of_training(tiny):
    held = rows_of(tiny, VALIDATION)
    # As text, in which NaN is equal to itself.
    assert str(held.drop_columns(["user", "met"]).to_pydict()) == str(tiny.held.to_pydict())
    assert held.column("user").to_pylist() == tiny.histories.column("user").to_pylist()


def test_of_test_the_validation_events_are_known(tiny):
    before, after = rows_of(tiny, VALIDATION), rows_of(tiny, TEST)
    known = [len(row) for row in tiny.before(TEST)]
    assert after.column("met").to_pylist() == known
    assert before.column("met").to_pylist() == [n - 1 for n in known]
    assert [row[0] for row in after.column("targets").to_pylist()] == [
        row["items"][-1] for row in tiny.histories.to_pylist()
    ]


def test_scores_give_the_metrics_of_validation(tiny, trained):
    """The same network over the same rows, so AUC, RMSE and NDCG agree with `validation.validate`."""
    table = scores_of(tiny, {"a": trained}, VALIDATION)
    expected = validate(trained, tiny.validation(), torch.device("cpu"), tiny.recipe.excludes_seen)
    users_N = np.unique(table.column("user").to_pylist(), return_inverse=True)[1]
    for name, kind, metric in (
        ("watch", "retrieval", "ndcg"),
        ("like", "binary", "auc"),
        ("rating", "regression", "rmse"),
    ):
        rows = Rows(users_N, table.column(f"label:{name}").to_numpy(), np.full(len(users_N), -1))
        places = rows.known()
        chosen = rows.at(places)
        said = statistic(kind, chosen, table.column(f"a:{name}").to_numpy()[places])
        found = said(np.ones((1, int(chosen.users_N.max()) + 1)))[0]
        assert found == pytest.approx(expected[f"{name}.{metric}"], abs=1e-5), name


def test_each_network_has_its_own_columns_over_the_same_rows(tiny, trained):
    other = tiny.trainer().step_module
    table = scores_of(tiny, {"a": trained, "b": other}, TEST)
    alone = scores_of(tiny, {"b": other}, TEST)
    assert table.num_rows == alone.num_rows == 12
    for name in ("watch", "like", "rating"):
        assert table.column(f"b:{name}").equals(alone.column(f"b:{name}"))
    assert not table.column("a:like").equals(table.column("b:like"))
    places = table.column("a:watch").to_numpy()
    assert set(places) <= set(range(11))


def test_what_cannot_be_recommended_is_no_target(tiny, trained):
    """A target that the user has met is unknown to retrieval if repeats are left out, and keeps its labels."""
    held = rows_of(tiny, TEST)
    targets = [row[0] for row in held.column("targets").to_pylist()]
    met = [[*seen, target] if n == 0 else seen for n, (seen, target) in
           enumerate(zip(held.column("seen").to_pylist(), targets, strict=True))]  # fmt: skip
    again = held.set_column(
        held.column_names.index("seen"), held.schema.field("seen"), pa.array(met, pa.list_(pa.int32()))
    )
    for excludes, expected in ((True, 11), (False, 12)):
        table = score_rows(again, {"a": trained}, tiny.names, tiny.recipe.model.history, excludes)
        assert int((~np.isnan(table.column("label:watch").to_numpy())).sum()) == expected
    assert score_rows(again, {"a": trained}, tiny.names, 6, True).column("a:watch")[0].as_py() == 0


def test_a_recipe_with_retrieval_alone(encoder_folder):
    tasks = {"tasks": [{"name": "watch", "kind": "retrieval"}], "surfaces": {"home": {"weights": {"watch": 1.0}}}}
    tiny = Tiny(Recipe.model_validate(recipe_dict(str(encoder_folder)) | tasks))
    table = scores_of(tiny, {"a": tiny.trainer().step_module}, TEST)
    assert table.column_names == ["user", "item", "met", "label:watch", "a:watch"]
