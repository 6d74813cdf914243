"""Factors of items: planted tastes are found, by labels and by contents; items without labels are contents alone."""

import numpy as np
import scipy.sparse as sp

from motet.estimates import Latent, contents_of, fit_latent

USERS, ITEMS = 300, 40


def planted(seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """Return residuals of half the pairs, from a hidden and a visible property of items; all of them; contents."""
    draw = np.random.default_rng(seed)
    hidden_I, seen_I = draw.normal(size=ITEMS), np.where(np.arange(ITEMS) % 2, 0.5, -0.5)
    truth_UI = np.outer(draw.normal(size=USERS), hidden_I) + np.outer(draw.normal(size=USERS), 2 * seen_I)
    noisy_UI = truth_UI + 0.3 * draw.normal(size=truth_UI.shape)
    return sp.csr_matrix(noisy_UI * (draw.random(truth_UI.shape) < 0.5)), truth_UI, seen_I[:, None].astype(np.float32)


def predictions(latent: Latent, residuals_UI: sp.csr_matrix) -> np.ndarray:
    rows = []
    for user in range(USERS):
        row = residuals_UI[user]
        left_SZZ, items_SZ = latent.alone(row.indices)
        right_Z = row.data @ items_SZ
        rows.append(latent.predict(left_SZZ.sum(0)[None], right_Z[None], np.arange(ITEMS)))
    return np.array(rows)


def test_hidden_and_visible_tastes_are_found() -> None:
    residuals_UI, truth_UI, contents_IM = planted()
    unmet_UI = residuals_UI.toarray() == 0
    latent = fit_latent(residuals_UI, contents_IM, seed=1)
    left = (truth_UI - predictions(latent, residuals_UI))[unmet_UI]
    assert left.std() < 0.25 * truth_UI[unmet_UI].std()
    blind = fit_latent(residuals_UI, np.zeros((ITEMS, 0), np.float32), seed=1)
    assert (truth_UI - predictions(blind, residuals_UI))[unmet_UI].std() < 0.35 * truth_UI[unmet_UI].std()


def test_an_item_without_labels_is_known_by_its_contents_alone() -> None:
    residuals_UI, truth_UI, contents_IM = planted()
    kept = residuals_UI.toarray()
    kept[:, 7] = 0
    latent = fit_latent(sp.csr_matrix(kept), contents_IM, seed=1)
    assert np.abs(latent.items_IZ[7, :-1]).max() == 0
    assert latent.items_IZ[7, -1] == contents_IM[7, 0]
    assert (latent.doubt_IZ[7, :-1] > latent.doubt_IZ[6, :-1]).all()
    visible_U = predictions(latent, sp.csr_matrix(kept))[:, 7]
    assert np.corrcoef(visible_U, truth_UI[:, 7])[0, 1] > 0.5


def test_users_are_solved_in_any_number_at_once(monkeypatch) -> None:
    residuals_UI, _, contents_IM = planted()
    one = fit_latent(residuals_UI, contents_IM, seed=1)
    monkeypatch.setattr("motet.estimates.latent._USERS", 7)
    two = fit_latent(residuals_UI, contents_IM, seed=1)
    np.testing.assert_allclose(one.items_IZ, two.items_IZ, atol=1e-4)
    np.testing.assert_allclose(one.ridge_Z, two.ridge_Z, rtol=1e-4)


def test_nobody_says_nothing() -> None:
    latent = fit_latent(sp.csr_matrix((0, 3)), np.zeros((3, 0), np.float32), seed=1)
    assert not latent.items_IZ.any()
    assert np.isfinite(latent.ridge_Z).all()


def test_contents_are_centred_columns_of_categories_and_numbers() -> None:
    found_IM = contents_of([[1], [1, 3], []], np.array([[2.0], [0.0], [-2.0]], np.float32))
    np.testing.assert_allclose(found_IM, [[1 / 3, -1 / 3, 1], [1 / 3, 2 / 3, 0], [-2 / 3, -1 / 3, -1]], atol=1e-6)
    many = contents_of([[place + 1] for place in range(100)], np.zeros((100, 0), np.float32))
    assert many.shape == (100, 20)
    np.testing.assert_allclose(many.mean(0), 0, atol=1e-6)
