"""Whitening: centre text vectors, decorrelate them, scale each direction alike, and cut to unit length.

Raw vectors of language models share a few strong directions (mean cosine above 0.8); whitened ones
separate items better (WhitenRec, arXiv 2402.10602). Shrinkage blends the mean variance into each direction so that
weak, noisy ones are not blown up.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from motet.mirror import at_hand
from motet.storage import write_file_atomic


@dataclass
class Moments:
    """Count, sum and sum of outer products of vectors; moments of parts are added."""

    count: int
    sum_D: np.ndarray
    outer_DD: np.ndarray

    @classmethod
    def of(cls, vectors_ND: np.ndarray) -> "Moments":
        """Return the moments of some vectors, in float64."""
        wide_ND = vectors_ND.astype(np.float64)
        return cls(len(wide_ND), wide_ND.sum(0), wide_ND.T @ wide_ND)

    def add(self, other: "Moments") -> None:
        """Add the moments of another part."""
        self.count += other.count
        self.sum_D = self.sum_D + other.sum_D
        self.outer_DD = self.outer_DD + other.outer_DD


@dataclass(frozen=True)
class Whitening:
    """x -> unit((x - mean) @ rotation)."""

    mean_D: np.ndarray
    rotation_DD: np.ndarray

    @classmethod
    def identity(cls, dim: int) -> "Whitening":
        """Return a whitening that only cuts to unit length."""
        return cls(np.zeros(dim, np.float32), np.eye(dim, dtype=np.float32))

    @classmethod
    def fit(cls, moments: Moments, shrinkage: float) -> "Whitening":
        """Fit from moments.

        Args:
            moments: of at least one vector.
            shrinkage: 0 whitens fully, 1 only centres and scales.
        """
        mean_D = moments.sum_D / moments.count
        covariance_DD = moments.outer_DD / moments.count - np.outer(mean_D, mean_D)
        variance_D, directions_DD = np.linalg.eigh(covariance_DD)
        average = max(float(variance_D.clip(min=0).mean()), 1e-12)
        shrunk_D = (1 - shrinkage) * variance_D.clip(min=0) + shrinkage * average
        scale_D = 1 / np.sqrt(np.maximum(shrunk_D, 1e-6 * average))
        rotation_DD = directions_DD * scale_D @ directions_DD.T
        return cls(mean_D.astype(np.float32), rotation_DD.astype(np.float32))

    def apply(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Return whitened unit vectors, float32 [N, D]."""
        white_ND = (vectors_ND.astype(np.float32) - self.mean_D) @ self.rotation_DD
        norms_N1 = np.linalg.norm(white_ND, axis=1, keepdims=True)
        return np.asarray(white_ND / np.maximum(norms_N1, 1e-12), np.float32)

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        tensors = {"mean": self.mean_D, "rotation": np.ascontiguousarray(self.rotation_DD)}
        write_file_atomic(path, lambda target: save_file(tensors, target))

    @classmethod
    def load(cls, path: Path) -> "Whitening":
        """Read what `save` wrote."""
        tensors = load_file(at_hand(path))
        return cls(tensors["mean"], tensors["rotation"])
