"""Which run the doctor looks at: from a recipe's file, a run's folder or the beginning of its id.

By a recipe, the run is that of the recipe as it is now: stages that are not up to date run first. By a folder or id,
the recipe is put together again from the manifests of the stages, as far as training and its judgement read it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jobs.cluster import connect
from jobs.stages import Result, Run, claim_workspace, code_version
from motet.errors import DataError
from motet.inputs import check_inputs
from motet.mirror import at_hand, names_in
from motet.recipe import Recipe, near
from motet.recipe_file import LoadedRecipe, load_recipe
from motet.storage import MANIFEST, read_json, read_manifest

RECIPES = (".yaml", ".yml")


@dataclass(frozen=True)
class Subject:
    """A training run with all that it was made of."""

    run: Run
    prepared: Result
    embedded: Result
    trained: Result


def find_subject(handle: str, overrides: list[str], workspace: Path) -> Subject:
    """Return the run that a handle names, its workspace claimed and Ray connected.

    Args:
        handle: a recipe's file, a run's folder, or the beginning of its id.
        overrides: `a.b=c` each; for a recipe only.
        workspace: where an id is looked for.

    Raises:
        DataError: if there is no such run, or it was trained by another version of the code.
    """
    if handle.endswith(RECIPES):
        return _of_recipe(handle, overrides)
    if overrides:
        raise DataError(f"--set {overrides[0]} is for a recipe, and {handle!r} is a run; give the recipe's file")
    subject = _of_folder(_run_folder(handle, workspace))
    claim_workspace(subject.run)
    connect(subject.run.recipe.resources)
    return subject


def _of_recipe(file: str, overrides: list[str]) -> Subject:
    from jobs.pipeline import run_pipeline

    run = Run(load_recipe(file, overrides))
    check_inputs(run.loaded)
    claim_workspace(run)
    results = run_pipeline(run, until="train")
    return Subject(run, results["prepare"], results["embed"], results["train"])


def _run_folder(handle: str, workspace: Path) -> Path:
    """Return the folder of a run.

    Raises:
        DataError: saying which runs there are.
    """
    path = Path(handle)
    if at_hand(path.absolute() / MANIFEST).is_file():
        return path.absolute()
    runs = [one.parent for one in names_in(workspace / "runs", f"*/{MANIFEST}")]
    found = [one for one in runs if one.name.startswith(handle)]
    if len(found) == 1:
        return found[0].absolute()
    if found:
        raise DataError(f"{handle!r} begins {len(found)} runs: {', '.join(one.name for one in found)}; give more of it")
    if not runs:
        raise DataError(
            f"{handle!r} is no recipe, and {workspace / 'runs'} holds no run; give a recipe's YAML file, or --workspace"
        )
    raise DataError(f"{handle!r} is no recipe and no run of {workspace}{near(handle, [one.name for one in runs])}")


def _of_folder(folder: Path) -> Subject:
    from jobs.train import CODE

    manifest = read_manifest(folder)
    if manifest.get("stage") != "train":
        raise DataError(
            f"{folder} is of the stage {manifest.get('stage')!r}; give a folder of runs/, or a recipe's file"
        )
    inputs = manifest["inputs"]
    if inputs["code"] != code_version(*CODE):
        raise DataError(
            f"{folder} was trained by another version of the code, which training a task alone can't be compared with; "
            "give the recipe's file instead"
        )
    workspace = folder.parent.parent
    prepared = _result(workspace / "prepared", inputs["prepared"])
    embedded = _result(workspace / "embedded", inputs["embedded"])
    recipe = _recipe(workspace, inputs, prepared, embedded)
    return Subject(Run(LoadedRecipe(recipe, str(folder), {})), prepared, embedded, Result(folder, manifest))


def _result(folder: Path, wanted: str) -> Result:
    """Return the stage's result with a manifest's id."""
    for path in names_in(folder, f"*/{MANIFEST}"):
        manifest = read_manifest(path.parent)
        if manifest.get("id") == wanted:
            return Result(path.parent, manifest)
    raise DataError(f"{folder} does not hold {wanted} any more, which the run was trained on; give the recipe's file")


def _recipe(workspace: Path, inputs: dict[str, Any], prepared: Result, embedded: Result) -> Recipe:
    encoder = read_json(embedded.folder / "encoder.json")
    retrieval = next(task["name"] for task in inputs["tasks"] if task["kind"] == "retrieval")
    plain = {
        "name": read_json(workspace / "workspace.json")["recipe"],
        "workspace": str(workspace),
        "data": prepared.manifest["inputs"]["data"],
        "encoder": {name: value for name, value in encoder.items() if name not in ("dim", "key")},
        "surfaces": {"doctor": {"weights": {retrieval: 1.0}}},
        "serve": {"events": {"store": "none"}},
        **{name: inputs[name] for name in ("model", "train", "tasks", "seed")},
    }
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise DataError(f"{workspace} was written by another version of motet; give the recipe's file") from error
