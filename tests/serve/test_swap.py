"""A running graph follows the pointers of its workspace: swaps, a candidate, changed weights."""

import json
import os
import shutil
import signal
import threading
import time
from itertools import cycle

import pytest

from motet.data.parquet import read_parquet, write_parquet
from motet.release.bundle import release_id
from motet.release.keys import Keys
from motet.release.publish import Releases
from motet.storage import read_manifest, write_manifest
from tests.serve.graphs import PATIENT, TWO, ask, pids, publish, served, wait_until_exported

pytestmark = pytest.mark.slow

SWAPS = 100
USERS = [f"u{number:02d}" for number in range(24)]


@pytest.fixture(scope="module")
def releases(draft, report, tmp_path_factory):
    """Two releases of one workspace that differ in a surface's weights and the canary's settings."""
    folder = tmp_path_factory.mktemp("swap")
    made = []
    for number, weights in enumerate(({"watch": 1.0}, {"rating": 1.0})):
        surfaces = {"home": {"weights": weights}, "other": {"weights": {"watch": 1.0}}}
        canary = {"share": 0.5, "least_answers": 20, "max_slowdown": 50.0}
        settings = {**PATIENT, "canary": canary, "deadline_ms": 5000.0, "gateway": TWO, "recall_share": 1.0}
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


def told(address: str) -> list[dict]:
    """What the endpoint says of itself, so many times that both Gateways have their say."""
    return [ask(address, "/v1/release")[2] for _ in range(12)]


def wait_until_served(address: str, name: str) -> float:
    return wait_until_all(address, lambda about: about["release"] == name)


def wait_until_all(address: str, holds, seconds: float = 20.0) -> float:
    return wait_for(lambda: all(map(holds, told(address))), seconds)


def wait_for(what, seconds: float = 20.0) -> float:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


class Load:
    """Clients that ask until told to stop."""

    def __init__(self, address: str, clients: int = 4) -> None:
        self.answers, self.address, self.over = [], address, threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(clients)]

    def _ask(self, place: int) -> None:
        for user in cycle(USERS[place::4]):
            if self.over.is_set():
                return
            self.answers.append(ask(self.address, "/v1/recommend", {"user_id": user, "k": 4}))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


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
    one.try_out(second)
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
    one.try_out(bad)
    wait_until_all(endpoint, lambda about: about["canary"] is not None)
    began, statuses = time.monotonic(), []
    while one.candidate_id() is not None:
        assert time.monotonic() - began < 60
        statuses += [ask(endpoint, "/v1/recommend", {"user_id": user})[0] for user in USERS]
    assert 500 in statuses
    refused = wait_and_get(endpoint, bad)
    assert "failed or fell back" in refused
    assert "serve.canary.max_failures" in refused
    wait_until_all(endpoint, lambda about: about["canary"] is None)
    assert {ask(endpoint, "/v1/recommend", {"user_id": user})[2]["release"] for user in USERS} == {first}


def without_titles(one: Releases, name: str) -> str:
    """A release that verifies and loads, and fails at each answer: its items have no titles."""
    folder = shutil.copytree(one.folder / name, one.folder / "aside")
    manifest = read_manifest(folder)
    write_parquet(folder / "items.parquet", read_parquet(folder / "items.parquet").drop_columns(["title"]))
    (folder / "manifest.json").unlink()
    about = {key: value for key, value in manifest.items() if key not in ("files", "id")}
    made = release_id(write_manifest(folder, about))
    folder.rename(one.folder / made)
    return made


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


def wait_until_all_serve(endpoint, surfaces) -> None:
    wait_until_all(endpoint, lambda about: {**about["surfaces"], **surfaces} == about["surfaces"], 2.0)


def patch(address, surface, body, headers=None):
    return ask(address, f"/v1/surfaces/{surface}", body, headers, method="PATCH")
