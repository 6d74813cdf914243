"""Residuals of users by folds, of all of them or of a share."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from jobs.estimates_counting import Counting
from motet.data.moments import BEFORE_VALIDATION
from motet.data.split import TEST, TRAIN
from motet.estimates import FOLDS
from motet.kinds import LabelScale

USERS, ITEMS = 400, 3
COUNTING = Counting(BEFORE_VALIDATION, ("like",), (LabelScale(0.5, 0.5, 0.0, 1.0, True),), ITEMS, ("a.parquet",))
NO_PRIOR = np.zeros((1, ITEMS), np.float32)


def histories() -> pa.Table:
    """Everyone likes item 0 in train, and item 2 in the test."""
    columns = {
        "user": [f"u{number}" for number in range(USERS)],
        "items": pa.array([[0, 2]] * USERS, pa.list_(pa.int32())),
        "parts": pa.array([[TRAIN, TEST]] * USERS, pa.list_(pa.int8())),
        "label:like": pa.array([[1.0, 1.0]] * USERS, pa.list_(pa.float32())),
    }
    return pa.table(columns).replace_schema_metadata({"file": "/x/a.parquet"})


def matrices(share: float) -> list[sp.csr_matrix]:
    rows = COUNTING.residuals(histories(), NO_PRIOR, share).to_pylist()
    assert [row["fold"] for row in rows] == list(range(FOLDS))
    found = []
    for row in rows:
        ends = np.frombuffer(row["ends"], np.int64)
        arrays = (np.frombuffer(row["values"]), np.frombuffer(row["places"], np.int32), ends)
        found.append(sp.csr_matrix(arrays, shape=(len(ends) - 1, ITEMS)))
    return found


def test_the_residuals_of_all_users_are_those_of_train() -> None:
    """A label of 1 is a deviation of 1; less the user's offset 1 / (1 + 3) it is 0.75."""
    found = sp.vstack(matrices(1.0)).toarray()
    np.testing.assert_allclose(found, [[0.75, 0, 0]] * USERS)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_users_is_drawn_by_their_ids(share: float) -> None:
    kept = sum(one.shape[0] for one in matrices(share))
    assert kept == pytest.approx(share * USERS, abs=40)
    assert kept == sum(one.shape[0] for one in matrices(share))
    assert sum(one.shape[0] for one in matrices(share / 2)) < kept
