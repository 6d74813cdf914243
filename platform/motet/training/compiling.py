"""torch.compile for the part of the network that most of a step goes to: the user tower."""

import importlib.util
import os
import shutil

import torch

from motet.errors import TrainingError
from motet.model.recommender import Recommender


def compile_tower(model: Recommender, device: torch.device, backend: str = "inductor") -> None:
    """Let the user tower be compiled when it is called first; weights and their names stay as they are.

    Args:
        model: the network.
        device: where it will run.
        backend: of torch.compile.

    Raises:
        TrainingError: if what torch.compile needs is not on this node.
    """
    if problem := lacking(device.type):
        raise TrainingError(f"train.compile = true needs {problem} on every node that trains; install it, or set false")
    model.users.compile(dynamic=True, backend=backend)


def lacking(device: str) -> str | None:
    """Return what torch.compile needs for a type of device and this machine does not have, or None."""
    if device == "cuda":
        return None if importlib.util.find_spec("triton") else "triton"
    names = filter(None, [os.environ.get("CXX"), "g++", "c++", "clang++"])
    return None if any(shutil.which(name) for name in names) else "a C++ compiler (g++)"
