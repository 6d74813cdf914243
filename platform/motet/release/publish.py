"""Publish, list and roll back: the folder of releases and the pointer CURRENT.

    assemble <id>.tmp -> sync -> verify -> golden requests in a fresh process -> gate -> rename -> swap the pointer

A reader sees the old release or the new one. One publisher at a time (a file lock, and a lease where the workspace is
on a store); one that dies leaves a .tmp folder, which the next publisher removes.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from motet.errors import DataError, MotetError, ReleaseError
from motet.lease import LEASES, only_holder
from motet.mirror import at_hand, names_in, remove
from motet.release.bundle import assemble, read_report, release_id, require_whole, verify
from motet.release.gate import refusals
from motet.settings import ReleaseSettings
from motet.storage import (
    MANIFEST,
    read_json,
    read_manifest,
    replace_folder,
    safe_join,
    write_atomic,
    write_json,
)

CURRENT, CANDIDATE = "CURRENT", "CANDIDATE"
TEMPORARY = ".tmp"
_REPLAY_SECONDS = 300
_WAYS_OUT = "train a better one, raise what the recipe allows, or publish it with --force"
REFUSED = "refused.json"
"""Why a release is not to be served again: it was rolled back from, or dropped as a candidate."""


@dataclass(frozen=True)
class Released:
    """A release in the folder."""

    id: str
    folder: Path
    manifest: dict[str, Any]
    current: bool


class Releases:
    """The releases of a workspace."""

    def __init__(self, workspace: Path) -> None:
        self.folder = workspace / "releases"

    def current_id(self) -> str:
        """Return the id that the pointer names.

        Raises:
            ReleaseError: if nothing was published yet.
        """
        path = at_hand(self.folder / CURRENT)
        if not path.is_file():
            raise ReleaseError(f"{self.folder} has no current release; run jobs/pipeline.py RECIPE first")
        return path.read_text(encoding="utf-8").strip()

    def find(self, name: str) -> Path:
        """Return the folder of a release.

        Raises:
            ReleaseError: if there is none of that name.
        """
        folder = at_hand(safe_join(self.folder, name))
        if not folder.is_dir() or folder.suffix == TEMPORARY:
            raise ReleaseError(f"release {name!r} does not exist; releases: {[one.id for one in self.all()]}")
        return folder

    def verified(self, name: str) -> Path:
        """Return the folder of a release whose every byte is as published and that bears its own id.

        Raises:
            ReleaseError: if there is none of that name, it is damaged, or another release lies under the name.
        """
        folder = self.find(name)
        found = release_id(verify(folder))
        if found != folder.name:
            raise ReleaseError(f"release {folder.name} is refused: its content is that of {found}; publish it anew")
        return folder

    def current(self) -> Path:
        """Return the folder of the current release, verified."""
        return self.verified(self.current_id())

    def all(self) -> list[Released]:
        """Return all releases, oldest first; a folder whose manifest cannot be read is none."""
        pointer = at_hand(self.folder / CURRENT)
        current = pointer.read_text().strip() if pointer.is_file() else None
        found = []
        for path in (one.parent for one in names_in(self.folder, f"*/{MANIFEST}")):
            manifest = _manifest(path) if path.suffix != TEMPORARY else None
            if manifest is not None:
                found.append(Released(path.name, path, manifest, path.name == current))
        return sorted(found, key=lambda one: (str(one.manifest["created"]), one.id))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who publishes, for as long as this lasts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with only_holder(self.folder.parent / LEASES / "releases"):
                yield
        finally:
            os.close(handle)

    def publish(
        self, draft: Path, report: Path, settings: ReleaseSettings, about: dict[str, Any], force: bool = False
    ) -> Released:
        """Publish a draft with its report.

        Args:
            draft: from the index stage.
            report: from the evaluate stage.
            settings: the gate.
            about: what the manifest says besides; `recipe` is part of the id.
            force: publish it whatever the gate has against it, which its manifest then says under `forced`.

        Raises:
            ReleaseError: if it does not verify, does not answer its golden requests, or the gate refuses it.
        """
        with self.locked():
            for left in self.folder.glob(f"*{TEMPORARY}"):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
            temporary = self.folder / f"{uuid.uuid4().hex[:12]}{TEMPORARY}"
            temporary.mkdir()
            try:
                created = datetime.now(UTC).isoformat(timespec="milliseconds")
                require_whole(draft, report)
                against = self._against(report, settings)
                if against and not force:
                    raise ReleaseError(f"the gate refuses this release: {'; '.join(against)}; {_WAYS_OUT}")
                said = {"created": created, **about} | ({"forced": against} if against else {})
                manifest = assemble(temporary, draft, report, said)
                verify(temporary)
                replay_in_child(temporary)
                name = release_id(manifest)
                replace_folder(temporary, self.folder / name)
                self.point(name)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            return Released(name, self.folder / name, manifest, True)

    def _against(self, report: Path, settings: ReleaseSettings) -> list[str]:
        """Return what the gate has against a report; a damaged current release, which no reader takes, is no bar."""
        try:
            current = read_report(self.current())
        except MotetError:
            current = None
        return refusals(read_json(report / "report.json"), current, settings)

    def point(self, name: str) -> None:
        """Make a release the current one, under the lock."""
        write_atomic(self.folder / CURRENT, name + "\n")
        if self.candidate_id() == name:
            remove(self.folder / CANDIDATE)

    def refused(self) -> dict[str, str]:
        """Return why releases are not to be served again, by id."""
        path = at_hand(self.folder / REFUSED)
        return dict(read_json(path)) if path.is_file() else {}

    def _refuse(self, name: str, because: str | None) -> None:
        """Remember why a release is not to be served again, under the lock; None forgets it."""
        known = self.refused()
        changed = {one: why for one, why in known.items() if one != name} | ({name: because} if because else {})
        if changed != known:
            write_json(self.folder / REFUSED, changed)

    def candidate_id(self) -> str | None:
        """Return the id of the release that is tried on some users; None if there is none."""
        path = at_hand(self.folder / CANDIDATE)
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def try_out(self, name: str, again: bool = False) -> str:
        """Make a release the candidate, which an endpoint tries on `serve.canary.share` of its users; return its id.

        Args:
            name: of the release.
            again: even if it was refused, which is forgotten.

        Raises:
            ReleaseError: if there is none of that name, it does not verify, it is the current one, or it was refused.
        """
        with self.locked():
            self.verified(name)
            if not again and (because := self.refused().get(name)) is not None:
                raise ReleaseError(f"{name} was refused: {because}; motet release canary {name} --again tries it")
            if name == self.current_id():
                raise ReleaseError(f"{name} is the current release already; try out another one")
            self._refuse(name, None)
            write_atomic(self.folder / CANDIDATE, name + "\n")
            return name

    def drop_candidate(self, name: str | None = None, because: str | None = None) -> str:
        """Take the candidate away, or only if it is the one named; return its id.

        Args:
            name: the one that is meant; whichever it is if None.
            because: why it is not to be tried again; None says nothing against it.

        Raises:
            ReleaseError: if there is none, or another one.
        """
        with self.locked():
            candidate = self.candidate_id()
            if candidate is None or name not in (None, candidate):
                raise ReleaseError(f"{name or 'no release'} is not being tried out; the candidate is {candidate}")
            remove(self.folder / CANDIDATE)
            if because is not None:
                self._refuse(candidate, because)
            return candidate

    def promote(self) -> str:
        """Make the candidate the current release; return its id.

        Raises:
            ReleaseError: if there is no candidate.
        """
        candidate = self.candidate_id()
        if candidate is None:
            raise ReleaseError("no release is being tried out; motet release canary NAME begins it")
        return self.rollback(candidate)

    def rollback(self, name: str | None = None) -> str:
        """Move the pointer to a release, by default the one published before the current one; return its id.

        If the current one is not there any more or its manifest cannot be read, that is the latest of the others. One
        that was left for an older one is remembered as refused, and passed over from then on unless it is named.

        Raises:
            ReleaseError: if there is none, or it does not verify.
        """
        with self.locked():
            names, current = [one.id for one in self.all()], self.current_id()
            place = names.index(current) if current in names else len(names)
            if name is None:
                older = [one for one in names[:place] if one not in self.refused()]
                if not older:
                    raise ReleaseError(f"{current} is the oldest release; there is none to roll back to")
                name = older[-1]
            self.verified(name)
            self.point(name)
            if name in names[:place]:
                self._refuse(current, f"rolled back to {name} on {datetime.now(UTC).isoformat(timespec='seconds')}")
            self._refuse(name, None)
            return name


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = read_manifest(folder)
    except DataError:
        return None
    return manifest if "created" in manifest else None


def replay_in_child(folder: Path) -> None:
    """Load a bundle in a fresh process and replay its golden requests there.

    Raises:
        ReleaseError: with what the process said, if it failed or took more than five minutes.
    """
    start = time.monotonic()
    command = [sys.executable, "-m", "motet.release.golden", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_REPLAY_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"the golden requests took more than {_REPLAY_SECONDS} s; the release is refused") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["no word"]
        raise ReleaseError(
            f"the release is refused: its golden requests failed after {time.monotonic() - start:.0f} s: {said[0]}"
        )
