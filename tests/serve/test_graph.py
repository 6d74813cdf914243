"""The real graph on Ray Serve over the shop's release: answers, and every kind of bad request."""

import json
import socket
import urllib.error
import urllib.request

import pytest

from motet.recommend import Query, Recommender
from motet.release.publish import Releases


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def endpoint(shop):
    from ray import serve

    from serve.run import start

    _, results, _ = shop
    yield start(results["release"].folder, port=free_port())
    serve.shutdown()


def call(address, path, body=None, raw=None, method=None):
    """Return (status, decoded body)."""
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address + path, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            content = error.read().decode()
        return error.code, json.loads(content) if content.startswith("{") else content


def recommend(address, **body):
    status, answer = call(address, "/v1/recommend", body)
    assert status == 200, answer
    return answer


def test_a_known_user_gets_ranked_items_with_scores_sources_and_reasons(endpoint, shop):
    _, results, _ = shop
    answer = recommend(endpoint, user_id="u4", k=5)
    assert answer["user"] == "known"
    assert answer["surface"] == "home"
    assert answer["release"] == results["release"].id
    assert len({item["id"] for item in answer["items"]}) == 5
    values = [item["value"] for item in answer["items"]]
    assert values == sorted(values, reverse=True)
    for item in answer["items"]:
        assert set(item["scores"]) == {"watch", "like", "rating"}
        assert item["value"] == pytest.approx(item["scores"]["watch"] + 0.1 * item["scores"]["like"], abs=2e-6)
        assert 0 <= item["scores"]["like"] <= 1
        assert 1 <= item["scores"]["rating"] <= 5
        assert item["sources"]
        assert item["reason"]["text"].startswith("because you liked ")
        assert item["reason"]["by"] in ("item_knn", "cosine")


def test_online_answers_are_the_offline_ones(endpoint, shop):
    """The graph and the steps in one process give the same items and values."""
    _, _, folder = shop
    recommender = Recommender(Releases(folder / "workspace").current())
    for query, body in (
        (Query(user="u7", k=8), {"user_id": "u7", "k": 8}),
        (Query(history=("i2", "i4"), k=4), {"history": ["i2", "i4"], "k": 4}),
        (Query(text="Even film", k=4), {"text": "Even film", "k": 4}),
    ):
        _, items = recommender.recommend(query)
        answer = recommend(endpoint, **body)
        assert [item["id"] for item in answer["items"]] == [item.item for item in items]
        assert [item["value"] for item in answer["items"]] == pytest.approx([item.value for item in items], abs=1e-5)


def test_the_seen_are_left_out_unless_asked_for(endpoint, shop):
    _, _, folder = shop
    people = Recommender(Releases(folder / "workspace").current()).embedder
    seen = {people.items.ids[place] for place in people.people.find("u4").items_S}
    assert len(seen) == 20
    without = recommend(endpoint, user_id="u4", k=30)
    assert {item["id"] for item in without["items"]} == set(people.items.ids) - seen
    assert {item["id"] for item in recommend(endpoint, user_id="u4", k=30, exclude_seen=False)["items"]} & seen


@pytest.mark.parametrize(
    ("body", "level"),
    [
        ({"user_id": "nobody"}, "popular"),
        ({}, "popular"),
        ({"history": ["i1", "i3"]}, "history"),
        ({"user_id": "u4", "history": ["i1", "i3"]}, "history"),
        ({"text": "an odd film about crime"}, "text"),
        ({"user_id": "nobody", "attributes": {"gender": "F", "age": 30}}, "attributes"),
    ],
)
def test_how_the_user_was_recognised_is_said(endpoint, body, level):
    answer = recommend(endpoint, k=3, **body)
    assert answer["user"] == level
    assert len(answer["items"]) == 3


def test_a_text_finds_what_it_names(endpoint):
    answer = recommend(endpoint, text="title: Odd film number 7; genres: crime|drama", k=3)
    assert "i7" in [item["id"] for item in answer["items"]]
    assert {item["reason"]["by"] for item in answer["items"]} == {"profile"}
    known = recommend(endpoint, user_id="u4", text="title: Odd film number 7; genres: crime|drama", k=3)
    assert {item["reason"]["text"] for item in known["items"]} == {"matches what you asked for"}


def test_filters_of_the_request_and_of_the_surface_hold(endpoint, shop):
    _, _, folder = shop
    table = Recommender(Releases(folder / "workspace").current()).embedder.items.table.to_pylist()
    comedies = {row["item"] for row in table if "comedy" in row["attr:genres"]}
    answer = recommend(endpoint, k=30, filters={"genres": "comedy"})
    assert {item["id"] for item in answer["items"]} == comedies
    assert {item["id"] for item in recommend(endpoint, k=30, surface="comedy")["items"]} == comedies
    years = recommend(endpoint, k=30, filters={"year": [1995, 1999], "genres": ["crime", "drama"]})
    assert {item["id"] for item in years["items"]} == {
        row["item"] for row in table if 1995 <= row["num:year"] <= 1999 and {"crime", "drama"} & set(row["attr:genres"])
    }


