"""Each deployment follows its own load: one more replica while it has work, one fewer when that is over."""

import threading
import time

import pytest

from tests.serve.graphs import ask, publish, served

pytestmark = pytest.mark.slow


QUIET = {"Gateway": 1, "Embedder": 1, "Retriever": 1, "Reranker": 1, "EventLog": 1, "Conductor": 1}


@pytest.fixture(params=["Embedder", "Retriever", "Reranker"])
def busy(request):
    """The deployment that may have two replicas."""
    return request.param


@pytest.fixture
def endpoint(busy, draft, report, tmp_path, ray_here):
    one, two = {"max_replicas": 1}, {"max_replicas": 2, "target_ongoing_requests": 0.2}
    serving = {
        "deadline_ms": 20_000.0, "upscale_delay_s": 1.0, "downscale_delay_s": 3.0, "health_check_timeout_s": 30.0,
        **{name.lower(): two if name == busy else one for name in ("Gateway", "Embedder", "Retriever", "Reranker")},
    }  # fmt: skip
    with served(publish(draft, report, tmp_path, serve=serving)) as address:
        yield address


def running() -> dict[str, int]:
    from ray import serve

    deployments = serve.status().applications["motet"].deployments
    return {name: one.replica_states.get("RUNNING", 0) for name, one in deployments.items()}


def wait_for(busy: str, replicas: int, seconds: float) -> dict[str, int]:
    end = time.monotonic() + seconds
    while (found := running())[busy] != replicas:
        assert time.monotonic() < end, found
        time.sleep(0.5)
    return found


def test_replicas_of_one_deployment_follow_its_load_up_and_down(endpoint, busy):
    assert running() == QUIET
    over, statuses = threading.Event(), []

    def load() -> None:
        while not over.is_set():
            statuses.append(ask(endpoint, "/v1/recommend", {"user_id": "u03"})[0])

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert wait_for(busy, 2, 60) == {**QUIET, busy: 2}
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wait_for(busy, 1, 90) == QUIET
    assert set(statuses) == {200}
