"""A running graph follows the pointers of its workspace: swaps, a candidate, changed weights."""

import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from motet.cli import main
from motet.recommend import Reranker
from motet.records.reader import sample_rows
from motet.records.what_if import what_if
from motet.release.keys import Keys
from motet.release.publish import Releases
from tests.serve.bad_releases import with_many_neighbours, without_titles
from tests.serve.graphs import PATIENT, TWO, ask, pids, publish, served, wait_until_exported
from tests.serve.watching import USERS, Load, wait_for, wait_until_all, wait_until_served

pytestmark = pytest.mark.slow

SWAPS = 100


@pytest.fixture(scope="module")
def releases(draft, report, tmp_path_factory):
    """Two releases of one workspace that differ in a surface's weights and the canary's settings."""
    folder = tmp_path_factory.mktemp("swap")
    made = []
    for number, weights in enumerate(({"watch": 1.0}, {"rating": 1.0})):
        surfaces = {"home": {"weights": weights}, "other": {"weights": {"watch": 1.0}}}
        canary = {"share": 0.5, "least_answers": 20, "max_slowdown": 50.0}
        settings = {**PATIENT, "canary": canary, "deadline_ms": 5000.0, "gateway": TWO, "recall_share": 1.0,
                    "records": {"flush_s": 0.3}}  # fmt: skip
        (folder / str(number)).mkdir()
        release = publish(draft, report, folder / str(number), surfaces=surfaces, serve=settings)
        made.append(release)
    moved = made[0].parent / made[1].name
    shutil.copytree(made[1], moved)
    return Releases(folder / "0" / "workspace"), (made[0].name, moved.name)


@pytest.fixture(scope="module")
def endpoint(ray_here, releases):
    one, (first, _) = releases
    one.rollback(first)
    with served(one.current(), watched=True) as address:
        yield address


def test_a_hundred_swaps_under_load_lose_nothing_and_mix_nothing(endpoint, releases):
    one, names = releases
    seconds = []
    with Load(endpoint) as load:
        for number in range(1, SWAPS + 1):
            name = names[number % 2]
            one.rollback(name)
            seconds.append(wait_until_served(endpoint, name))
    assert {status for status, *_ in load.answers} == {200}
    assert {answer["level"] for _, _, answer, _ in load.answers} == {"full"}
    by_release = {name: [answer for _, _, answer, _ in load.answers if answer["release"] == name] for name in names}
    assert sum(map(len, by_release.values())) == len(load.answers)
    for name, score in zip(names, ("watch", "rating"), strict=True):
        assert len(by_release[name]) > SWAPS / 2
        for answer in by_release[name]:  # the value of an answer is that of its own release
            assert all(item["value"] == pytest.approx(item["scores"][score], abs=2e-6) for item in answer["items"])
    lines = wait_until_exported(["motet_answers_total"])
    assert not [line for line in lines if line.startswith("ray_motet_mixed_releases_total")]  # none was ever counted
    print(f"{SWAPS} swaps, {len(load.answers)} answers; a swap is seen after {max(seconds):.2f} s at most")
    assert max(seconds) < 5
    one.rollback(names[0])
    wait_until_served(endpoint, names[0])


def test_a_damaged_release_is_refused_and_the_old_one_serves(endpoint, releases):
    one, (first, second) = releases
    bad = one.folder / "tiny-0123456789ab"
    shutil.copytree(one.folder / second, bad)
    (bad / "model.safetensors").write_bytes(b"\0" * 100)
    (one.folder / "CURRENT").write_text(bad.name + "\n")
    wait_until_all(endpoint, lambda about: bad.name in about["refused"])
    status, _, answer, _ = ask(endpoint, "/v1/recommend", {"user_id": "u03"})
    assert (status, answer["release"], answer["level"]) == (200, first, "full")
    assert "model.safetensors" in ask(endpoint, "/v1/release")[2]["refused"][bad.name]
    one.rollback(first)
    shutil.rmtree(bad)


def test_a_new_conductor_knows_what_is_served(endpoint, releases):
    _, (first, second) = releases
    (old,) = pids("Conductor")
    os.kill(old, signal.SIGKILL)
    with Load(endpoint) as load:
        wait_for(lambda: pids("Conductor") not in ([], [old]), 30)
        releases[0].rollback(second)
        wait_until_served(endpoint, second)
    assert {(status, answer["level"]) for status, _, answer, _ in load.answers} == {(200, "full")}
    releases[0].rollback(first)
    wait_until_served(endpoint, first)


