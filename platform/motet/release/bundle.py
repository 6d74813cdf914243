"""The bundle: everything that answers a request, locked together by one manifest.

    recipe.json features.json encoder.json whitening.safetensors     what the inputs mean
    model.safetensors model.json                                     towers and heads
    items.parquet vectors.safetensors index.* content.*              the catalogue
    trends.* neighbours.parquet met.parquet ...                      the crowd, and what the recipe's sources read
    trees.txt trees.json, or fusion.json                             fusion
    calibrators.json users.parquet                                   calibration, user states
    report/ golden.json                                              what it reached; requests with their answers
    manifest.json                                                    SHA-256 and size of every file

The release's id is the hash of the manifest. Nothing in a bundle unpickles.
"""

import shutil
from pathlib import Path
from typing import Any

from motet.errors import ReleaseError
from motet.estimates import ESTIMATES
from motet.recipe import Recipe
from motet.recommend import read_recipe
from motet.retrieval.library import SOURCE_FILES
from motet.retrieval.sharded import INDEXES, part_paths
from motet.storage import MANIFEST, manifest_problems, read_json, read_manifest, write_json, write_manifest

FORMAT = 2
"""2: model.json names signals, and the recipe has the gate of every task and slice."""
REQUIRED = (
    "recipe.json", "features.json", "encoder.json", "whitening.safetensors", "model.safetensors", "model.json",
    "items.parquet", "vectors.safetensors",
    "trends.parquet", "trends.json", "calibrators.json", "users.parquet", "report/report.json", "golden.json",
)  # fmt: skip
FUSIONS = {"trees": ("trees.txt", "trees.json"), "logit": ("fusion.json",)}
_GOLDEN = "golden.json"
_ROWS = "rows.parquet"
"""What was measured for each test user; a report of before there was one has none."""
_SUFFIXES = {".json", ".safetensors", ".parquet", ".faiss", ".html"}
_TEXTS = {"trees.txt"}


def required(recipe: Recipe) -> list[str]:
    """Return the files that every bundle of a recipe holds."""
    settings = recipe.retrieval
    of_sources = {SOURCE_FILES[name] for name in settings.names if name in SOURCE_FILES}
    estimates = [ESTIMATES] if recipe.reads_estimates else []
    paths = [part for name in INDEXES for part in part_paths(Path(f"{name}.faiss"), recipe.index.shards)]
    of_indexes = [str(path.with_suffix(ending)) for path in paths for ending in (".faiss", ".json")]
    return [*REQUIRED, *of_indexes, *sorted(of_sources), *FUSIONS[settings.fusion], *estimates]


def require_whole(draft: Path, report: Path) -> None:
    """Refuse a draft or a report of which a file is not as its stage left it.

    Raises:
        ReleaseError: with the file.
    """
    for folder, stage in ((draft, "index"), (report, "evaluate")):
        problems = manifest_problems(folder, read_manifest(folder))
        if problems:
            raise ReleaseError(f"{folder}: {problems[0]}; run the {stage} stage again")


def assemble(target: Path, draft: Path, report: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Copy a draft and its report into an empty folder, record golden answers, write the manifest; return it.

    Args:
        target: an empty folder.
        draft: from the index stage.
        report: from the evaluate stage.
        about: what the manifest says besides: names and ids of what the bundle was made from.

    Raises:
        ReleaseError: if a file of the draft or the report is damaged or missing, a draft holds a folder, or its parts
            are of different versions.
    """
    from motet.release.golden import record_golden
    from motet.release.versions import require_one_version

    require_whole(draft, report)
    for path in sorted(draft.iterdir()):
        if path.name != MANIFEST:
            _copy(path, target / path.name)
    (target / "report").mkdir()
    for name in ("report.json", "report.html", _ROWS):
        if name != _ROWS or (report / name).is_file():
            _copy(report / name, target / "report" / name)
    wanted = required(read_recipe(target)) if (target / "recipe.json").is_file() else REQUIRED
    missing = [name for name in wanted if name != _GOLDEN and not (target / name).is_file()]
    if missing:
        raise ReleaseError(f"the draft {draft} lacks {missing[0]}; run the index stage again")
    require_one_version(target)
    write_json(target / _GOLDEN, record_golden(target))
    return write_manifest(target, {"format": FORMAT, **about})


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise ReleaseError(f"{source} is not a file; run the stage that writes it again")
    shutil.copyfile(source, target)


def release_id(manifest: dict[str, Any]) -> str:
    """Return the id of a bundle from its manifest."""
    return f"{manifest['recipe']}-{manifest['id'][:12]}"


def verify(folder: Path) -> dict[str, Any]:
    """Return the manifest of a bundle if every byte is as it was published.

    Raises:
        ReleaseError: naming the first file that is damaged, missing, added or of a kind that bundles don't hold.
    """
    if not (folder / MANIFEST).is_file():
        raise ReleaseError(f"{folder} is not a release: it has no {MANIFEST}; motet release list shows the releases")
    manifest = read_manifest(folder)
    _check_id(folder, manifest)
    if manifest.get("format") != FORMAT:
        raise ReleaseError(f"{folder}: bundle format {manifest.get('format')!r} is not {FORMAT}; publish it anew")
    problems = manifest_problems(folder, manifest)
    problems += [f"{name} is of a kind that a bundle does not hold" for name in manifest["files"] if _foreign(name)]
    wanted = REQUIRED if problems else required(read_recipe(folder))
    problems += [f"{name} is missing" for name in wanted if name not in manifest["files"]]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ReleaseError(f"release {folder.name} is refused: {problems[0]}{more}; roll back or publish again")
    return manifest


def _check_id(folder: Path, manifest: dict[str, Any]) -> None:
    from motet.storage import fingerprint

    about = {key: value for key, value in manifest.items() if key not in ("files", "id")}
    if fingerprint(about, manifest["files"]) != manifest.get("id"):
        raise ReleaseError(f"release {folder.name} is refused: {MANIFEST} was changed; roll back or publish again")


def _foreign(name: str) -> bool:
    return Path(name).suffix not in _SUFFIXES and name not in _TEXTS


def read_report(folder: Path) -> dict[str, Any]:
    """Return the evaluation report of a bundle."""
    report = read_json(folder / "report" / "report.json")
    assert isinstance(report, dict)
    return report
