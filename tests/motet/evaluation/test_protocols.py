"""Named protocols: what they make of a recipe, and that others are refused."""

from pathlib import Path

import pytest
import yaml

from motet.data_settings import Split
from motet.errors import RecipeError
from motet.evaluation.protocols import NAMED, protocol_overrides
from motet.recipe_file import load_recipe
from tests.builders import recipe_dict


@pytest.mark.parametrize(
    ("name", "kind", "history"),
    [("time", "time", "parts"), ("leave-one-out", "leave_one_out", "parts"), ("ratings", "random", "before")],
)
@pytest.mark.parametrize(
    "own",
    [
        {"kind": "column", "column": "fold"},
        {"kind": "time", "validation": 0.2, "test": 0.05},
        {"kind": "random"},
        {"kind": "leave_one_out"},
    ],
)
def test_the_protocol_decides_whatever_the_recipe_says(
    tmp_path: Path, name: str, kind: str, history: str, own: dict[str, object]
) -> None:
    content = recipe_dict("m") | {"evaluate": {"history": "rolling", "least_history": 3, "k": 7}}
    content["data"]["split"] = own
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    before = load_recipe(tmp_path / "r.yaml").recipe
    found = load_recipe(tmp_path / "r.yaml", protocol_overrides(name, before.data.split)).recipe
    assert (found.data.split.kind, found.evaluate.history, found.evaluate.least_history) == (kind, history, 0)
    shares = ("validation", "test")
    assert [getattr(found.data.split, one) for one in shares] == [getattr(before.data.split, one) for one in shares]
    same = {"data": {"split": before.data.split}, "evaluate": before.evaluate}
    assert found.model_copy(
        update={"data": found.data.model_copy(update=same["data"]), "evaluate": before.evaluate}
    ) == (before)


def test_a_log_that_ends_early_still_does_by_time_only() -> None:
    split = Split(until=0.7)
    assert '"until": 0.7' in protocol_overrides("time", split)[0]
    assert "until" not in protocol_overrides("ratings", split)[0]


@pytest.mark.parametrize("name", ["", "Time", "leave_one_out", "random"])
def test_others_are_refused_with_the_list(name: str) -> None:
    with pytest.raises(RecipeError, match=f"--protocol {name} is not a protocol; protocols: {', '.join(NAMED)}"):
        protocol_overrides(name, Split())