def test_some_users_get_the_candidate_always_the_same_ones(endpoint, releases):
    one, (first, second) = releases
    one.try_out(second, again=True)  # it was left for an older one before
    wait_until_all(endpoint, lambda about: about["canary"] is not None)
    got = [{user: ask(endpoint, "/v1/recommend", {"user_id": user})[2]["release"] for user in USERS} for _ in range(3)]
    assert got[0] == got[1] == got[2]
    assert {first, second} == set(got[0].values())
    assert ask(endpoint, "/v1/recommend", {})[2]["release"] == first
    ours = 3 * list(got[0].values()).count(first) + 1
    wait_until_all(endpoint, lambda about: about["canary"]["current"]["answers"] >= ours)
    canary = wait_until_counted(endpoint, 3 * list(got[0].values()).count(second))
    assert (canary["release"], canary["share"], canary["outcomes"]["failures"]) == (second, 0.5, 0.0)
    assert canary["current"]["answers"] == ours
    assert 0 < canary["outcomes"]["p50_ms"] <= canary["outcomes"]["p95_ms"]
    one.promote()
    wait_until_served(endpoint, second)
    assert ask(endpoint, "/v1/release")[2]["canary"] is None
    one.rollback(first)
    wait_until_served(endpoint, first)


def wait_until_counted(endpoint, answers: int):
    wait_until_all(endpoint, lambda about: about["canary"]["outcomes"]["answers"] >= answers)
    return ask(endpoint, "/v1/release")[2]["canary"]


def test_a_candidate_that_does_worse_is_dropped(endpoint, releases):
    one, (first, second) = releases
    bad = without_titles(one, second)
    assert 500 in [status for status, *_ in asked_until_dropped(endpoint, one, bad, 60)]
    refused = wait_and_get(endpoint, bad)
    assert "failed or fell back" in refused
    assert "serve.canary.max_failures" in refused
    wait_until_all(endpoint, lambda about: about["canary"] is None)
    assert {ask(endpoint, "/v1/recommend", {"user_id": user})[2]["release"] for user in USERS} == {first}


def test_a_candidate_that_is_slower_is_dropped(endpoint, releases):
    one, (first, second) = releases
    slow = with_many_neighbours(one, second)
    answers = asked_until_dropped(endpoint, one, slow, 90)
    assert {answer["level"] for _, _, answer, _ in answers} == {"full"}  # late, yet nobody went without
    refused = wait_and_get(endpoint, slow)
    assert refused.startswith("95 % of its answers came within")
    assert "serve.canary.max_slowdown allows a factor of 3" in refused
    assert {ask(endpoint, "/v1/recommend", {"user_id": user})[2]["release"] for user in USERS} == {first}


def asked_until_dropped(endpoint, one, name, seconds):
    """What users are answered from when a candidate comes to when it is gone."""
    one.try_out(name)
    wait_until_all(endpoint, lambda about: about["canary"] is not None)
    began, answers = time.monotonic(), []
    while one.candidate_id() is not None:
        assert time.monotonic() - began < seconds
        answers += [ask(endpoint, "/v1/recommend", {"user_id": user}) for user in USERS]
    return answers


def wait_and_get(endpoint, name):
    wait_until_all(endpoint, lambda about: name in about["refused"])
    return ask(endpoint, "/v1/release")[2]["refused"][name]


def test_the_recall_of_the_index_is_watched(endpoint):
    for user in USERS:
        ask(endpoint, "/v1/recommend", {"user_id": user})
    wait_for(lambda: (ask(endpoint, "/v1/release")[2]["recall"] or {"searches": 0})["searches"] >= len(USERS))
    assert ask(endpoint, "/v1/release")[2]["recall"]["recall"] == 1.0  # a flat index
    wait_until_exported(["motet_recall"])


