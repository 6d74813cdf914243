"""The interface of all sequence models."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from motet.settings import ModelSettings


class SequenceModel(nn.Module, ABC):
    """A causal map of tokens: token 0 is the prefix, padding may stand between it and the events."""

    @abstractmethod
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, tokens_BPD: Tensor, places_BP: Tensor, seconds_BP: Tensor, valid_BP: Tensor) -> Tensor:
        """Return [B, P, D]; output p reads valid tokens up to p alone.

        Args:
            tokens_BPD: the prefix, then the events.
            places_BP: 0 for the prefix, 1 for the first event and so on.
            seconds_BP: when each event was, float64, from any moment on.
            valid_BP: false for padding.
        """

    @abstractmethod
    def step(self, state: Any, token_BD: Tensor, place: int, seconds_B: Tensor) -> tuple[Any, Tensor]:
        """Return (state, [B, D]) after one more token; the state before the first is None."""
