"""What was searched for a user and what was removed; it says of the user only the tombstone."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from motet.privacy.secret import FOLDER
from motet.storage import write_json

RECEIPTS = "receipts"
ELSEWHERE = (
    "the files that data.interactions, data.items and data.users name, in which the user stands still; every prepare "
    "leaves the user out",
    "exports, copies and backups of the workspace, and what else lies outside of it",
    "of a workspace on a store: what other nodes have fetched of it, until they next read it there",
    "Ray's logs and temporary files, which hold no ids of users but may hold rows while a stage runs",
    "weights that were learned with the user's events, until the next release is trained",
)


@dataclass(frozen=True)
class Place:
    """One place of the workspace."""

    place: str
    searched: int
    """Files, or logs."""
    removed: int
    """Events, rows or entries."""
    note: str = ""


@dataclass
class Receipt:
    """What was done."""

    tombstones: list[str]
    moment: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    places: list[Place] = field(default_factory=list)
    elsewhere: tuple[str, ...] = ELSEWHERE
    """What was not touched."""

    @property
    def removed(self) -> int:
        """Entries that were removed in all places."""
        return sum(one.removed for one in self.places)

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt as JSON types."""
        return asdict(self)

    def write(self, workspace: Path) -> Path:
        """Keep the receipt in the workspace; return its file."""
        name = f"{self.moment.replace(':', '')}-{self.tombstones[0][:12]}.json"
        path = workspace / FOLDER / RECEIPTS / name
        write_json(path, self.to_dict())
        return path
