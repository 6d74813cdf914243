"""ranking: which of the items that were shown together is best.

    listwise   softmax cross-entropy over the slate, the gains as its target (ListNet, Cao et al., ICML 2007)
    pairwise   log-loss of every pair of unlike gain (RankNet, Burges et al., ICML 2005)

A label is the gain: a truth, or a number of which what is below 0 counts as 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from motet.kinds.kind import Figures, LabelScale

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from motet.kinds.calibration import Calibrator
    from motet.kinds.statistics import Statistic


@dataclass(frozen=True)
class Ranking:
    """An order within a slate."""

    loss_kind: str = "listwise"
    name: str = "ranking"
    labels: tuple[str, ...] = ("truth", "number")
    selection: dict[str, bool] = field(default_factory=lambda: {"ndcg": True, "loss": False})
    figures: dict[str, bool] = field(default_factory=lambda: {"ndcg": True})
    options: frozenset[str] = frozenset({"slate", "loss"})

    def problem(self, scale: LabelScale) -> str | None:
        """Return that no label is a gain, if so."""
        return "has no label above 0, so no item of a slate is better than another" if scale.high <= 0 else None

    def outputs(self, scale: LabelScale) -> int:
        """Return 1: the score."""
        return 1

    def raw(self, outputs_NO: Tensor) -> Tensor:
        """Return the score."""
        return outputs_NO[:, 0]

    def loss(
        self,
        outputs_NO: Tensor,
        labels_N: Tensor,
        scale: LabelScale,
        weights_N: Tensor | None = None,
        groups_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the summed loss, and the number of slates (listwise) or pairs (pairwise); weighted by the gain's row.

        Slates of one item, and those without a gain, add nothing.
        """
        import torch

        assert groups_N is not None
        usable_N = ~labels_N.isnan() & (groups_N >= 0)
        score_N, gain_N = outputs_NO[usable_N, 0], labels_N[usable_N].clamp(min=0)
        weight_N = torch.ones_like(gain_N) if weights_N is None else weights_N[usable_N]
        _, slate_N = torch.unique(groups_N[usable_N], return_inverse=True)
        if len(score_N) == 0:
            return outputs_NO.sum() * 0.0, gain_N.sum()
        loss = _pairwise if self.loss_kind == "pairwise" else _listwise
        return loss(score_N, gain_N, weight_N, slate_N)

    def validation(
        self, raw_N: np.ndarray, labels_N: np.ndarray, scale: LabelScale, groups_N: np.ndarray
    ) -> dict[str, float]:
        """Return the mean NDCG within slates."""
        value = self.report(raw_N, labels_N, groups_N)["ndcg"]
        return {"ndcg": value} if isinstance(value, float) else {}

    def report(self, served_N: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray) -> Figures:
        """Return the mean NDCG within slates and their number."""
        from motet.kinds.metrics import slate_metrics

        return {**slate_metrics(labels_N, served_N, groups_N)}

    def statistic(
        self, predictions_N: np.ndarray, labels_N: np.ndarray, users_N: np.ndarray, slates_N: np.ndarray
    ) -> Statistic:
        """Return the mean NDCG of the slates."""
        import numpy as np

        from motet.kinds.metrics import slate_ndcgs
        from motet.kinds.statistics import Mean

        ndcg_N = slate_ndcgs(labels_N, predictions_N, slates_N)
        return Mean.of_rows(np.nan_to_num(ndcg_N), users_N, ~np.isnan(ndcg_N))

    def fit(
        self,
        method: str,
        raw_N: np.ndarray,
        labels_N: np.ndarray,
        scale: LabelScale,
        moments_N: np.ndarray | None = None,
    ) -> Calibrator:
        """Fit Platt's curve if the labels are truths, unless the recipe calibrates nothing; else serve the score."""
        import numpy as np

        from motet.kinds.calibration import Calibrator, fit_binary

        truths = bool(np.isin(labels_N[~np.isnan(labels_N)], (0, 1)).all())
        fitted = fit_binary("platt", raw_N, labels_N) if truths and method != "none" else None
        return fitted if fitted is not None and fitted.kind == "platt" else Calibrator("identity")

    def uncalibrated(self, scale: LabelScale) -> Calibrator:
        """Return the score itself."""
        from motet.kinds.calibration import Calibrator

        return Calibrator("identity")


def _listwise(score_N: Tensor, gain_N: Tensor, weight_N: Tensor, slate_N: Tensor) -> tuple[Tensor, Tensor]:
    slates = int(slate_N.max()) + 1
    size_G = score_N.new_zeros(slates).index_add(0, slate_N, score_N.new_ones(len(score_N)))
    total_G = score_N.new_zeros(slates).index_add(0, slate_N, gain_N)
    highest_G = score_N.detach().new_full((slates,), -float("inf"))
    highest_G = highest_G.scatter_reduce(0, slate_N, score_N.detach(), "amax")
    shifted_N = score_N - highest_G[slate_N]
    log_sum_G = score_N.new_zeros(slates).index_add(0, slate_N, shifted_N.exp()).log()
    used_G = (size_G > 1) & (total_G > 0)
    share_N = gain_N / total_G[slate_N].clamp(min=1e-12) * used_G[slate_N] * weight_N
    return (share_N * (log_sum_G[slate_N] - shifted_N)).sum(), share_N.sum()


def _pairwise(score_N: Tensor, gain_N: Tensor, weight_N: Tensor, slate_N: Tensor) -> tuple[Tensor, Tensor]:
    from torch.nn import functional

    same_NN = slate_N.unsqueeze(1) == slate_N.unsqueeze(0)
    better, worse = (same_NN & (gain_N.unsqueeze(1) > gain_N.unsqueeze(0))).nonzero(as_tuple=True)
    each = functional.softplus(score_N[worse] - score_N[better]) * weight_N[better]
    return each.sum(), weight_N[better].sum()
