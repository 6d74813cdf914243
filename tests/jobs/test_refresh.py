"""What was shown and done becomes training data, and a refresh makes the next release of it."""

import json
import time
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from jobs.embed import embed
from jobs.pipeline import run_pipeline
from jobs.prepare import prepare
from jobs.refresh import command, refresh
from jobs.stages import Run, claim_workspace
from jobs.train import read_metrics, train
from motet.data.parquet import read_parquet
from motet.errors import DataError, RecipeError, ReleaseError
from motet.events.event import Event
from motet.events.segments import Segments
from motet.inputs import check_inputs
from motet.model.io import load_model
from motet.recipe_file import load_recipe
from motet.recommend import Query, Recommender
from motet.records.impressions import Rules, export_impressions
from motet.records.replay import record_of
from motet.records.table import to_table, write_table
from motet.release.publish import Releases
from tests.synthetic import recipe as shop_recipe
from tests.synthetic import write_recipe, write_shop

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.slow]
OPEN = {"max_drop": 1.0, "max_slice_drop": 1.0, "max_below_popularity": 1.0}
SMALL = {"moments": 1, "candidates": 30, "neighbours": 20, "trees": {"rounds": 10, "rows_per_leaf": 5}}


@pytest.fixture(scope="module")
def released(tmp_path_factory, encoder_folder, ray_here):
    """(folder, recipe's file, release) of a quick pipeline over the shop."""
    folder = tmp_path_factory.mktemp("refresh")
    content = shop_recipe(
        folder,
        encoder_folder,
        retrieval=SMALL,
        release=OPEN,
    )
    content["train"] |= {"epochs": 4, "refit": True}
    content["encoder"] |= {"max_tokens": 8}
    write_shop(folder, encoder_folder)
    file = write_recipe(folder / "shop.yaml", content)
    run = Run(load_recipe(file))
    claim_workspace(run)
    return folder, file, run_pipeline(run)["release"]


NOW_MS = round(time.time() * 1000) - 3 * 86_400_000


def shown(release: Path, folder: Path) -> list[tuple[str, str, list[str]]]:
    """(request, user, items) of twelve lists, logged in a folder."""
    recommender, records, lists = Recommender(release, threads=1), [], []
    for number in range(12):
        query = Query(user=f"u{number}", k=5, request=f"r{number}")
        one = record_of(recommender, query, release.name, NOW_MS)
        records.append(one)
        ids, order = recommender.embedder.items.ids, (-one.values_C).argsort(kind="stable")[:5]
        lists.append((f"r{number}", f"u{number}", [ids[place] for place in one.places_C[order]]))
    ids = pa.array(recommender.embedder.items.ids)
    write_table(folder / "a.parquet", to_table(records, lambda _: ids))
    return lists


def test_prepare_reads_what_was_shown_and_training_learns_from_it(released, tmp_path):
    """12 lists of 5: of each the first is clicked, and of that of u0 the second is rated; the ledger is balanced."""
    folder, file, release = released
    lists = shown(release.folder, tmp_path / "records")
    store = Segments(tmp_path / "events")
    store.append([Event(f"c{r}", u, items[0], NOW_MS + 1000, "click", 1.0, r) for r, u, items in lists])
    store.append([Event("rated", "u0", lists[0][2][1], NOW_MS + 2000, "rating", 5.0, "r0")])
    store.append([Event("alone", "someone", "i3", NOW_MS + 2 * 86_400_000, "click", 1.0)])
    store.close()
    tasks = [
        *shop_recipe(folder, Path("x"))["tasks"],
        {"name": "click", "kind": "binary", "label": "got_click > 0", "delay_days": 1.0},
    ]
    changes = [
        f"tasks={json.dumps(tasks)}",
        "train.epochs=1",
        "train.refit=false",
        "data.interactions.propensity=chance",
    ]
    with pytest.raises(RecipeError, match=r"events\.csv has no column 'got_click'"):
        check_inputs(load_recipe(file, changes))
    target = tmp_path / "shown.parquet"
    recipe = load_recipe(file, changes).recipe
    found = export_impressions(tmp_path / "records", store, target, Rules(recipe, NOW_MS + 2 * 86_400_000))
    assert (found.shown, found.answered, found.alone) == (60, 13, 1)
    loaded = load_recipe(file, [*changes, f"data.interactions.records={target}", f"workspace={tmp_path}/w"])
    check_inputs(loaded)
    run = Run(loaded)
    claim_workspace(run)
    prepared = prepare(run)
    ledger = json.loads((prepared.folder / "ledger.json").read_text())["interactions"]
    assert (ledger["read"], ledger["quarantined"]) == (800 + 61, 0)
    assert ledger["read"] == ledger["kept"] + ledger["merged"] + ledger["quarantined"]
    rows = {(row["user"], row["item"]): row for row in read_parquet(prepared.folder / "interactions").to_pylist()}
    _, user, items = lists[0]
    clicked, rated, passed = (rows[user, item] for item in items[:3])
    assert [one["label:click"] for one in (clicked, rated, passed)] == [1.0, 0.0, 0.0]
    assert [one["label:like"] for one in (clicked, rated, passed)] == [None, 1.0, None]
    assert rated["timestamp"] == NOW_MS + 2000
    old = [row for row in rows.values() if row["timestamp"] < NOW_MS]
    assert {row["label:click"] for row in old} == {None}
    chances = read_parquet(prepared.folder / "histories").column("propensities").combine_chunks().flatten()
    assert chances.drop_null().to_pylist() == [0.2] * 60
    trained = train(run, prepared, embed(run, prepared))
    assert read_metrics(trained.folder)[0]["losses"]["click"] > 0


