"""index and evaluate: neighbours against brute force, shards, the bundle's users, the report."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jobs import collaborative
from jobs.asking import held_out_users, load_recommender
from jobs.fusing import past_of
from motet.data.parquet import read_parquet, write_parquet
from motet.data.split import TEST
from motet.encoders.whitening import Whitening
from motet.errors import RetrievalError
from motet.retrieval.index import VectorIndex, require_recall
from motet.retrieval.trends import Trends
from motet.settings import IndexSettings

pytestmark = pytest.mark.usefixtures("ray_here")


def met_before_test(results):
    histories = read_parquet(results["prepare"].folder / "histories").to_pylist()
    return [[item for item, part in zip(row["items"], row["parts"], strict=True) if part < TEST] for row in histories]


def test_neighbours_are_those_of_brute_force(shop):
    """cosine(i, j) = users of both / (sqrt(users of i x users of j) + shrinkage of 10)."""
    _, results, _ = shop
    met = np.zeros((40, 30))
    for row, items in enumerate(met_before_test(results)):
        met[row, items] = 1
    both, users = met.T @ met, met.sum(0)
    expected = both / (np.sqrt(np.outer(users, users)) + 10)
    table = read_parquet(results["index"].folder / "neighbours.parquet").to_pylist()
    pairs = [row for row in table if row["kind"] == "item_knn"]
    assert {row["item"] for row in pairs} == set(range(30))
    for row in pairs:
        assert row["item"] != row["other"]
        assert row["weight"] == pytest.approx(expected[row["item"], row["other"]], rel=1e-5)
    for item in range(30):
        own = [row["weight"] for row in pairs if row["item"] == item]
        order = np.sort(np.delete(expected[item], item))[::-1]
        np.testing.assert_allclose(own, order[order > 0][:20], rtol=1e-5)


def test_popularity_halves_every_half_life(shop):
    """Within the length of a bin, 55 minutes, of the exact moments."""
    run, results, _ = shop
    days = run.recipe.retrieval.popularity_half_life_days
    assert days == 7
    histories = read_parquet(results["prepare"].folder / "histories").to_pylist()
    events = [
        (item, moment)
        for row in histories
        for item, moment, part in zip(row["items"], row["timestamps"], row["parts"], strict=True)
        if part < TEST
    ]
    latest = max(moment for _, moment in events)
    expected = np.zeros(30)
    for item, moment in events:
        expected[item] += 0.5 ** ((latest - moment) / 86_400_000 / days)
    trends = Trends.load(results["index"].folder)
    assert trends.last_ms == latest
    np.testing.assert_allclose(trends.decayed(latest, days, False), expected, rtol=0.01)


def test_shards_do_not_change_the_sources(shop, tmp_path, monkeypatch):
    run, results, _ = shop
    monkeypatch.setattr(collaborative, "_ITEMS_PER_SHARD", 7)
    prepared, draft = results["prepare"].folder, results["index"].folder
    (tmp_path / "items.parquet").write_bytes((draft / "items.parquet").read_bytes())
    collaborative.write_sources(tmp_path, run.recipe, past_of(prepared, prepared / "histories", TEST))
    for name in ("neighbours.parquet", "trends.parquet", "met.parquet"):
        assert read_parquet(tmp_path / name).equals(read_parquet(draft / name)), name


def test_users_carry_their_whole_history(shop):
    _, results, _ = shop
    users = {row["user"]: row for row in read_parquet(results["index"].folder / "users.parquet").to_pylist()}
    for row in read_parquet(results["prepare"].folder / "histories").to_pylist():
        stored = users[row["user"]]
        assert stored["items"] == row["items"]
        assert stored["liking"] == [int(label) for label in row["label:like"]]


def test_the_stored_profile_is_the_one_that_is_computed(shop):
    """Attributes come from prepare, texts from embed; together they are the mean over the items' contents."""
    from motet.recommend import Embedder

    _, results, _ = shop
    embedder = Embedder(results["index"].folder)
    for user in ("u0", "u7", "u39"):
        person = embedder.people.find(user)
        history = person.with_history(person.items_S, "known", person.liking_S)
        computed = type(person)(**{**history.__dict__, "timestamps_S": person.timestamps_S})
        assert len(person.profile_W) == embedder.items.content_IW.shape[1]
        np.testing.assert_allclose(embedder.content(person), embedder.content(computed), atol=1e-5)


