"""A stage: inputs with a fingerprint in, one whole folder with a manifest out, skipped if up to date.

The fingerprint covers the recipe's sections that the stage reads, the code that it runs and the ids of the
manifests (or the sizes and times of the files) that it reads. Results stand in
`workspace/<kind>/<fingerprint>/` and appear by one rename, on a store by their manifest; a stage that fails leaves
nothing.
"""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motet.errors import DataError, RecipeError
from motet.lease import LEASES, Lease
from motet.mirror import at_hand, mirror_of, workspace_folder
from motet.recipe import Recipe
from motet.recipe_file import LoadedRecipe
from motet.storage import (
    file_sha256,
    fingerprint,
    has_all,
    new_folder,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
)

ROOT = Path(__file__).resolve().parent.parent


def say(line: str) -> None:
    """Print one line of progress."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@dataclass
class Run:
    """One run of the pipeline: a recipe, its workspace and what the stages left."""

    loaded: LoadedRecipe
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    force: bool = False
    """Publish whatever the gate says."""

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.loaded.recipe

    @property
    def workspace(self) -> Path:
        """The workspace as an absolute path on this node."""
        return workspace_folder(self.recipe.workspace)


_locks: dict[Path, int] = {}


def _lock(run: Run) -> None:
    """Hold the workspace until this process ends, so that two runs don't write it at once."""
    path = run.workspace / ".lock"
    if path in _locks:
        return
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    if not _is_had(handle, run.workspace / LEASES / "run"):
        os.close(handle)
        raise RecipeError(
            f"{run.loaded.where('workspace')}: workspace = {run.recipe.workspace!r} is being written by another run; "
            "wait for it, or set another workspace"
        )
    _locks[path] = handle


def _is_had(handle: int, lease: Path) -> bool:
    """Lock a file for this machine and, on a store, take the lease for all; return whether both could be had."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return mirror_of(lease) is None or Lease(lease).take()


def claim_workspace(run: Run) -> None:
    """Mark the workspace as this recipe's and lock it.

    Raises:
        RecipeError: if another recipe wrote it, another run is writing it, it cannot be written, or it is on a store
            and its event log would be too.
    """
    where = run.loaded.where("workspace")
    try:
        marker = at_hand(run.workspace / "workspace.json")
    except DataError as error:
        raise RecipeError(f"{where}: {error}") from error
    _require_a_place_for_events(run)
    if marker.exists():
        owner = read_json(marker)["recipe"]
        if owner != run.recipe.name:
            raise RecipeError(
                f"{where}: workspace = {run.recipe.workspace!r} was written by recipe {owner!r}, this is "
                f"{run.recipe.name!r}; set another workspace"
            )
        _lock(run)
        return
    try:
        write_json(marker, {"recipe": run.recipe.name})
        _lock(run)
    except OSError as error:
        raise RecipeError(f"{where}: workspace = {run.recipe.workspace!r} cannot be written ({error})") from error


def _require_a_place_for_events(run: Run) -> None:
    events = run.recipe.serve.events
    if mirror_of(run.workspace) is not None and events.store == "segments" and events.path is None:
        raise RecipeError(
            f"{run.loaded.where('serve', 'events', 'store')}: serve.events.store = 'segments' appends to files, which "
            f"the store of workspace = {run.recipe.workspace!r} cannot do; set serve.events.path to a folder, or "
            "store to redis, kafka or none"
        )


def code_version(*names: str) -> str:
    """Return a hash over source files or folders, given relative to the repository's root."""
    files: list[Path] = []
    for name in names:
        path = ROOT / name
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return fingerprint([(str(path.relative_to(ROOT)), file_sha256(path)) for path in files])


@dataclass(frozen=True)
class Result:
    """A stage's folder and manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        """The manifest's id, by which later stages know what they read."""
        return str(self.manifest["id"])

    @property
    def summary(self) -> dict[str, Any]:
        """What the stage said about itself."""
        return dict(self.manifest["summary"])


def run_stage(run: Run, name: str, kind: str, inputs: dict[str, Any], work: Callable[[Path], dict[str, Any]]) -> Result:
    """Run `work` on a new folder, or skip it if a whole result for the same inputs is there.

    Args:
        run: the run.
        name: the stage's name, for its lines.
        kind: the folder of the workspace.
        inputs: everything that decides the result, as JSON types.
        work: fills the folder and returns a summary; its `line` is printed.
    """
    key = fingerprint(name, inputs)
    target = run.workspace / kind / key
    existing = _whole_result(target)
    if existing is not None:
        run.skipped.append(name)
        run.seconds[name] = float(existing.manifest["summary"]["seconds"])
        say(f"{name}: up to date ({target.relative_to(run.workspace)})")
        return existing
    say(f"{name}: started")
    for left in target.parent.glob(f"{key}.*"):
        if left.suffix in (".tmp", ".old"):  # of a run that was killed: this one holds the workspace
            shutil.rmtree(left)
    start = time.monotonic()
    with new_folder(target) as folder:
        summary = work(folder)
        line = summary.pop("line")
        run.seconds[name] = summary["seconds"] = round(time.monotonic() - start, 2)
        write_manifest(folder, {"stage": name, "inputs": inputs, "summary": summary})
    say(f"{name}: {line} in {summary['seconds']:.1f} s")
    return Result(target, read_manifest(target))


def _whole_result(target: Path) -> Result | None:
    if not at_hand(target / "manifest.json").is_file():
        return None
    manifest = read_manifest(target)
    return Result(target, manifest) if has_all(target, manifest) else None
