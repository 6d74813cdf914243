"""Fusion by gradient-boosted trees: LambdaMART (Burges 2010) over the candidates of users at past moments.

A group is one user at one moment; its relevant rows are what the user then took. The trees' sum orders the
candidates; times a factor that is fitted on groups that the trees did not see, it is the logit of a softmax over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np

from motet.errors import RetrievalError
from motet.retrieval.fusion import log_softmax
from motet.settings import TreeSettings
from motet.storage import read_json, write_atomic, write_json


@dataclass(frozen=True)
class Group:
    """One user at one moment: features of the candidates [C, F], and which of them the user took."""

    features_CF: np.ndarray
    rows: np.ndarray
    missed: int = 0
    """Targets that no source listed."""

    def columns(self, kept: Sequence[int]) -> "Group":
        """Return the group with some columns only."""
        return Group(self.features_CF[:, kept], self.rows, self.missed)


class Trees:
    """Fitted trees.

    Args:
        booster: the trees.
        names: features, in order.
        factor: times the trees' sum gives logits.
    """

    def __init__(self, booster: lightgbm.Booster, names: Sequence[str], factor: float) -> None:
        self.booster, self.names, self.factor = booster, tuple(names), factor

    def raw(self, features_CF: np.ndarray) -> np.ndarray:
        """Return the trees' sum per candidate, float64 [C]."""
        if len(features_CF) == 0:
            return np.zeros(0)
        return np.asarray(self.booster.predict(features_CF, num_threads=1))

    def log_probabilities(self, features_CF: np.ndarray) -> np.ndarray:
        """Return the log-probability of each candidate, float32 [C]."""
        return log_softmax(self.factor * self.raw(features_CF))

    @property
    def importance(self) -> dict[str, float]:
        """Share of each feature in the gain of all splits, largest first."""
        gain_F = self.booster.feature_importance("gain")
        shares = gain_F / max(gain_F.sum(), 1e-12)
        return {self.names[f]: float(shares[f]) for f in np.argsort(-shares, kind="stable") if shares[f] > 0}

    def save(self, folder: Path) -> None:
        """Write trees.txt (LightGBM's text format) and trees.json."""
        write_atomic(folder / "trees.txt", self.booster.model_to_string().encode())
        write_json(folder / "trees.json", {"names": list(self.names), "factor": self.factor})

    @classmethod
    def load(cls, folder: Path) -> "Trees":
        """Read what `save` wrote."""
        about = read_json(folder / "trees.json")
        return cls(lightgbm.Booster(model_str=(folder / "trees.txt").read_text()), about["names"], about["factor"])


def fit(groups: Sequence[Group], settings: TreeSettings, seed: int) -> lightgbm.Booster:
    """Return trees that order each group's taken rows first.

    Raises:
        RetrievalError: if no group holds what its user took.
    """
    used = [group for group in groups if len(group.rows)]
    if not used:
        raise RetrievalError("fusion: no past event is among its candidates; raise retrieval.candidates")
    labels = []
    for group in used:
        labels.append(np.zeros(len(group.features_CF), np.int8))
        labels[-1][group.rows] = 1
    data = lightgbm.Dataset(
        np.concatenate([group.features_CF for group in used]), np.concatenate(labels),
        group=[len(group.features_CF) for group in used], params={"verbosity": -1},
    )  # fmt: skip
    chosen = {
        "objective": "lambdarank", "label_gain": [0, 1], "lambdarank_truncation_level": settings.depth_of_list,
        "num_leaves": settings.leaves, "min_data_in_leaf": settings.rows_per_leaf,
        "learning_rate": settings.learning_rate,
        "feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 5.0,
        "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": settings.threads, "verbosity": -1,
    }  # fmt: skip
    return lightgbm.train(chosen, data, settings.rounds)
