"""Weights of another network: found by name for items and categories; or a line that says why not."""

import pytest
import torch

from motet.data.features import CategoryFeature, FeatureSpec
from motet.errors import TrainingError
from motet.model.warm import OldRows, carry_over
from tests.builders import Tiny


def spec(*vocabulary: str, column: str = "colour") -> FeatureSpec:
    return FeatureSpec(categories=(CategoryFeature(name=column, offset=1, vocabulary=vocabulary, fill=1),))


def test_rows_are_found_by_name():
    rows = OldRows.of(
        (["a", "b", "c"], ["b", "x", "a"]), (spec("red", "blue"), spec("blue", "green", "red")), (spec(), spec())
    )
    assert rows.items.tolist() == [0, 2, -1, 1]
    assert rows.item_slots.tolist() == [0, 1, 3, -1, 2]
    assert rows.user_slots.tolist() == [0, 1]
    other = OldRows.of(([], []), (spec("red"), spec("red", column="size")), (spec(), spec()))
    assert other.item_slots.tolist() == [0, -1, -1]


@pytest.fixture
def networks(tiny):
    """(trained weights, a fresh network of the same shape)."""
    model = tiny.train()[0].step_module.model
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    weights["items.ids.weight"] = torch.arange(21 * 8, dtype=torch.float32).view(21, 8)
    return weights, tiny.card.build()


def test_a_network_of_the_same_data_is_the_old_one(tiny, networks):
    weights, model = networks
    ids, item, user = tiny.items.column("item").to_pylist(), tiny.spec("items"), tiny.spec("users")
    assert carry_over(model, weights, OldRows.of((ids, ids), (item, item), (user, user))) == 20
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_moved_items_keep_their_rows_and_new_ones_are_fresh(tiny, networks):
    weights, model = networks
    ids, item, user = tiny.items.column("item").to_pylist(), tiny.spec("items"), tiny.spec("users")
    now = ["new", *ids[1:][::-1]]
    assert carry_over(model, weights, OldRows.of((ids, now), (item, item), (user, user))) == 19
    ids_ID = model.items.ids.weight
    assert ids_ID[1].tolist() == [0.0] * 8
    assert torch.equal(ids_ID[2:], weights["items.ids.weight"][2:].flip(0))
    assert torch.equal(ids_ID[0], weights["items.ids.weight"][0])


def test_another_build_is_refused_with_both_shapes(tiny, networks):
    weights, _ = networks
    wide = Tiny.of(tiny.recipe.encoder.model, model={"expert_dim": 16}).card.build()
    ids, item, user = tiny.items.column("item").to_pylist(), tiny.spec("items"), tiny.spec("users")
    rows = OldRows.of((ids, ids), (item, item), (user, user))
    with pytest.raises(
        TrainingError, match=r"experts\..* is \(.*16.*\) in this recipe's network, and in the current rele"
    ):
        carry_over(wide, weights, rows)
    ple = Tiny.of(tiny.recipe.encoder.model, model={"experts": "ple"}).card.build()
    with pytest.raises(TrainingError, match=r"in the current release's it has none; run jobs/pipeline\.py"):
        carry_over(ple, weights, rows)
