"""One Ray for all tests of jobs, and one whole run of the shop's pipeline."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.synthetic import write_shop

CACHE = Path(os.environ.get("MOTET_CACHE") or "~/.cache/motet").expanduser()


@pytest.fixture(scope="session")
def minilm() -> Path:
    folder = CACHE / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; make fetch brings it")
    return folder


@pytest.fixture(scope="session")
def ray_here():
    import ray

    from jobs.cluster import connect
    from motet.settings import ResourceSettings

    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")
    os.environ["RAY_TMPDIR"] = folder
    os.environ.pop("RAY_ADDRESS", None)
    connect(ResourceSettings(num_cpus=2, object_store_mb=300))
    yield
    ray.shutdown()
    os.environ.pop("RAY_TMPDIR", None)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shop(tmp_path_factory, minilm, ray_here):
    """(run, results, folder) of a whole pipeline."""
    from jobs.pipeline import run_pipeline
    from jobs.stages import Run, claim_workspace
    from motet.recipe_file import load_recipe

    folder = tmp_path_factory.mktemp("shop")
    run = Run(load_recipe(write_shop(folder, minilm)))
    claim_workspace(run)
    return run, run_pipeline(run), folder
