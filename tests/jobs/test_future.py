"""No future in the whole pipeline: two logs that differ after the first test event only give the same draft.

The planted signal: in the second log everybody takes one item in the test part, again and again, and likes it.
"""

import numpy as np
import pytest
from safetensors.numpy import load_file

from jobs.pipeline import run_pipeline
from jobs.stages import Run, claim_workspace
from motet.data.parquet import read_parquet
from motet.data.split import TEST, TRAIN
from motet.recipe_file import load_recipe
from tests.synthetic import events, items, recipe, users, write_csv, write_recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_here")]
SPLIT = {"kind": "time", "validation": 0.15, "test": 0.15}
RETRIEVAL = {"trees": {"rounds": 10, "rows_per_leaf": 5, "threads": 1}, "moments": 2}
RETRIEVAL |= {"sources": ["item_knn", "transitions", "user_knn", "ease", "popularity", "popularity_segment"]}


def _draft(folder, encoder, part):
    """Return the draft of a log in which events of a part (of train every second) are of one item, all liked."""
    rows = sorted(events(), key=lambda row: row["timestamp"])
    ends = {TRAIN: slice(0, 560, 2), TEST: slice(680, 800)}
    for row in rows[ends[part]] if part is not None else ():
        row |= {"item_id": "i11", "rating": 5}
    write_csv(folder / "events.csv", rows)
    write_csv(folder / "items.csv", items())
    write_csv(folder / "users.csv", users())
    content = recipe(folder, encoder)
    content["data"]["split"] = SPLIT
    content["data"]["interactions"]["repeats"] = "keep"
    content["train"] |= {"epochs": 2, "threads_per_worker": 1}
    content["retrieval"] |= RETRIEVAL
    run = Run(load_recipe(write_recipe(folder / "shop.yaml", content)))
    claim_workspace(run)
    results = run_pipeline(run, "index")
    parts = [part for row in read_parquet(results["prepare"].folder / "histories").column("parts").to_pylist()
             for part in row]  # fmt: skip
    assert parts.count(TEST) == 120
    return results["index"].folder


def _same(one, other):
    """Say whether all that was fitted is equal."""
    left, right = (load_file(folder / "model.safetensors") for folder in (one, other))
    close = left.keys() == right.keys() and all(
        left[name].shape == right[name].shape and np.allclose(left[name], right[name], atol=1e-5) for name in left
    )
    texts = [(folder / "trees.txt").read_text() for folder in (one, other)]
    calibrators = [(folder / "calibrators.json").read_text() for folder in (one, other)]
    tables = [
        [read_parquet(folder / name).to_pydict() for name in ("neighbours.parquet", "trends.parquet", "met.parquet")]
        for folder in (one, other)
    ]
    return close, texts[0] == texts[1], calibrators[0] == calibrators[1], tables[0] == tables[1]


def test_a_changed_test_part_changes_nothing_that_is_fitted(tmp_path, encoder_folder):
    folders = {}
    for name, part in (("as it is", None), ("future", TEST), ("past", TRAIN)):
        (tmp_path / name).mkdir()
        folders[name] = _draft(tmp_path / name, encoder_folder, part)
    assert _same(folders["as it is"], folders["future"]) == (True,) * 4
    assert _same(folders["as it is"], folders["past"]) == (False,) * 4  # so a change of what is read is seen
