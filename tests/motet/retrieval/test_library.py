"""The sources of a bundle are those that the recipe names, over the files of the bundle."""

from pathlib import Path

import numpy as np
import pytest

from motet.data.split import TEST
from motet.retrieval.catalogue import ItemTable
from motet.retrieval.library import load_sources
from motet.retrieval.pairs import Fading
from motet.retrieval.state import Candidates
from tests.builders import ITEMS, Tiny


def test_all_sources_of_the_recipe_in_its_order(tiny: Tiny, draft: Path) -> None:
    sources = load_sources(draft, tiny.recipe, ItemTable.load(draft))
    assert tuple(sources) == tiny.recipe.retrieval.sources
    assert sources["profile"].uses_content
    assert not sources["vectors"].uses_content
    assert sources["transitions"].fading == Fading.of(tiny.recipe.retrieval)
    assert sources["item_knn"].fading is None


@pytest.mark.parametrize("only", [("item_knn",), ("popularity", "user_knn"), ()])
def test_only_those_that_are_asked_for(tiny: Tiny, draft: Path, only: tuple[str, ...]) -> None:
    assert set(load_sources(draft, tiny.recipe, ItemTable.load(draft), only)) == set(only)


def test_user_knn_knows_what_each_user_met_before_the_test(tiny: Tiny, draft: Path) -> None:
    source = load_sources(draft, tiny.recipe, ItemTable.load(draft))["user_knn"]
    expected = np.zeros((12, ITEMS))
    for row, items in enumerate(tiny.before(TEST)):
        expected[row, items] = 1
    np.testing.assert_array_equal(source.says_UI.toarray(), expected)


def test_candidates_name_the_sources_that_listed_them() -> None:
    scores = np.array([[0.5, np.nan], [0.0, 2.0]])
    candidates = Candidates(np.array([7, 3]), np.array([-0.1, -2.0]), scores, ("one", "two"))
    assert (candidates.found_by(0), candidates.found_by(1)) == (["one"], ["one", "two"])
    taken = candidates.take(np.array([1]))
    assert (taken.places_C.tolist(), taken.fused_C.tolist(), taken.found_by(0)) == ([3], [-2.0], ["one", "two"])
