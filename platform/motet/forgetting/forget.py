"""Forgetting a user, place by place, in the order that leaves no way back.

The tombstone comes first: from then on endpoints take and give nothing of the user, so what is cleaned stays clean.
"""

import fcntl
import os
import time
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from motet.errors import DataError
from motet.event_settings import EventSettings
from motet.events.erasure import erase
from motet.events.store import open_store
from motet.forgetting.receipt import Place, Receipt
from motet.forgetting.records import clean_records
from motet.forgetting.releases import clean_releases
from motet.forgetting.stages import clean_stages
from motet.lease import LEASES, only_holder
from motet.mirror import at_hand, names_in, remove
from motet.privacy.privacy import Privacy, add_tombstones
from motet.recipe import Recipe
from motet.recommend import read_recipe
from motet.record_commands import records_folder
from motet.release.publish import CURRENT, Releases
from motet.storage import MANIFEST

NOTICE_S = 2.0
"""Longer than an endpoint takes to see a tombstone."""


def forget(workspace: Path, user: str, grace_s: float = 0.0) -> Receipt:
    """Remove a user from a workspace and from the endpoints that serve it.

    Args:
        workspace: its folder.
        user: the id, as requests and files spell it.
        grace_s: how long the folders of old releases stay, for an endpoint that is on its way to the new ones.

    Raises:
        DataError: if it is no workspace, or a run is writing it; what comes before the stages is done by then.
        EventLogError: if the event log cannot be reached.
        ReleaseError: if a release cannot be published anew.
    """
    if not at_hand(workspace / "workspace.json").is_file() and not names_in(workspace / "releases", f"*/{MANIFEST}"):
        raise DataError(f"{workspace} is not a workspace; give the folder that the pipeline wrote")
    names = add_tombstones(workspace, unicodedata.normalize("NFC", user).strip())
    receipt = Receipt([Privacy.load(workspace).tombstone(name) for name in names])
    recipe = _recipe(workspace)
    time.sleep(NOTICE_S)
    at_hand(workspace)
    receipt.places += [*_clean_events(workspace, names, recipe), _clean_records(workspace, names, recipe)]
    with _claimed(workspace):
        at_hand(workspace)  # with what a run has finished in the meantime
        receipt.places += clean_stages(workspace, names, recipe.data.interactions.user if recipe else None)
        place, old = clean_releases(workspace, names)
        receipt.places.append(place)
        if old:
            time.sleep(grace_s)
        for folder in old:
            remove(folder)
    receipt.write(workspace)
    return receipt


def _recipe(workspace: Path) -> Recipe | None:
    releases = Releases(workspace)
    return read_recipe(releases.current()) if (releases.folder / CURRENT).is_file() else None


def _clean_events(workspace: Path, names: Collection[str], recipe: Recipe | None) -> Iterator[Place]:
    settings = recipe.serve.events if recipe else EventSettings()
    store = open_store(settings, workspace / "events", recipe.name if recipe else "")
    if store is not None:
        removed, note = erase(store, names)
        yield Place(f"events ({settings.store})", 1, removed, note)


def _clean_records(workspace: Path, names: Collection[str], recipe: Recipe | None) -> Place:
    return clean_records(records_folder(workspace, recipe) if recipe else workspace / "recommendations", names)


@contextmanager
def _claimed(workspace: Path) -> Iterator[None]:
    """Hold the workspace, as a run does."""
    handle = os.open(workspace / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise DataError(
            f"{workspace} is being written by a run; endpoints and logs have forgotten the user, stages and releases "
            "have not: do it again when the run is over"
        ) from error
    try:
        with only_holder(workspace / LEASES / "run", 0.0):
            yield
    finally:
        os.close(handle)
