"""Every recipe of the repository is one that the loader takes."""

from pathlib import Path

import pytest

from motet.recipe_file import load_recipe

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_has_a_workspace_of_its_own(path: Path) -> None:
    recipe = load_recipe(str(path), []).recipe
    others = [load_recipe(str(one), []).recipe for one in (ROOT / "recipes").glob("*.yaml") if one != path]
    assert recipe.name not in {other.name for other in others}
    assert recipe.workspace not in {other.workspace for other in others}
