"""How well fused lists do on validation, with all sources and without each: cross-fitted, so no list judges itself.

The users of validation are divided into two halves; trees fitted on all past moments and one half order the other.
These trees are half as many and learn twice as fast as the fusion's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from motet.evaluation.ranking_metrics import rank_metrics
from motet.kinds.retrieval import fit_sharpness
from motet.retrieval.trees import Group, Trees, fit
from motet.settings import TreeSettings

FOLDS = 2
K = 10


@dataclass(frozen=True)
class CrossFit:
    """NDCG@10 on validation, and the factor that makes the trees' sums logits."""

    ndcg: float
    factor: float


class Selector:
    """Fits trees on some of the sources.

    Args:
        past: groups of past moments.
        validation: groups of validation.
        names: features, in order.
        sources: those of them that are scores of sources; `<source> rank` are their ranks.
        settings: the trees.
        seed: of the trees.
    """

    def __init__(
        self, past: Sequence[Group], validation: Sequence[Group], names: Sequence[str], sources: Sequence[str],
        settings: TreeSettings, seed: int,
    ) -> None:  # fmt: skip
        self.past, self.validation, self.names, self.sources = list(past), list(validation), list(names), list(sources)
        self.settings, self.seed = settings, seed
        faster = {"rounds": max(1, settings.rounds // 2), "learning_rate": min(1.0, 2 * settings.learning_rate)}
        self.quick = settings.model_copy(update=faster)

    def _kept(self, sources: Sequence[str]) -> list[int]:
        """Return the columns of some sources, and all that are of none."""
        gone = {name for source in self.sources if source not in sources for name in (source, f"{source} rank")}
        return [place for place, name in enumerate(self.names) if name not in gone]

    def _restricted(self, groups: Sequence[Group], sources: Sequence[str]) -> list[Group]:
        """Return groups with the columns of some sources, and the candidates that these listed."""
        if list(sources) == self.sources:
            return list(groups)
        kept, ranks = self._kept(sources), [self.names.index(f"{source} rank") for source in sources]
        return [_listed(group, ranks).columns(kept) for group in groups]

    def cross_fit(self, sources: Sequence[str]) -> CrossFit:
        """Return how well the fusion of some sources does."""
        past, held = self._restricted(self.past, sources), self._restricted(self.validation, sources)
        raws: list[np.ndarray] = [np.zeros(0)] * len(held)
        for fold in range(FOLDS):
            known = [group for place, group in enumerate(held) if place % FOLDS != fold]
            booster = fit(past + known, self.quick, self.seed)
            for place in range(fold, len(held), FOLDS):
                features_CF = held[place].features_CF
                raws[place] = np.asarray(booster.predict(features_CF)) if len(features_CF) else np.zeros(0)
        return CrossFit(mean_ndcg(raws, held), fit_sharpness(raws, [group.rows for group in held]))

    def without_each(self) -> dict[str, float]:
        """Return NDCG@10 without each source."""
        return {
            name: self.cross_fit([one for one in self.sources if one != name]).ndcg
            for name in self.sources
            if len(self.sources) > 1
        }

    def choose(self, without: dict[str, float], whole: float) -> list[str]:
        """Return the sources that help: those whose absence costs nothing leave, worst first, while that stays so."""
        kept = list(self.sources)
        for name in sorted(without, key=lambda one: -without[one]):
            if without[name] < whole or len(kept) == 1:
                break
            fewer = [one for one in kept if one != name]
            if self.cross_fit(fewer).ndcg >= whole:
                kept = fewer
        return kept

    def trees(self, sources: Sequence[str], factor: float) -> Trees:
        """Return trees over some sources, fitted on everything."""
        booster = fit(self._restricted([*self.past, *self.validation], sources), self.settings, self.seed)
        return Trees(booster, [self.names[place] for place in self._kept(sources)], factor)


def mean_ndcg(raws: Sequence[np.ndarray], groups: Sequence[Group]) -> float:
    """Return NDCG@10 over the groups that have a target, those that no source listed included; 0 without groups."""
    each = []
    for raw, group in zip(raws, groups, strict=True):
        targets = {*group.rows.tolist(), *range(len(raw), len(raw) + group.missed)}
        if targets:
            each.append(rank_metrics(np.argsort(-raw, kind="stable")[:K], targets, K)["ndcg"])
    return float(np.mean(each)) if each else 0.0


def _listed(group: Group, ranks: Sequence[int]) -> Group:
    """Return the candidates that one of the sources with these rank columns listed."""
    kept_C = (~np.isnan(group.features_CF[:, ranks])).any(1)
    rows = np.flatnonzero(kept_C)
    taken = np.flatnonzero(np.isin(rows, group.rows))
    return Group(group.features_CF[rows], taken, group.missed + len(group.rows) - len(taken))