def test_the_index_finds_each_item_by_its_own_vector(shop):
    from motet.retrieval.catalogue import ItemTable

    _, results, _ = shop
    folder = results["index"].folder
    items = ItemTable.load(folder)
    index = VectorIndex.load(folder / "index.faiss", items.unit_ID)
    assert [int(index.search(vector, 1)[0][0]) for vector in items.unit_ID] == list(range(30))
    assert Whitening.load(folder / "whitening.safetensors").mean_D.shape == (384,)


def test_recall_below_the_floor_is_refused():
    with pytest.raises(RetrievalError, match=r"the ivf index finds 0.900 .*recall_floor is 0.95; raise index.nprobe"):
        require_recall(0.9, "ivf index", IndexSettings(recall_floor=0.95))


def test_the_report_says_what_the_lists_say(shop):
    """Hit rate is a multiple of 1/40, and NDCG lies between hit / log2(11) and hit."""
    _, results, _ = shop
    folder = results["evaluate"].folder
    report = json.loads((folder / "report.json").read_text())
    assert set(report["ranking"]["systems"]) == {
        "motet",
        "vectors",
        "item_knn",
        "user_knn",
        "transitions",
        "profile",
        "popularity",
    }
    for name, one in report["ranking"]["systems"].items():
        hits = one["hit"]["mean"] * 40
        assert hits == pytest.approx(round(hits)), name
        assert one["hit"]["mean"] / np.log2(11) - 1e-9 <= one["ndcg"]["mean"] <= one["hit"]["mean"] + 1e-9
    assert report["tasks"]["rating"]["rows"] == 40
    assert report["ledger"]["interactions"]["read"] == 800
    assert "<html" in (folder / "report.html").read_text()[:200].lower()


def test_a_sample_of_held_out_users_is_the_same_however_they_are_divided(shop, tmp_path):
    """The ten of lowest hash; the shop's one shard cut into four gives the same ten."""
    _, results, _ = shop
    folder = results["prepare"].folder

    def names(prepared, most):
        return sorted(
            user for row in held_out_users(prepared / "histories", TEST, most, 42).iter_rows() for user in row["users"]
        )

    table = read_parquet(folder / "histories")
    for part in range(4):
        write_parquet(tmp_path / "histories" / f"shard-{part}.parquet", table.take(list(range(part, 40, 4))))
    assert len(names(folder, 100)) == 40
    assert len(names(folder, 10)) == 10
    assert names(tmp_path, 10) == names(folder, 10)
    assert names(tmp_path, 100) == names(folder, 100)


def test_another_network_in_the_same_folder_is_loaded_anew(shop, tmp_path):
    """A worker process that has asked the first network of a draft must not go on with it."""
    _, results, _ = shop
    draft = tmp_path / "draft"
    shutil.copytree(results["index"].folder, draft)
    one = load_recommender(str(draft), None, "one")
    weights = load_file(draft / "model.safetensors")
    save_file(
        {name: np.asarray(value + 1, value.dtype) for name, value in weights.items()}, draft / "model.safetensors"
    )
    two = load_recommender(str(draft), None, "two")
    assert load_recommender(str(draft), None, "two") is two
    for name, value in one.reranker.model.state_dict().items():
        if name in weights:
            np.testing.assert_array_equal(value.numpy(), weights[name])
            np.testing.assert_array_equal(two.reranker.model.state_dict()[name].numpy(), weights[name] + 1)
