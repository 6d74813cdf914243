"""Every recipe of the repository is one that the loader takes."""

from pathlib import Path

import pytest
import yaml

from motet.recipe_file import load_recipe

ROOT = Path(__file__).resolve().parents[2]
ALL = sorted((ROOT / "recipes").glob("*.yaml"))
OWN = [path for path in ALL if "name" in yaml.safe_load(path.read_text())]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_has_a_workspace_of_its_own(path: Path) -> None:
    recipe = load_recipe(str(path), []).recipe
    others = [load_recipe(str(one), []).recipe for one in OWN if one != path]
    assert recipe.name not in {other.name for other in others}
    assert recipe.workspace not in {other.workspace for other in others}


@pytest.mark.parametrize("path", [path for path in ALL if path not in OWN], ids=lambda path: path.stem)
def test_a_recipe_that_extends_another_under_its_name_works_in_its_workspace(path: Path) -> None:
    base = load_recipe(path.parent / yaml.safe_load(path.read_text())["extends"]).recipe
    recipe = load_recipe(path).recipe
    assert (recipe.name, recipe.workspace) == (base.name, base.workspace)
