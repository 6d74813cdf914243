"""The network on disk: model.safetensors (weights) and model.json (shapes, tasks, label scales, settings)."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from motet.errors import DataError
from motet.kinds import LabelScale
from motet.mirror import at_hand
from motet.model.recommender import Recommender, Shapes
from motet.settings import ModelSettings
from motet.storage import read_json, write_file_atomic, write_json
from motet.task import Task


@dataclass(frozen=True)
class ModelCard:
    """Everything that is needed to build the network again."""

    shapes: Shapes
    tasks: tuple[Task, ...]
    settings: ModelSettings
    scales: dict[str, LabelScale]
    signals: dict[str, LabelScale] = field(default_factory=dict)
    """Scale of each signal that the user tower reads beside the labels."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "shapes": asdict(self.shapes),
            "tasks": [task.model_dump(mode="json") for task in self.tasks],
            "settings": self.settings.model_dump(mode="json"),
            "scales": {name: asdict(scale) for name, scale in self.scales.items()},
            "signals": {name: asdict(scale) for name, scale in self.signals.items()},
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "ModelCard":
        """Rebuild from `to_dict`."""
        return cls(
            Shapes(**value["shapes"]),
            tuple(Task.model_validate(task) for task in value["tasks"]),
            ModelSettings.model_validate(value["settings"]),
            {name: LabelScale(**scale) for name, scale in value["scales"].items()},
            {name: LabelScale(**scale) for name, scale in value["signals"].items()},
        )

    def build(self) -> Recommender:
        """Return the network with fresh weights."""
        return Recommender(self.shapes, self.tasks, self.settings, self.scales, tuple(self.signals.values()))


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """Write a module's weights as safetensors."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_file_atomic(path, lambda target: save_file(tensors, target))


def save_model(folder: Path, model: Recommender, card: ModelCard) -> None:
    """Write model.safetensors and model.json."""
    save_weights(folder / "model.safetensors", model)
    write_json(folder / "model.json", card.to_dict())


def load_model(folder: Path) -> tuple[Recommender, ModelCard]:
    """Return the network in evaluation mode, and its card.

    Raises:
        DataError: if a file is missing, or the weights do not fit the card.
    """
    card = ModelCard.from_dict(read_json(folder / "model.json"))
    model = card.build()
    path = folder / "model.safetensors"
    if not at_hand(path).is_file():
        raise DataError(f"{path} does not exist; run the train stage (jobs/pipeline.py)")
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path} does not fit model.json ({str(error).splitlines()[0]}); train again") from error
    return model.eval(), card
