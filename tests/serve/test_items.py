"""POST and DELETE of items on the real graph: the next answer knows them, and no crash forgets them."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from motet.events.segments import Segments
from motet.itemlog.entry import ITEMS
from motet.recommend import Query, Recommender
from tests.serve.graphs import TWO, ask, pids, publish, served

pytestmark = pytest.mark.slow

DEADLINE_MS = 20_000
SECRET = "n0t-t0-be-ech0ed"
SOON_S = 2.0
"""From POST to an answer with the item in it."""


@pytest.fixture(scope="module")
def release(draft, report, tmp_path_factory, ray_here) -> Path:
    two = {**TWO, "num_cpus": 0.05}
    serving = {"deadline_ms": DEADLINE_MS, "retriever": two, "reranker": two, "health_check_timeout_s": 20.0}
    return publish(draft, report, tmp_path_factory.mktemp("items"), serve=serving)


@pytest.fixture(scope="module")
def endpoint(release):
    with served(release) as address:
        yield address


@pytest.fixture
def log(release) -> Segments:
    """The item log as anyone may read it."""
    return Segments(release.parent.parent / "items", codec=ITEMS)


def post(address, body):
    status, _, answer, _ = ask(address, "/v1/items", body)
    return status, answer


def delete(address, item: str):
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{address}/v1/items/{item}", method="DELETE")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def recommend(address, **body):
    status, _, answer, _ = ask(address, "/v1/recommend", {"k": 20, **body})
    assert (status, answer["level"]) == (200, "full"), answer
    return [item["id"] for item in answer["items"]], answer


def car(name: str, **attributes):
    return {"id": name, "text": "the fast red car", "attributes": {"colour": "red", "year": 1999, **attributes}}


def test_a_posted_item_is_recommended_at_once_whichever_replica_answers(endpoint, release, log):
    assert len(pids("Retriever")) == len(pids("Reranker")) == 2
    recommender = Recommender(release, threads=1)
    recommender.follow_items(log)
    for number in range(4):
        name, began = f"at-once-{number}", time.monotonic()
        assert post(endpoint, car(name)) == (200, {"ids": [name], "added": 1, "replaced": 0})
        shown, answer = recommend(endpoint, allow=[name, "i03"], k=2)
        assert time.monotonic() - began < SOON_S
        assert sorted(shown) == sorted([name, "i03"])
        for body in ({"user_id": "u03"}, {"text": "the fast red car"}, {"history": [name]}):
            for _ in range(3):
                now, answer = recommend(endpoint, **body)
                asked = {"user": body.get("user_id"), "text": body.get("text"), "history": body.get("history")}
                _, items = recommender.recommend(Query(**asked, k=20))
                assert now == [item.item for item in items]
                assert [item["value"] for item in answer["items"]] == pytest.approx([i.value for i in items], abs=1e-5)


def test_it_is_found_by_text_by_title_by_attributes_and_near_others(endpoint):
    own = {"id": "of-its-own", "text": "the slow slow white plane", "attributes": {"colour": ["teal", "white"]}}
    assert post(endpoint, own)[0] == 200
    assert recommend(endpoint, text="title: the slow slow white plane", k=3)[0][0] == "of-its-own"
    assert recommend(endpoint, filters={"colour": "teal"}, k=3)[0] == ["of-its-own"]
    found = ask(endpoint, "/v1/items?search=SLOW%20white")[2]["items"]
    assert found == [{"id": "of-its-own", "title": own["text"], "attributes": {"colour": ["teal", "white"]}}]
    assert ask(endpoint, "/v1/attributes")[2]["categories"]["colour"]["teal"] == 1
    assert [one["id"] for one in ask(endpoint, "/v1/items/of-its-own/similar?k=50")[2]["items"]].count("i00") == 1
    assert "of-its-own" in {one["id"] for one in ask(endpoint, "/v1/items/i00/similar?k=50")[2]["items"]}
    assert ask(endpoint, "/v1/explain?item=of-its-own&k=50")[2]["stage"] == "shown"


def test_an_event_with_a_new_item_is_in_the_history_even_if_it_came_first(endpoint):
    event = {"user_id": "early", "item_id": "later", "event_id": "before the item"}
    assert ask(endpoint, "/v1/events", event)[0] == 200
    assert recommend(endpoint, user_id="early")[1]["user"] == "popular"
    assert post(endpoint, car("later"))[0] == 200
    shown, answer = recommend(endpoint, user_id="early")
    assert answer["user"] == "known"
    assert "later" not in shown


def test_posting_again_replaces_and_deleting_takes_out_of_every_answer(endpoint):
    assert post(endpoint, car("changed", colour="olive"))[1]["added"] == 1
    answer = post(endpoint, [car("changed", colour="plum"), car("other", colour="plum")])[1]
    assert (answer["added"], answer["replaced"]) == (1, 1)
    assert recommend(endpoint, filters={"colour": "olive"})[0] == []
    assert sorted(recommend(endpoint, filters={"colour": "plum"})[0]) == ["changed", "other"]
    assert delete(endpoint, "changed") == (200, {"id": "changed"})
    assert recommend(endpoint, filters={"colour": "plum"})[0] == ["other"]
    _is_gone(endpoint, "changed")
    assert post(endpoint, car("changed", colour="plum"))[1] == {"ids": ["changed"], "added": 1, "replaced": 0}
    assert sorted(recommend(endpoint, filters={"colour": "plum"})[0]) == ["changed", "other"]


def _is_gone(endpoint, item: str) -> None:
    for body in ({}, {"user_id": "u03"}, {"text": "the fast red car"}, {"allow": [item]}):
        assert item not in recommend(endpoint, k=50, **body)[0]
    assert item not in {one["id"] for one in ask(endpoint, "/v1/items/i00/similar?k=100")[2]["items"]}
    assert item not in {one["id"] for one in ask(endpoint, "/v1/items?limit=100")[2]["items"]}
    assert ask(endpoint, f"/v1/items?id={item}")[2]["items"] == []
    assert ask(endpoint, f"/v1/items/{item}/similar")[0] == 404
    assert ask(endpoint, f"/v1/explain?item={item}")[2]["rule"] == "removed from the catalogue"
    assert delete(endpoint, item)[0] == 404


def test_an_item_of_the_release_is_removed_and_comes_back(endpoint):
    assert "i00" in recommend(endpoint, k=100)[0]
    assert delete(endpoint, "i01")[0] == 200
    _is_gone(endpoint, "i01")
    back = {"id": "i01", "text": "green boat", "attributes": {"colour": "green", "year": 1953}}
    assert post(endpoint, back)[1]["added"] == 1
    assert "i01" in recommend(endpoint, k=100)[0]


BAD = {
    "no id": {"text": "a"},
    "no text": {"id": "a"},
    "an empty text": {"id": "a", "text": " "},
    "an unknown column": {"id": "a", "text": "b", "attributes": {SECRET: "c"}},
    "a column twice": {"id": "a", "text": "b", "attributes": {"title": "c"}},
    "a number that is text": {"id": "a", "text": "b", "attributes": {"year": SECRET}},
    "a category that is a number": {"id": "a", "text": "b", "attributes": {"colour": 7}},
    "a number beyond float32": {"id": "a", "text": "b", "attributes": {"year": 1e39}},
    "a truth": {"id": "a", "text": "b", "attributes": {"year": True}},
    "a control character": {"id": "a", "text": f"{SECRET}\x00"},
    "a lone surrogate": {"id": "a", "text": f"{SECRET}\ud800"},
    "a long text": {"id": "a", "text": "x" * 10_001},
    "a long id": {"id": "x" * 129, "text": "a"},
    "many values": {"id": "a", "text": "b", "attributes": {"colour": ["c"] * 201}},
    "a field of one's own": {"id": "a", "text": "b", SECRET: 1},
    "nothing": [],
    "one bad of two": [{"id": "a", "text": "b"}, {"id": "c"}],
    "too many": [{"id": "a", "text": "b"}] * 101,
    "a text": SECRET,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_bad_item_is_refused_whole_and_without_an_echo(endpoint, log, body):
    before = len(list(log.read()))
    status, _, answer, _ = ask(endpoint, "/v1/items", raw=json.dumps(body).encode())
    assert status == 422, answer
    assert SECRET not in str(answer)
    assert len(list(log.read())) == before


def test_a_refusal_names_the_columns_that_there_are(endpoint):
    _, answer = post(endpoint, {"id": "a", "text": "b", "attributes": {"hue": "c"}})
    assert "no column of that name; this recipe's items have ['title', 'colour', 'year']" in answer["detail"][0]["msg"]
    _, answer = post(endpoint, [{"id": "a", "text": "b"}, {"id": "c"}])
    assert answer["detail"][0]["msg"] == "item 1: no text; its text is made of ['title']"


def _post_many(endpoint, prefix: str, until: float, posted: list[str]) -> None:
    number = 0
    while time.monotonic() < until:
        name = f"{prefix}-{number}"
        posted.append(name)
        assert post(endpoint, [car(name), car(f"{prefix}-gone")])[0] == 200
        assert name in recommend(endpoint, allow=[name], k=1)[0]
        assert delete(endpoint, f"{prefix}-gone")[0] == 200
        number += 1


def _ask_many(endpoint, until: float, posted: list[str], own: set[str], number: int) -> None:
    bodies = [{"user_id": f"u{number:02d}"}, {"text": "the fast red car"}, {}, {"history": ["i03"]}]
    count = 0
    while time.monotonic() < until:
        shown, _ = recommend(endpoint, k=100, **bodies[count % len(bodies)])
        assert set(shown) <= own | set(posted) | {f"p{n}-gone" for n in range(3)}
        count += 1


def test_questions_while_items_come_and_go_meet_no_unknown_item(endpoint):
    """Each answer is full, of status 200, and each poster finds its own item in the next answer."""
    own = set(recommend(endpoint, k=500, exclude_seen=False)[0])
    until, posted, failed = time.monotonic() + 12, [], []

    def watched(work, *args) -> threading.Thread:
        def run() -> None:
            try:
                work(*args)
            except BaseException as error:
                failed.append(error)

        return threading.Thread(target=run)

    threads = [watched(_post_many, endpoint, f"p{n}", until, posted) for n in range(3)]
    threads += [watched(_ask_many, endpoint, until, posted, own, n) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(posted) > 10
    assert set(posted) <= set(recommend(endpoint, k=500)[0])


def _answers_again(endpoint, names: list[str]) -> None:
    end = time.monotonic() + 150
    while time.monotonic() < end:
        try:
            status, _, answer, _ = ask(endpoint, "/v1/recommend", {"allow": names, "k": len(names)})
        except OSError:
            status, answer = 0, {}
        if status == 200 and answer["level"] == "full":
            assert sorted(one["id"] for one in answer["items"]) == sorted(names)
            return
        time.sleep(0.5)
    raise AssertionError("the graph did not come back")


def test_items_survive_a_kill_of_every_deployment(endpoint):
    names = [f"kept-{number}" for number in range(3)]
    assert post(endpoint, [car(name) for name in names])[1]["added"] == 3
    assert delete(endpoint, "i02")[0] == 200
    for deployment in ("Embedder", "Retriever", "Reranker", "EventLog", "Gateway"):
        before = pids(deployment)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 120
        while time.monotonic() < end and (len(pids(deployment)) < len(before) or set(pids(deployment)) & set(before)):
            time.sleep(0.3)
        _answers_again(endpoint, names)
        assert "i02" not in recommend(endpoint, k=500)[0]
    assert post(endpoint, car("after the kill"))[1]["added"] == 1
    assert recommend(endpoint, allow=["after the kill"], k=1)[0] == ["after the kill"]


def test_items_survive_a_restart_of_the_whole_graph(endpoint, release):
    from ray import serve

    from serve.app import build

    before = {user: recommend(endpoint, user_id=user, k=50)[0] for user in ("u03", "u05", "early")}
    serve.delete("motet")
    serve.run(build({"release": str(release)}), name="motet", route_prefix="/")
    assert {user: recommend(endpoint, user_id=user, k=50)[0] for user in before} == before
    assert post(endpoint, car("kept-0"))[1] == {"ids": ["kept-0"], "added": 0, "replaced": 1}


def test_a_graph_without_a_store_says_so(endpoint, release):
    from ray import serve

    from serve.app import build

    serve.run(build({"release": str(release), "events": {"store": "none"}}), name="motet", route_prefix="/")
    for status, answer in (post(endpoint, car("x")), delete(endpoint, "i03")):
        assert status == 404
        assert "serve.events.store is none" in answer["detail"][0]["msg"]
    assert "kept-0" not in recommend(endpoint, k=500)[0]
