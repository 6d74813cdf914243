"""What `make demo` does after the install, on MovieLens-100k, within its time."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from serve.run import ask

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory, minilm):
    """(first run, second run, answer, workspace); a run is (lines, seconds)."""
    if not (minilm.parent / "ml-100k").is_dir():
        pytest.skip("MovieLens-100k is not in the cache; make fetch brings it")
    workspace = tmp_path_factory.mktemp("demo")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="rd", dir="/tmp", ignore_cleanup_errors=True) as folder:
        env |= {"RAY_TMPDIR": folder, "HF_HUB_OFFLINE": "1"}
        pipeline = ["jobs/pipeline.py", "recipes/movielens.yaml", "--set", f"workspace={workspace}"]
        first, second = run(pipeline, env), run(pipeline, env)
        port = 18_000 + os.getpid() % 2000
        answer = run(["serve/run.py", "--workspace", str(workspace), "--port", str(port), "--ask"], env)
    return first, second, answer, workspace


def run(command, env):
    start = time.monotonic()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines() + done.stderr.splitlines(), time.monotonic() - start


def test_from_logs_to_an_answer_within_four_minutes(demo):
    first, _, answer, _ = demo
    assert first[1] + answer[1] < 240
    lines = "\n".join(first[0])
    for stage in ("prepare", "embed", "train", "index", "evaluate", "release"):
        assert f"{stage}: started" in lines
    assert "read 100,000 interactions, kept 100,000, quarantined 0, merged 0" in lines


def test_the_second_run_is_up_to_date_within_a_minute(demo):
    _, second, answer, _ = demo
    assert second[1] + answer[1] < 60
    assert sum("up to date (" in line for line in second[0]) == 6


def test_the_fused_order_beats_item_knn_and_popularity(demo):
    _, _, _, workspace = demo
    current = (workspace / "releases" / "CURRENT").read_text().strip()
    report = json.loads((workspace / "releases" / current / "report" / "report.json").read_text())
    systems = {name: one["ndcg"]["mean"] for name, one in report["ranking"]["systems"].items()}
    assert systems["motet"] > max(systems["item_knn"], systems["popularity"], systems["vectors"])
    assert report["ranking"]["differences"]["item_knn"]["low"] > 0
    assert report["ranking"]["differences"]["popularity"]["low"] > 0
    assert report["counts"]["evaluated_users"] == 943


def test_new_films_are_ordered_better_than_by_chance_and_by_popularity(demo):
    _, _, _, workspace = demo
    current = (workspace / "releases" / "CURRENT").read_text().strip()
    report = json.loads((workspace / "releases" / current / "report" / "report.json").read_text())
    cold = report["ranking_cold_items"]
    assert all(cold["differences"][name]["low"] > 0 for name in ("popularity", "random"))


def test_the_answer_was_what_the_offline_path_says(demo):
    _, _, _, workspace = demo
    lines, _ = run(["-m", "motet.cli", "skew", str(workspace)], os.environ | {"HF_HUB_OFFLINE": "1"})
    assert any(line.startswith("1 requests asked again") for line in lines)
    assert "nothing differs" in lines


def test_the_answer_has_titles_scores_and_reasons_and_ends_with_the_curl(demo):
    _, _, (lines, _), _ = demo
    curl = [line for line in lines if line.startswith("curl ")]
    assert len(curl) == 1
    page = curl[0].split()[2].removesuffix("v1/recommend")
    assert any(line.endswith(f"with its page at {page}") for line in lines)
    start = lines.index("{")
    answer = json.loads("\n".join(lines[start : lines.index("}") + 1]))
    assert len(answer["items"]) == 3
    for item in answer["items"]:
        assert item["title"]
        assert set(item["scores"]) == {"watch", "like", "rating"}
        assert item["reason"]["text"].startswith("because you ")


def test_ctrl_c_ends_the_endpoint_with_its_records_written(demo):
    _, _, _, workspace = demo
    before = len(list((workspace / "recommendations").glob("*.parquet")))
    port = 16_000 + os.getpid() % 2000
    command = [sys.executable, "serve/run.py", "--workspace", str(workspace), "--port", str(port)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="rd", dir="/tmp", ignore_cleanup_errors=True) as folder:
        env |= {"RAY_TMPDIR": folder, "HF_HUB_OFFLINE": "1"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True, **streams)
        try:
            for line in process.stdout:
                if "its page is at" in line:
                    break
            assert ask(f"http://127.0.0.1:{port}", {"user_id": "7", "k": 3})["level"] == "full"
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            said, _ = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            raise
    assert (process.returncode, said) == (0, "serve: ending\n")
    assert len(list((workspace / "recommendations").glob("*.parquet"))) == before + 1
