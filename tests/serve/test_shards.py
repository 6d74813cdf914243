"""A graph whose indexes are held by shards answers as one whose Retriever holds them."""

import os
import signal
import time

import pytest

from motet.recommend import Query, Recommender
from motet.release.publish import Releases
from motet.storage import read_json, write_json
from tests.builders import Tiny
from tests.drafts import write_draft
from tests.serve.bad_releases import made_from
from tests.serve.graphs import PATIENT, ask, pids, publish, served
from tests.serve.watching import USERS, wait_for, wait_until_all

pytestmark = pytest.mark.slow

PARTS = 3


@pytest.fixture(scope="module")
def release(encoder_folder, report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    draft = write_draft(Tiny.of(encoder_folder, index={"shards": PARTS}), folder / "first")
    return publish(draft, report, folder, serve={**PATIENT, "deadline_ms": 5000.0, "recall_share": 1.0})


@pytest.fixture(scope="module")
def endpoint(release, ray_here):
    with served(release, watched=True) as address:
        yield address


def recommended(address, **body):
    status, _, answer, _ = ask(address, "/v1/recommend", body)
    assert status == 200, answer
    return answer


def test_each_shard_is_a_deployment_and_the_answers_are_those_of_one_process(endpoint, release):
    assert [len(pids(f"Shard{number}")) for number in range(PARTS)] == [1] * PARTS
    offline = Recommender(release, threads=1)
    asked = [{"user_id": user, "k": 4} for user in USERS[:8]]
    asked += [{"history": ["i02", "i07"], "k": 5}, {"text": "red car"}]
    for body in asked:
        answer = recommended(endpoint, **body)
        query = Query(user=body.get("user_id"), history=tuple(body["history"]) if "history" in body else None,
                      text=body.get("text"), k=body.get("k", 10))  # fmt: skip
        expected = offline.recommend(query)[1]
        assert answer["level"] == "full"
        assert [one["id"] for one in answer["items"]] == [one.item for one in expected]
        values = [one.value for one in expected]
        assert [one["value"] for one in answer["items"]] == pytest.approx(values, abs=2e-6)
    near = ask(endpoint, "/v1/items/i02/similar?k=4")[2]["items"]
    assert [one["id"] for one in near] == [item for item, _, _ in offline.retriever.similar("i02", 4)]


def test_the_recall_of_shards_is_watched(endpoint):
    recommended(endpoint, user_id="u03")
    wait_for(lambda: ask(endpoint, "/v1/release")[2]["recall"] is not None, 30)
    assert ask(endpoint, "/v1/release")[2]["recall"]["recall"] == 1.0


def test_a_shard_that_is_killed_costs_order_and_comes_back(endpoint):
    (old,) = pids("Shard1")
    os.kill(old, signal.SIGKILL)
    levels, began = [], time.monotonic()
    while pids("Shard1") in ([], [old]) or levels[-1] != "full":
        levels.append(recommended(endpoint, user_id="u03")["level"])
        assert time.monotonic() - began < 60
    assert set(levels) <= {"full", "popular"}


def test_a_release_of_other_parts_is_refused(endpoint, release):
    releases = Releases(release.parent.parent)

    def part_anew(folder):
        recipe = read_json(folder / "recipe.json")
        recipe["index"]["shards"] = 2
        write_json(folder / "recipe.json", recipe)

    other = made_from(releases, release.name, part_anew)
    (releases.folder / "CURRENT").write_text(other + "\n")
    wait_until_all(endpoint, lambda about: other in about["refused"])
    said = ask(endpoint, "/v1/release")[2]["refused"][other]
    assert "has index.shards = 2, and this endpoint was started with 3; start it again" in said
    assert recommended(endpoint, user_id="u03")["release"] == release.name
    releases.rollback(release.name)