SECRET = "n0t-t0-be-ech0ed"


@pytest.mark.parametrize(
    "body",
    [
        {"k": 0},
        {"k": -1},
        {"k": 10**18},
        {"k": "7"},
        {"k": True},
        {"k": 1.5},
        {"k": None},
        {"surface": SECRET},
        {"surface": ""},
        {"user_id": 7},
        {"user_id": ""},
        {"user_id": "x" * 129},
        {"user_id": f"{SECRET}\x00"},
        {"user_id": f"{SECRET}\ud800"},
        {"text": f"{SECRET}\ud800"},
        {"text": SECRET * 200},
        {"history": [SECRET]},
        {"history": ["i1"] * 201},
        {"history": "i1"},
        {"filters": {SECRET: "x"}},
        {"filters": {"year": ["a", SECRET]}},
        {"filters": {"year": [1990]}},
        {"filters": {"genres": 3}},
        {"attributes": {SECRET: "x"}},
        {"attributes": {"age": SECRET}},
        {"attributes": {}},
        {SECRET: 1},
        [SECRET],
        SECRET,
        None,
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_a_bad_request_is_refused_without_an_echo(endpoint, body):
    status, answer = call(endpoint, "/v1/recommend", raw=json.dumps(body).encode())
    assert status == 422
    assert SECRET not in json.dumps(answer)
    assert all(set(one) == {"loc", "msg", "type"} for one in answer["detail"])
    assert "Traceback" not in json.dumps(answer)
    assert "pid=" not in json.dumps(answer)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"k": NaN}',
        b'{"filters": {"year": [NaN, 2]}}',
        b'{"filters": {"year": [-Infinity, Infinity]}}',
        b'{"k": 1',
        b"",
        b"\xff\xfe",
        b"[" * 20_000,
        b'{"k": ' + b"9" * 5000 + b"}",
    ],
    ids=["nan", "nan-range", "inf-range", "cut", "empty", "not-utf8", "deep", "huge-int"],
)
def test_a_broken_body_is_refused(endpoint, raw):
    status, answer = call(endpoint, "/v1/recommend", raw=raw)
    assert status == 422, answer
    assert "xxxx" not in json.dumps(answer)


def test_similar_items(endpoint):
    status, answer = call(endpoint, "/v1/items/i2/similar?k=4")
    assert status == 200
    assert len(answer["items"]) == 4
    assert "i2" not in [item["id"] for item in answer["items"]]
    cosines = [item["cosine"] for item in answer["items"]]
    assert cosines == sorted(cosines, reverse=True)
    status, answer = call(endpoint, f"/v1/items/{SECRET}/similar")
    assert (status, SECRET in json.dumps(answer)) == (404, False)
    assert call(endpoint, "/v1/items/i2/similar?k=0")[0] == 422
    assert call(endpoint, "/v1/nothing")[0] == 404
    assert call(endpoint, "/v1/recommend")[0] == 405


def test_release_health_and_openapi(endpoint, shop):
    _, results, _ = shop
    status, about = call(endpoint, "/v1/release")
    assert (status, about["release"], about["recipe"]) == (200, results["release"].id, "shop")
    assert about["surfaces"]["home"] == {"watch": 1.0, "like": 0.1}
    assert about["ndcg"]["motet"] > about["ndcg"]["popularity"]
    assert call(endpoint, "/healthz") == (200, {"status": "ok", "release": results["release"].id})
    _, openapi = call(endpoint, "/openapi.json")
    assert {"/v1/recommend", "/v1/items/{item}/similar", "/v1/release", "/healthz"} <= set(openapi["paths"])
    assert "422" in openapi["paths"]["/v1/recommend"]["post"]["responses"]


def test_each_step_autoscales_by_itself_as_the_recipe_says(endpoint, shop):
    from ray import serve

    run, _, _ = shop
    deployments = serve.status().applications["motet"].deployments
    assert set(deployments) == {"Gateway", "Embedder", "Retriever", "Reranker", "EventLog", "Conductor"}
    for name, one in deployments.items():
        assert one.status == "HEALTHY", name
    from serve.app import build

    app = build({"workspace": run.recipe.workspace})
    config = app._bound_deployment._deployment_config.autoscaling_config
    assert (config.min_replicas, config.max_replicas) == (1, 2)
