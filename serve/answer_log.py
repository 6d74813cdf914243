"""The Gateway's part in the log of answers: which are recorded, where, and that an answer never waits for it."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from motet.data.hashing import uniform
from motet.privacy.watch import Watch
from motet.recipe import Recipe
from motet.recommend import Query
from motet.record_settings import RecordSettings
from motet.records.record import Record, candidate_arrays, fallback_arrays
from motet.records.writer import RecordWriter
from serve.front import Front
from serve.ladder import Answer
from serve.meters import Meters
from serve.places import changed, folder_of_log
from serve.shelf import Shelf

RECORDED = "recorded"
_MOST_RELEASES = 8


def place_of_records(args: dict[str, Any], recipe: Recipe, release: Path) -> RecordSettings:
    """Return where answers are logged: the recipe's `serve.records`, changed by `records` of the arguments.

    Raises:
        ReleaseError: without a path beside a release that is in no workspace, or for wrong arguments.
    """
    own = recipe.serve.records.model_dump(exclude_unset=True)
    settings = changed(RecordSettings, own, args.get("records", {}), "records")
    if settings.store == "none":
        return settings
    return settings.model_copy(update={"path": folder_of_log(settings.path, release, "recommendations", "records")})


class AnswerLog:
    """Records answers.

    Args:
        settings: from `place_of_records`, as plain types.
        meters: what is counted.
        watch: says who was forgotten; what they were answered is not written.
    """

    def __init__(self, settings: dict[str, Any], meters: Meters, watch: Watch) -> None:
        self.settings = RecordSettings.model_validate(settings)
        self._shelves: dict[str, Shelf] = {}
        self._known: dict[str, pa.Array] = {}
        self.writer: RecordWriter | None = None
        if self.settings.store == "parquet":
            folder = Path(self.settings.path or "")
            self.writer = RecordWriter(folder, self.settings, self._ids, meters.records_dropped, watch.forgets)

    def _ids(self, release: str) -> pa.Array:
        """Return the ids of a release's items by place, of all too that came before this was called."""
        shelf = self._shelves[release]
        shelf.catch_up()
        ids = shelf.items.ids
        if len(self._known.get(release, ())) != len(ids):
            self._known[release] = pa.array(ids, pa.string())
        return self._known[release]

    def _remember(self, release: str, shelf: Shelf) -> None:
        """Know the items of a release until its records are written, which is long before so many others are served."""
        self._shelves.pop(release, None)
        self._shelves[release] = shelf
        while len(self._shelves) > _MOST_RELEASES:
            oldest = next(iter(self._shelves))
            del self._shelves[oldest]
            self._known.pop(oldest, None)

    def wants(self, request_id: str) -> bool:
        """Return whether the answer to a request is recorded."""
        return self.writer is not None and uniform(request_id, RECORDED) < self.settings.share

    def put(self, answer: Answer, query: Query, front: Front) -> None:
        """Have the answer to a query recorded, if the query says so; drop it if too many wait."""
        if self.writer is None or not query.recorded:
            return
        self._remember(front.release, front.shelf)
        self.writer.put(_record(answer, query, front))

    def close(self) -> None:
        """Write what waits."""
        if self.writer is not None:
            self.writer.close()


def _record(answer: Answer, query: Query, front: Front) -> Record:
    user, numbers = answer.user, answer.ranked.numbers if answer.ranked is not None else None
    if numbers is not None and answer.candidates is not None:
        arrays = candidate_arrays(answer.candidates, numbers)
    else:
        shown = front.shelf.items.places([item.item for item in answer.items])
        arrays = fallback_arrays(answer.candidates, shown, [item.value for item in answer.items])
    return Record(
        request_id=query.request or "",
        release=front.release,
        moment_ms=round(time.time() * 1000),
        query=query,
        surface=front.surface(query),
        level=answer.level,
        recognised=user.level if user is not None else "popular",
        known_to=user.known_to if user is not None else None,
        **arrays,
    )
