"""Faults of a rollout: bundles that are no good, and two versions at once."""

import json
import time

import pytest

from motet.data.parquet import read_parquet
from motet.release.canary import gets_candidate
from motet.release.publish import Releases
from tests.chaos.rig import judge, load, record, wait_for
from tests.serve.bad_releases import without_a_model, without_numbers, without_titles
from tests.serve.graphs import PATIENT, TWO, ask, exported, publish, served
from tests.serve.watching import wait_until_all, wait_until_served

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

K, SHARE = 5, 0.25
USERS = [f"u{number:02d}" for number in range(40)]
BODIES = [json.dumps({"user_id": user, "k": K}) for user in USERS]


@pytest.fixture(scope="module")
def releases(draft, report, tmp_path_factory):
    """Two releases of one workspace, the first of which is the current one; their lists are by other weights."""
    folder, names = tmp_path_factory.mktemp("rollout"), []
    for weights in ({"watch": 1.0}, {"rating": 1.0}):
        steps = {name: TWO for name in ("gateway", "embedder", "retriever", "reranker")}
        canary = {"share": SHARE, "least_answers": 20, "max_slowdown": 3.0}
        settings = {**PATIENT, **steps, "canary": canary, "deadline_ms": 2000.0}
        made = folder / str(len(names))
        made.mkdir()
        release = publish(draft, report, made, surfaces={"home": {"weights": weights}}, serve=settings)
        names.append(release.name)
        if len(names) == 2:
            release.rename(folder / "0" / "workspace" / "releases" / release.name)
    return Releases(folder / "0" / "workspace"), names


@pytest.fixture(scope="module")
def endpoint(ray_here, releases):
    one, (first, _) = releases
    one.rollback(first)
    with served(one.current(), watched=True) as address:
        yield address


@pytest.fixture(scope="module")
def catalogue(releases):
    return set(read_parquet(releases[0].current() / "items.parquet").column("item").to_pylist())


def test_f48_two_versions_at_once(endpoint, releases, catalogue):
    """The current release changes as fast as it is taken up, under load: each answer is of one from end to end."""
    one, names = releases
    swaps = 0
    with load(endpoint, seconds=15.0, bodies=BODIES) as answers:
        began = time.perf_counter()
        while time.perf_counter() - began < 13:
            swaps += 1
            one.rollback(names[swaps % 2])
            wait_until_served(endpoint, names[swaps % 2])
        seen = answers()
    found = judge(seen, began, catalogue, names, K)
    score = dict(zip(names, ("watch", "rating"), strict=True))
    crossed = sum(
        abs(item["value"] - item["scores"][score[one.body["release"]]]) > 2e-6
        for one in seen
        if one.body and one.body["level"] == "full"
        for item in one.body["items"]
    )
    by_release = {name: sum(one.body is not None and one.body["release"] == name for one in seen) for name in names}
    met = [line for line in exported("motet_mixed_releases_total") if not line.endswith(" 0.0")]
    figures = {
        "swaps": swaps, "requests": found.sent, "lost": found.lost, "wrong": found.wrong, "fell back": found.fell_back,
        "items of another version": crossed, "requests that met two versions": len(met),
    }  # fmt: skip
    record("F48", "two versions at once", "the current release changed under load, again and again", figures)
    one.rollback(names[0])
    wait_until_served(endpoint, names[0])
    assert swaps >= 4
    assert min(by_release.values()) > 20
    assert (found.lost, found.wrong, crossed, met) == (0, 0, 0, [])


BAD = {
    "cannot be loaded": without_a_model,
    "fails at each answer": without_titles,
    "gives no numbers": without_numbers,
}


@pytest.mark.parametrize("what", BAD)
def test_f47_a_candidate_that_is_no_good(endpoint, releases, catalogue, what):
    """Nobody gets one that cannot be loaded; of the others so many as the canary's share, until it is dropped."""
    one, (first, second) = releases
    bad = BAD[what](one, second)
    seconds = 12.0 if what == "cannot be loaded" else 25.0  # the others are only found by those who were answered
    with load(endpoint, rate=15.0, seconds=seconds, bodies=BODIES) as answers:
        time.sleep(2.0)
        began = time.perf_counter()
        one.try_out(bad)
        if what == "cannot be loaded":
            wait_until_all(endpoint, lambda about: bad in about["refused"])
            one.drop_candidate(bad)
        else:
            wait_for(lambda: one.candidate_id() is None, 20)
        seconds = time.perf_counter() - began
        seen = answers()
    found = judge(seen, began, catalogue, {first, bad}, K)
    theirs = [row for row in seen if row.status != 200 or row.body["release"] == bad]
    no_number = sum("NaN" in json.dumps(row.body) for row in seen)
    figures = {
        "gone after, s": round(seconds, 1), "requests": found.sent, "of these by it or failed": len(theirs),
        "failed": found.lost, "wrong": found.wrong, "no number": no_number,
    }  # fmt: skip
    record("F47", f"a candidate that {what}", f"on {SHARE:.0%} of the users, 15 requests a second", figures)
    after = [row for row in seen if row.due > began + seconds + 2]
    assert {row.status for row in after} == {200}
    assert {row.body["release"] for row in after} == {first}
    assert ask(endpoint, "/v1/release")[2]["canary"] is None
    assert (found.wrong, no_number) == (0, 0)
    chosen = sum(gets_candidate(user, bad, SHARE) for user in USERS) / len(USERS)
    assert len(theirs) <= chosen * sum(row.due <= began + seconds + 2 for row in seen) + 5  # the order is a circle
    if what == "cannot be loaded":
        assert theirs == []
