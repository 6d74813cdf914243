"""What every kind of task brings.

Letters: N rows, O outputs of a head. A label that is NaN is unknown: its row adds to neither sum nor count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from motet.kinds.calibration import Calibrator
    from motet.kinds.statistics import Statistic


Figures: TypeAlias = dict[str, float | list[dict[str, float | None]] | None]
"""Figures of the report by name; None is unknown, a list is a curve."""


@dataclass(frozen=True)
class LabelScale:
    """Mean, standard deviation and range of a label over the training rows, and whether all are whole numbers."""

    mean: float
    std: float
    low: float
    high: float
    whole: bool = False


class Kind(Protocol):
    """A kind of task: what a recipe must know of it, and how the doctor judges it."""

    @property
    def name(self) -> str:
        """The kind's name in a recipe."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What its label may be: truth, number; nothing if it has none."""

    @property
    def selection(self) -> dict[str, bool]:
        """The validation metrics that may select the best epoch, and whether larger is better; the first judges it."""

    @property
    def options(self) -> frozenset[str]:
        """The settings of `Task` that are for it and not for every kind."""

    def statistic(
        self, predictions_N: np.ndarray, labels_N: np.ndarray, users_N: np.ndarray, slates_N: np.ndarray
    ) -> Statistic:
        """Return the first metric of `selection` as a function of how often each user counts.

        Args:
            predictions_N: what is served; of retrieval the place of the item in its user's list from 1, 0 for none.
            labels_N: all known.
            users_N: users as numbers from 0.
            slates_N: slate of each row, -1 for none; no two users have one number.
        """


class ScoredKind(Kind, Protocol):
    """A kind of task that the ranker has a head for."""

    @property
    def figures(self) -> dict[str, bool]:
        """The figures of `report` that tell two releases apart, and whether larger is better."""

    def problem(self, scale: LabelScale) -> str | None:
        """Return what is wrong with the training labels, with the fix, or None."""

    def outputs(self, scale: LabelScale) -> int:
        """Return the number of outputs of its head; several are cumulative logits with ordered thresholds."""

    def raw(self, outputs_NO: Tensor) -> Tensor:
        """Return one raw score per row, [N], from the head's outputs."""

    def loss(
        self,
        outputs_NO: Tensor,
        labels_N: Tensor,
        scale: LabelScale,
        weights_N: Tensor | None = None,
        groups_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return (sum, count): the caller divides by the count of all workers.

        Args:
            outputs_NO: of the head.
            labels_N: NaN is unknown.
            scale: of the training labels.
            weights_N: weight of each row; the count is then their sum.
            groups_N: slate of each row, -1 for none.
        """

    def validation(
        self, raw_N: np.ndarray, labels_N: np.ndarray, scale: LabelScale, groups_N: np.ndarray
    ) -> dict[str, float]:
        """Return the metrics of `selection`, but for the loss, that the known labels can give."""

    def report(self, served_N: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray) -> Figures:
        """Return the figures of the evaluation report, from what is served."""

    def fit(
        self,
        method: str,
        raw_N: np.ndarray,
        labels_N: np.ndarray,
        scale: LabelScale,
        moments_N: np.ndarray | None = None,
    ) -> Calibrator:
        """Fit the map from raw scores to what is served.

        Args:
            method: `ranking.calibration` of the recipe.
            raw_N: raw scores of validation events.
            labels_N: their labels.
            scale: of the training labels.
            moments_N: when they came, in milliseconds; None is unknown.
        """

    def uncalibrated(self, scale: LabelScale) -> Calibrator:
        """Return the map that is used when nothing was fitted."""


def masked_sum(each_N: Tensor, known_N: Tensor, weights_N: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the (weighted) sum of the known rows' losses, and their number or sum of weights."""
    share_N = known_N.to(each_N.dtype) if weights_N is None else known_N * weights_N
    return (each_N * share_N).sum(), share_N.sum()
