"""What the Conductor tells the Gateways."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from motet.canary_settings import CanarySettings
from motet.errors import ReleaseError
from motet.mirror import at_hand
from motet.recommend.recall import Recall
from motet.release.canary import Outcomes
from motet.storage import write_atomic

_SURFACES = TypeAdapter(dict[str, dict[str, float]])


@dataclass(frozen=True)
class Canary:
    """A release that is tried on some users."""

    release: str
    settings: CanarySettings
    """Who gets it, and when it is dropped; its own recipe's."""
    outcomes: Outcomes = field(default_factory=Outcomes)
    """What came of its answers."""
    current: Outcomes = field(default_factory=Outcomes)
    """What came of the current release's answers since then."""


@dataclass(frozen=True)
class State:
    """What is served."""

    active: str | None
    """The release that every replica holds and that requests are answered by; None until that is known."""
    canary: Canary | None = None
    surfaces: dict[str, dict[str, float]] = field(default_factory=dict)
    """Weights by surface that were changed while serving."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why a release is not served, by release."""
    recall: Recall = field(default_factory=Recall)
    """What the index of the active release found of what it should have."""
    conductor: str = ""
    """Whose word it is."""
    number: int = 0
    """How often this Conductor changed it."""

    def change(self, **what: Any) -> "State":
        """Return the next state."""
        return replace(self, number=self.number + 1, **what)

    def is_older_than(self, other: "State") -> bool:
        """Return whether the same Conductor said the other one later."""
        return self.conductor == other.conductor and self.number < other.number

    @property
    def candidate(self) -> str | None:
        """The release that is tried out."""
        return self.canary.release if self.canary is not None else None


def read_surfaces(workspace: Path) -> dict[str, dict[str, float]]:
    """Return the weights that `write_surfaces` kept; none if it never did.

    Raises:
        ReleaseError: if the file cannot be read.
    """
    path = at_hand(_surfaces_of(workspace))
    if not path.is_file():
        return {}
    try:
        return _SURFACES.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ReleaseError(f"{path} holds no weights by surface; mend it, or remove it for the recipe's") from error


def write_surfaces(workspace: Path, surfaces: dict[str, dict[str, float]]) -> None:
    """Keep changed weights for the next start."""
    path = _surfaces_of(workspace)
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, _SURFACES.dump_json(surfaces, indent=1).decode() + "\n")


def _surfaces_of(workspace: Path) -> Path:
    return workspace / "serving" / "surfaces.json"
