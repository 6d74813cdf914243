"""Releases without a user: each that has one is published anew, and the pointers follow.

    copy -> users.parquet, met.parquet, report/rows.parquet without the user -> golden requests -> manifest -> verify
    -> replay in a fresh process -> rename -> pointers -> the old folder goes

The new one has another id, being the hash of its manifest; it says what it was made from as the old one did.
"""

import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

from motet.data.parquet import read_parquet
from motet.forgetting.receipt import Place
from motet.forgetting.rows import remove_met, remove_rows
from motet.release.bundle import release_id, verify
from motet.release.golden import record_golden
from motet.release.publish import CANDIDATE, TEMPORARY, Releases, replay_in_child
from motet.storage import MANIFEST, read_json, read_manifest, replace_folder, write_atomic, write_json, write_manifest

_WITH_USERS = ("users.parquet", "report/rows.parquet")


def clean_releases(workspace: Path, names: Collection[str]) -> tuple[Place, list[Path]]:
    """Publish anew every release that has a user; return what was done, and the folders that are not needed any more.

    A running endpoint follows the pointers; the old folders are for the caller to delete once it has.

    Raises:
        ReleaseError: if a release is damaged, or does not answer without the user.
    """
    releases, removed, old = Releases(workspace), 0, list[Path]()
    found = releases.all()
    for one in found:
        if _has(one.folder, names):
            removed += _publish_anew(releases, one.folder, names)
            old.append(one.folder)
    renewed = f"{len(old)} published anew" if old else ""
    return Place("releases", len(found), removed, renewed), old


def _has(folder: Path, names: Collection[str]) -> bool:
    stored = set(read_parquet(folder / "users.parquet", ["user"]).column("user").to_pylist())
    golden = {one["query"]["user"] for one in read_json(folder / "golden.json")}
    tested = folder / "report" / "rows.parquet"
    asked = set(read_parquet(tested, ["user"]).column("user").to_pylist()) if tested.is_file() else set()
    return not set(names).isdisjoint(stored | golden | asked)


def _publish_anew(releases: Releases, folder: Path, names: Collection[str]) -> int:
    with releases.locked():
        releases.verified(folder.name)
        temporary = releases.folder / f"{uuid.uuid4().hex[:12]}{TEMPORARY}"
        try:
            shutil.copytree(folder, temporary)
            about = {key: value for key, value in read_manifest(folder).items() if key not in ("files", "id")}
            (temporary / MANIFEST).unlink()
            removed = without_users(temporary, names)
            write_json(temporary / "golden.json", record_golden(temporary))
            name = release_id(write_manifest(temporary, about))
            verify(temporary)
            replay_in_child(temporary)
            replace_folder(temporary, releases.folder / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        if releases.candidate_id() == folder.name:
            write_atomic(releases.folder / CANDIDATE, name + "\n")
        if releases.current_id() == folder.name:
            releases.point(name)
        return removed


def without_users(folder: Path, names: Collection[str]) -> int:
    """Remove users from the files of a release; return how many rows that were."""
    removed = 0
    for name in _WITH_USERS:
        if (folder / name).is_file() and (rows := remove_rows(folder / name, names)) is not None:
            removed += rows.num_rows + remove_met(folder / "met.parquet", rows)
    return removed