def test_a_records_file_that_is_not_there_is_named(released, tmp_path):
    _, file, _ = released
    loaded = load_recipe(file, [f"data.interactions.records={tmp_path}/nothing.parquet"])
    with pytest.raises(RecipeError, match=r"--set data\.interactions\.records.*nothing\.parquet: no such file"):
        check_inputs(loaded)


def test_nothing_new_leaves_the_release(released, capsys):
    folder, file, release = released
    assert refresh(str(file), []) is None
    assert f"refresh: nothing came since release {release.id}; it stays" in capsys.readouterr().err
    assert Releases(folder / "workspace").current_id() == release.id


def test_a_refresh_knows_the_new_users_and_goes_on_from_the_release(released, capsys):
    folder, file, release = released
    before = Recommender(release.folder, threads=1)
    store = Segments(folder / "workspace" / "events")
    events = [
        Event(f"{user}-{n}", user, f"i{2 * n}", NOW_MS + 1000 * n, "rating", 5.0)
        for user in ("new1", "new2", "u3") for n in range(8)
    ]  # fmt: skip
    store.append(events)
    store.close()
    assert before.embedder.run([Query(user="new1")])[0].level == "popular"
    done = refresh(str(file), [], epochs=2)
    said = capsys.readouterr().err
    assert f"refresh: 24 events of 3 users since release {release.id}" in said
    assert f"train: goes on from release {release.id}, which knows 30 of the 30 items" in said
    stages = [stage for stage in ("prepare", "embed", "train", "index", "evaluate") if f"\n{stage}: " in said]
    assert stages == ["prepare", "embed", "train", "index", "evaluate"]
    assert done.id != release.id
    assert Releases(folder / "workspace").current_id() == done.id
    after = Recommender(done.folder, threads=1)
    state = after.embedder.run([Query(user="new1")])[0]
    assert (state.level, len(state.items_S)) == ("known", 8)
    report = json.loads((done.folder / "report" / "report.json").read_text())
    assert len(report["training"]) == 2
    rows = sum(epoch["rows"] for epoch in report["training"]) / 2
    assert 0 < rows < 60  # of three users, not of 42
    near, far = (
        sum(float((one - other).abs().sum()) for one, other in zip(*weights, strict=True))
        for weights in (_weights(release, done), _weights(release, None))
    )
    assert near < 0.5 * far


def _weights(first, second):
    """The shared weights of two releases; those of a fresh network if there is no second."""
    model, card = load_model(first.folder)
    other = load_model(second.folder)[0] if second is not None else card.build()
    return [dict(one.named_parameters())["items.adaptor.0.weight"].detach()[None] for one in (model, other)]


def test_the_gate_compares_with_the_release_before(released):
    """The bar is the current release: with none of its NDCG to lose, a worse one is refused and it stays."""
    folder, file, _ = released
    store = Segments(folder / "workspace" / "events")
    store.append([Event(f"gate-{n}", "new3", f"i{2 * n + 1}", NOW_MS + 9000 + n, "rating", 1.0) for n in range(6)])
    store.close()
    current = Releases(folder / "workspace").current_id()
    worse = ["release.max_drop=0.0", "train.learning_rate=5.0", "surfaces.home.weights={watch: -1.0}"]
    with pytest.raises(ReleaseError, match=r"the gate refuses this release: NDCG .*, the current one has"):
        refresh(str(file), worse, epochs=1)
    assert Releases(folder / "workspace").current_id() == current


def test_mistakes_are_one_line(released, tmp_path):
    _, file, _ = released
    with pytest.raises(DataError, match=r"serve\.events\.store is none, so there is nothing to refresh from"):
        refresh(str(file), ["serve.events.store=none"])
    result = CliRunner().invoke(command, [str(file), "--set", f"workspace={tmp_path}/empty"])
    assert result.exit_code == 2
    assert "has no current release; run jobs/pipeline.py RECIPE first" in result.stderr
