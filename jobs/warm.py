"""Where a refresh goes on from: the network of the current release, and what that has not seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from jobs.stages import say
from jobs.windows import Fresh
from motet.data.features import FeatureSpec
from motet.data.parquet import read_parquet
from motet.errors import ReleaseError
from motet.mirror import at_hand, names_in
from motet.model.warm import OldRows, carry_over
from motet.release.publish import Releases
from motet.storage import read_json, read_manifest

REFIT = "refit"


@dataclass(frozen=True)
class WarmStart:
    """One network to go on from."""

    network: Path
    """Folder of its weights and card."""
    release: Path
    """Folder that says which items and categories its rows are of."""
    epochs: int
    known_events: int
    """Interactions that it was made from."""
    fresh: Fresh


@dataclass(frozen=True)
class Warm:
    """The networks of a release."""

    release: Path
    trained: Path
    """What the train stage left."""
    prepared: Path
    """What it was trained on."""
    epochs: int

    @classmethod
    def of_current(cls, workspace: Path, epochs: int) -> "Warm":
        """Find what the current release was made of.

        Raises:
            ReleaseError: if there is no release, or its run is not in the workspace any more.
        """
        release = Releases(workspace).current()
        draft = _folder_of(workspace / "drafts", str(read_manifest(release).get("draft")))
        prepared, _, trained = read_manifest(draft)["inputs"]["trained"]
        network, log = _folder_of(workspace / "runs", trained), _folder_of(workspace / "prepared", prepared)
        return cls(release, network, log, epochs)

    def to_dict(self) -> dict[str, Any]:
        """Return what decides the result, as JSON types."""
        return {"release": self.release.name, "trained": self.trained.name, "epochs": self.epochs}

    def start(self, refit: bool) -> WarmStart:
        """Return the first network, or the one that was trained again.

        It has seen what came before the release's own validation or, trained again, test part, if that is a matter of
        time; else all but a few events of each user.
        """
        folder = self.trained / REFIT if refit and names_in(self.trained / REFIT, "model.json") else self.trained
        fitted = read_json(self.prepared / "features.json")
        boundaries, latest_ms = fitted["boundaries"], int(fitted["percentiles"][-1])
        seen_ms = int(boundaries[1 if folder.name == REFIT else 0]) if boundaries else None
        known = int(read_json(self.prepared / "ledger.json")["interactions"]["kept"])
        fresh = Fresh(latest_ms if seen_ms is None else seen_ms, seen_ms)
        return WarmStart(folder, self.release, self.epochs, known, fresh)


def _folder_of(parent: Path, identity: str) -> Path:
    for manifest in names_in(parent, "*/manifest.json"):
        if read_json(manifest).get("id") == identity:
            return manifest.parent
    raise ReleaseError(
        f"{parent} no longer holds what the current release was made of ({identity}); run jobs/pipeline.py RECIPE"
    )


def warm_up(model: nn.Module, start: WarmStart, prepared: Path) -> None:
    """Put the weights of a network into a fresh one, items and categories found by name."""
    items = (
        read_parquet(start.release / "items.parquet", ["item"]).column("item").to_pylist(),
        read_parquet(prepared / "items", ["item"]).column("item").to_pylist(),
    )
    then, now = (read_json(folder / "features.json") for folder in (start.release, prepared))
    specs = [tuple(FeatureSpec.model_validate(one[name]) for one in (then, now)) for name in ("items", "users")]
    rows = OldRows.of(items, (specs[0][0], specs[0][1]), (specs[1][0], specs[1][1]))
    known = carry_over(model, load_file(at_hand(start.network / "model.safetensors")), rows)
    say(f"train: goes on from release {start.release.name}, which knows {known:,} of the {len(items[1]):,} items")
