"""The README's recipe is valid, its links lead somewhere, its targets exist."""

import re
from pathlib import Path

import pytest

from motet.recipe_file import load_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def test_the_recipe_of_the_readme_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "shop.yaml").write_text(block)
    recipe = load_recipe(tmp_path / "shop.yaml").recipe
    assert [task.name for task in recipe.tasks] == ["next", "coupon", "quantity"]
    assert not recipe.excludes_seen
    assert len(block.splitlines()) <= 25


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_targets_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in link:
            assert ((ROOT / page).parent / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+(?:-[a-z]+)*)(?= |`|$)", text, re.MULTILINE)) <= targets | {"sure"}
    assert not re.search(r"\b(TODO|FIXME|MEASURED|ANSWER)\b", text)
