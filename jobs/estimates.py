"""Fitting `motet.estimates` over histories (Ray Data): sums of labels, pairs of items, factors; per fold of users."""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from jobs.estimates_counting import Counting, Scales
from jobs.estimates_latent import fit_latents
from jobs.tables import over_files
from motet.data.moments import AsOf
from motet.estimates import ESTIMATES, FOLDS, Estimates, LabelSums, fold_of, nearness
from motet.mirror import names_in


@dataclass(frozen=True)
class Folds:
    """The estimates fitted without each fold of users.

    Attributes:
        folder: of their files.
        scales: of the scored tasks' labels.
        shards: names of the files of histories.
    """

    folder: str
    scales: Scales
    shards: tuple[str, ...]

    def of(self, shard: str, users: list[str]) -> dict[str, Estimates]:
        """Return the estimates for each user of a shard."""
        fold_U = fold_of(users, self.shards.index(shard), len(self.shards))
        paths = [f"{self.folder}/fold-{fold}.safetensors" for fold in fold_U]
        return {user: _load(path, self.scales) for user, path in zip(users, paths, strict=True)}

    def whole(self) -> Estimates:
        """Return the estimates fitted on all users."""
        return _load(str(Path(self.folder).parent / ESTIMATES), self.scales)


@cache
def _load(path: str, scales: Scales) -> Estimates:
    return Estimates.load(Path(path), scales)


@dataclass(frozen=True)
class Wanted:
    """Which estimates are fitted.

    Attributes:
        tasks: the scored tasks.
        scales: of their labels.
        items: size of the catalogue.
        near: whether nearness of items is counted: items x items numbers.
        factors: whether factors of items are fitted.
        seed: of their start.
    """

    tasks: tuple[str, ...]
    scales: Scales
    items: int
    near: bool
    factors: bool
    seed: int


def write_estimates(folder: Path, prepared: Path, as_of: AsOf, wanted: Wanted) -> Folds:
    """Write estimates.safetensors of all users, and `folds/` with one file per fold left out.

    Args:
        folder: where to.
        prepared: the prepare stage's folder.
        as_of: the events that are fitted on.
        wanted: what is fitted.
    """
    files = names_in(prepared / "histories")
    shards, tasks, items = tuple(path.name for path in files), len(wanted.tasks), wanted.items
    counting = Counting(as_of, wanted.tasks, wanted.scales, items, shards)
    parts = [_zero(tasks, items) for _ in range(FOLDS)]
    for row in over_files(files, counting.sums):
        parts[row["fold"]] += LabelSums(_read(row["sums"], tasks, items), _read(row["counts"], tasks, items))
    whole = sum(parts[1:], parts[0])
    pairs = _pairs(files, counting, whole) if wanted.near else None
    latents = fit_latents(files, counting, whole, prepared, wanted.seed) if wanted.factors else None
    for fold in (*range(FOLDS), None):
        near_TII = pairs.without(fold).nearness() if pairs is not None else None
        sums = whole if fold is None else whole - parts[fold]
        fitted = Estimates.fit(wanted.scales, sums, near_TII, latents[fold] if latents is not None else None)
        fitted.save(folder / ESTIMATES if fold is None else folder / "folds" / f"fold-{fold}.safetensors")
    return Folds(str(folder / "folds"), wanted.scales, shards)


def _zero(tasks: int, items: int) -> LabelSums:
    return LabelSums(np.zeros((tasks, items)), np.zeros((tasks, items)))


def _read(raw: bytes, tasks: int, items: int) -> np.ndarray:
    return np.frombuffer(raw).reshape(tasks, items)


@dataclass(frozen=True)
class _Pairs:
    """X'X of the residuals, and how many people labelled both items, [K, T, I, I] each; K folds, or one sum."""

    grams_KTII: np.ndarray
    both_KTII: np.ndarray

    def without(self, fold: int | None) -> "_Pairs":
        """Return the sum over the other folds."""
        kept = [k for k in range(FOLDS) if k != fold]
        return _Pairs(self.grams_KTII[kept].sum(0, keepdims=True), self.both_KTII[kept].sum(0, keepdims=True))

    def nearness(self) -> np.ndarray:
        """Return [T, I, I]."""
        return np.stack([nearness(*one) for one in zip(self.grams_KTII[0], self.both_KTII[0], strict=True)])


def _pairs(files: list[Path], counting: Counting, whole: LabelSums) -> _Pairs:
    """Count pairs of items over the shards."""
    shape = (FOLDS, len(counting.tasks), counting.items, counting.items)
    found = _Pairs(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    for row in over_files(files, partial(counting.pairs, prior_TI=whole.prior_TI)):
        place = (row["fold"], row["task"])
        found.grams_KTII[place] += np.frombuffer(row["gram"], np.float32).reshape(shape[2:])
        found.both_KTII[place] += np.frombuffer(row["both"], np.float32).reshape(shape[2:])
    return found