def test_weights_change_for_all_with_the_key_and_stay(endpoint, releases):
    """There are two Gateways: the one that is told knows at once, the other within a second."""
    one, _ = releases
    keys = Keys(one.folder.parent)
    body, key = {"weights": {"rating": 1.0}}, {"authorization": f"Bearer {keys.add('me', ('admin',))}"}
    assert len(pids("Gateway")) == 2
    assert patch(endpoint, "home", body)[0] == 401
    assert patch(endpoint, "home", body, {"authorization": "Bearer no"})[0] == 401
    assert patch(endpoint, "nowhere", body, key)[0] == 404
    assert patch(endpoint, "home", {"weights": {"bliss": 1.0}}, key)[0] == 422
    assert patch(endpoint, "home", {"weights": {}}, key)[0] == 422
    before = ask(endpoint, "/v1/recommend", {"user_id": "u03"})[2]["items"]
    status, _, answer, _ = patch(endpoint, "home", body, key)
    assert (status, answer) == (200, {"surface": "home", "weights": {"rating": 1.0}, "changed": True})
    assert json.loads((one.folder.parent / "serving" / "surfaces.json").read_text()) == {"home": {"rating": 1.0}}
    wait_until_all_serve(endpoint, {"home": {"rating": 1.0}, "other": {"watch": 1.0}})
    items = ask(endpoint, "/v1/recommend", {"user_id": "u03"})[2]["items"]
    assert all(item["value"] == pytest.approx(item["scores"]["rating"], abs=2e-6) for item in items)
    own = ask(endpoint, "/v1/recommend", {"user_id": "u03", "weights": {"watch": 1.0}})[2]["items"]
    assert own == before
    threads = [threading.Thread(target=patch, args=(endpoint, name, body, key)) for name in ("home", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until_all_serve(endpoint, {"home": {"rating": 1.0}, "other": {"rating": 1.0}})
    whole = keys.path.read_text()
    keys.path.write_text("{")
    assert patch(endpoint, "home", {"weights": None}, key)[0] == 401
    keys.path.write_text(whole)
    for name in ("home", "other"):
        assert patch(endpoint, name, {"weights": None}, key)[2]["changed"] is False
    wait_until_all_serve(endpoint, {"home": {"watch": 1.0}, "other": {"watch": 1.0}})
    assert ask(endpoint, "/v1/recommend", {"user_id": "u03"})[2]["items"] == before
    keys.revoke("me")
    assert patch(endpoint, "home", body, key)[0] == 401


def test_what_other_weights_would_change_is_what_they_change(endpoint, releases):
    """First the question, answered from the log of answers; then the weights, and what users get then."""
    one, (first, _) = releases
    workspace, key = one.folder.parent, {"authorization": f"Bearer {Keys(one.folder.parent).add('us', ('admin',))}"}
    before = lists(endpoint)
    folder = workspace / "recommendations"
    wait_for(lambda: before.keys() <= {row["request_id"] for row in sample_rows(folder, None)})
    rows = [row for row in sample_rows(folder, None) if row["request_id"] in before]
    reranker = Reranker(one.find(first), threads=1)
    said = what_if(rows, lambda _: reranker, {"watch": 0.0, "rating": 1.0}, seed=0)
    command = ["whatif", str(workspace), "--set", "rating=1", "--set", "watch=0"]
    assert CliRunner().invoke(main, command).stdout.startswith("surface home with rating 1, watch 0: ")
    assert patch(endpoint, "home", {"weights": {"rating": 1.0}}, key)[0] == 200
    wait_until_all_serve(endpoint, {"home": {"rating": 1.0}})
    after = {user: items for user, items in lists(endpoint).values()}
    pairs = [(items, after[user]) for user, items in before.values()]
    kept = [len({one["id"] for one in old} & {one["id"] for one in new}) for old, new in pairs]
    assert said.requests == len(USERS)
    assert said.overlap == pytest.approx(np.mean(kept))
    assert 0 < said.lists_changed == pytest.approx(np.mean([ids_of(old) != ids_of(new) for old, new in pairs]))
    means = [np.mean([one["scores"]["rating"] for one in new]) for _, new in pairs]
    assert said.scores["rating"].after == pytest.approx(np.mean(means), abs=1e-5)
    assert said.scores["rating"].after > said.scores["rating"].before
    assert patch(endpoint, "home", {"weights": None}, key)[0] == 200
    wait_until_all_serve(endpoint, {"home": {"watch": 1.0}})


def lists(endpoint) -> dict[str, tuple[str, list[dict]]]:
    """(user, items shown) by request."""
    answers = {user: ask(endpoint, "/v1/recommend", {"user_id": user, "k": 4})[2] for user in USERS}
    return {answer["request_id"]: (user, answer["items"]) for user, answer in answers.items()}


def ids_of(items) -> list[str]:
    return [one["id"] for one in items]


def wait_until_all_serve(endpoint, surfaces) -> None:
    wait_until_all(endpoint, lambda about: {**about["surfaces"], **surfaces} == about["surfaces"], 2.0)


def patch(address, surface, body, headers=None):
    return ask(address, f"/v1/surfaces/{surface}", body, headers, method="PATCH")
