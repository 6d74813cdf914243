"""A checkpoint is a folder: model and optimiser as safetensors, the rest as JSON, a manifest last.

If the model is an average of weights, the weights that training goes on from are there too.

Nothing in it unpickles. A folder whose manifest does not hold is not a checkpoint.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from motet.errors import DataError, TrainingError
from motet.mirror import at_hand, remove
from motet.model.io import ModelCard, save_model
from motet.model.recommender import Recommender
from motet.storage import (
    MANIFEST,
    manifest_problems,
    read_json,
    read_manifest,
    write_file_atomic,
    write_json,
    write_manifest,
)

_STEPPED = "stepped.safetensors"


def save_checkpoint(
    folder: Path,
    model: Recommender,
    card: ModelCard,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    stepped: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint.

    Args:
        folder: an empty folder.
        model: the network.
        card: its card.
        optimizer: AdamW.
        state: epoch, step, best metric and the like, as JSON types.
        stepped: the weights that training goes on from, if they are not those in the network.
    """
    save_model(folder, model, card)
    tensors = {
        f"{place}.{name}": value.detach().cpu().contiguous()
        for place, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }
    write_file_atomic(folder / "optimizer.safetensors", lambda target: save_file(tensors, target))
    if stepped:
        weights = {name: value.detach().cpu().contiguous() for name, value in stepped.items()}
        write_file_atomic(folder / _STEPPED, lambda target: save_file(weights, target))
    write_json(folder / "state.json", state)
    write_manifest(folder, {"kind": "checkpoint", "epoch": state["epoch"]})


def stepped_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that training goes on from, if they are not the model's; nothing else."""
    path = folder / _STEPPED
    return dict(load_file(path)) if path.exists() else {}


def is_whole(folder: Path) -> bool:
    """Return whether the folder holds a checkpoint whose every byte is as it was written."""
    return not _problems(folder)


def _problems(folder: Path) -> list[str]:
    try:
        return manifest_problems(folder, read_manifest(folder))
    except DataError as error:
        return [str(error)]


def load_checkpoint(folder: Path, model: Recommender, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Load model and optimiser in place and return the state.

    Raises:
        TrainingError: if the folder is damaged or belongs to another network.
    """
    problems = _problems(folder)
    if problems:
        raise TrainingError(f"checkpoint {folder}: {problems[0]}; delete it, the one before is used")
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except RuntimeError as error:
        raise TrainingError(f"checkpoint {folder} is of another network; delete it and train anew") from error
    entries: dict[int, dict[str, Any]] = {}
    for key, value in load_file(folder / "optimizer.safetensors").items():
        place, _, name = key.partition(".")
        entries.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    state = read_json(folder / "state.json")
    assert isinstance(state, dict)
    return state


def epoch_folder(folder: Path, epoch: int) -> Path:
    """Return where the checkpoint of an epoch stands."""
    return folder / f"epoch-{epoch:05d}"


def keep_only(folder: Path, epochs: set[int]) -> None:
    """Delete the checkpoints of all other epochs."""
    kept = {epoch_folder(folder, epoch).name for epoch in epochs}
    for path in at_hand(folder).glob("epoch-*"):
        if path.name not in kept:
            remove(path, ignore_errors=True)


def newest_whole(folder: Path) -> Path | None:
    """Return the whole checkpoint of the highest epoch below a folder, or None."""
    found = [path.parent for path in at_hand(folder).rglob(MANIFEST) if (path.parent / "state.json").is_file()]
    whole = [path for path in found if is_whole(path)]
    return max(whole, key=lambda path: int(read_json(path / "state.json")["epoch"]), default=None)
