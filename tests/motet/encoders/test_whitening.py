"""Whitening: moments of parts add up; without shrinkage the covariance becomes the identity."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.encoders.whitening import Moments, Whitening


def _vectors(count: int = 500, dim: int = 6) -> np.ndarray:
    """Correlated vectors far from the origin."""
    random = np.random.default_rng(0)
    return (random.normal(size=(count, dim)) @ random.normal(size=(dim, dim)) + 5).astype(np.float32)


def _white(whitening: Whitening, vectors_ND: np.ndarray) -> np.ndarray:
    return (vectors_ND - whitening.mean_D) @ whitening.rotation_DD


def test_without_shrinkage_the_covariance_is_the_identity() -> None:
    vectors = _vectors()
    white = _white(Whitening.fit(Moments.of(vectors), 0.0), vectors)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-3)


def test_full_shrinkage_only_centres_and_scales() -> None:
    vectors = _vectors()
    whitening = Whitening.fit(Moments.of(vectors), 1.0)
    scale = 1 / np.sqrt(np.trace(np.cov(vectors.T, bias=True)) / 6)
    np.testing.assert_allclose(whitening.rotation_DD, scale * np.eye(6), atol=1e-4)


def test_half_shrinkage_by_hand() -> None:
    # Variances 4 and 0 along the axes, mean 2: (4 + 2) / 2 = 3 and (0 + 2) / 2 = 1.
    vectors = np.array([[2.0, 7.0], [-2.0, 7.0]], np.float32)
    whitening = Whitening.fit(Moments.of(vectors), 0.5)
    np.testing.assert_allclose(whitening.mean_D, [0.0, 7.0])
    np.testing.assert_allclose(whitening.rotation_DD, np.diag([1 / np.sqrt(3), 1.0]), atol=1e-6)
    np.testing.assert_allclose(whitening.apply(np.array([[3.0, 8.0]])), [[np.sqrt(3) / 2, 0.5]], atol=1e-6)


@given(cut=st.integers(0, 60))
def test_moments_of_parts_add_up_to_those_of_the_whole(cut: int) -> None:
    vectors = _vectors(60)
    total = Moments.of(vectors[:cut])
    total.add(Moments.of(vectors[cut:]))
    whole = Moments.of(vectors)
    assert total.count == whole.count == 60
    np.testing.assert_allclose(total.sum_D, whole.sum_D)
    np.testing.assert_allclose(total.outer_DD, whole.outer_DD)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
def test_results_are_finite_unit_vectors_even_for_vectors_that_are_all_alike(shrinkage: float) -> None:
    for vectors in (_vectors(), np.ones((5, 6), np.float32), _vectors(3)):
        whitening = Whitening.fit(Moments.of(vectors), shrinkage)
        white = whitening.apply(vectors + np.float32(0.01) * np.arange(6, dtype=np.float32))
        np.testing.assert_allclose(np.linalg.norm(white, axis=1), 1, atol=1e-4)


def test_the_mean_itself_becomes_zero_not_a_number_that_is_not_finite() -> None:
    whitening = Whitening.identity(3)
    np.testing.assert_array_equal(whitening.apply(np.zeros((1, 3))), [[0.0, 0.0, 0.0]])
    np.testing.assert_allclose(whitening.apply(np.array([[3.0, 0.0, 4.0]])), [[0.6, 0.0, 0.8]])


def test_save_and_load_are_exact(tmp_path: Path) -> None:
    whitening = Whitening.fit(Moments.of(_vectors()), 0.1)
    whitening.save(tmp_path / "whitening.safetensors")
    loaded = Whitening.load(tmp_path / "whitening.safetensors")
    np.testing.assert_array_equal(loaded.mean_D, whitening.mean_D)
    np.testing.assert_array_equal(loaded.rotation_DD, whitening.rotation_DD)
