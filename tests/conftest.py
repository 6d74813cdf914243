"""Fixtures for all tests: the tiny recommender, its draft, a real language model."""

import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The same examples in every run; how long one takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("motet", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("motet")
ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("MOTET_CACHE") or "~/.cache/motet").expanduser()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--turn 1/3` runs the files of slow tests of one turn of three, and all others."""
    parser.addoption("--turn", default="0/1", help="which files of slow tests, such as 1/3; by default all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests of other turns out; a file is in one turn whole, since its tests share what they start."""
    turn, turns = map(int, config.getoption("--turn").split("/"))
    files = sorted({item.path for item in items if item.get_closest_marker("slow")})
    mine = {path for place, path in enumerate(files) if place % turns == turn % turns}
    chosen = [item for item in items if not item.get_closest_marker("slow") or item.path in mine]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """Child processes find the package and look for no model on the net."""
    before = dict(os.environ)
    paths = [str(ROOT / "platform"), str(ROOT), before.get("PYTHONPATH", "")]
    os.environ.update(
        PYTHONPATH=os.pathsep.join(filter(None, paths)), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false"
    )
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    folder = CACHE / "all-MiniLM-L6-v2"
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"{folder} is not there: save sentence-transformers/all-MiniLM-L6-v2 in it, or set MOTET_CACHE")
    return folder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 16 numbers."""
    from tests.builders import write_encoder

    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def tiny(encoder_folder: Path):
    """The tiny recommender's tables and vectors."""
    import torch

    from tests.builders import Tiny

    torch.set_num_threads(1)
    return Tiny.of(encoder_folder)


@pytest.fixture(scope="session")
def draft(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the index stage leaves; not to be changed."""
    from tests.drafts import write_draft

    return write_draft(tiny, tmp_path_factory.mktemp("drafts") / "draft")


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the evaluate stage leaves, with an NDCG of 0.2; not to be changed."""
    from tests.drafts import write_report

    return write_report(tmp_path_factory.mktemp("reports") / "report")


@pytest.fixture(scope="session")
def recommender(draft: Path):
    """The three steps over the draft."""
    from motet.recommend import Recommender

    return Recommender(draft, threads=1)


@pytest.fixture(scope="session")
def _published(tiny, draft: Path, report: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from motet.release.publish import Releases

    workspace = tmp_path_factory.mktemp("published")
    Releases(workspace).publish(draft, report, tiny.recipe.release, {"recipe": "tiny"})
    return workspace


@pytest.fixture
def workspace(_published: Path, tmp_path: Path) -> Path:
    """A workspace of one's own with one published release."""
    return Path(shutil.copytree(_published, tmp_path / "workspace", symlinks=True))


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """One private Ray of two CPUs for all tests that need one."""
    import tempfile

    import ray

    from jobs.cluster import connect
    from motet.settings import ResourceSettings
    from serve.fast import ENVIRONMENT

    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")
    os.environ.update(ENVIRONMENT, RAY_TMPDIR=folder)
    os.environ.pop("RAY_ADDRESS", None)
    connect(ResourceSettings(num_cpus=2, object_store_mb=300))
    yield
    ray.shutdown()
    os.environ.pop("RAY_TMPDIR", None)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, minilm: Path, ray_here: None):
    """(run, results by stage, folder) of a whole pipeline over the synthetic shop."""
    from jobs.pipeline import run_pipeline
    from jobs.stages import Run, claim_workspace
    from motet.recipe_file import load_recipe
    from tests.synthetic import write_shop

    folder = tmp_path_factory.mktemp("shop")
    run = Run(load_recipe(write_shop(folder, minilm)))
    claim_workspace(run)
    return run, run_pipeline(run), folder


@pytest.fixture
def bucket():
    """An S3-compatible store on this machine."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)
    client.create_bucket(Bucket="shop")
    yield client, f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    with urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", b""):  # what is stored outlives the server
        server.stop()


@pytest.fixture
def store(bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a workspace on a store, whose mirrors on this machine are in `mirrors` of the test's folder."""
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "mirrors").mkdir()
    monkeypatch.setenv("MOTET_MIRRORS", str(tmp_path / "mirrors"))
    monkeypatch.setenv("MOTET_MIRROR", "")
    return f"s3://shop/workspace{bucket[1]}"


@pytest.fixture
def machine(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Become one machine or another: returns its folder of the workspace."""

    from motet.mirror import workspace_folder

    def become(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("MOTET_MIRRORS", str(tmp_path / name))
        return workspace_folder(store)

    return become
