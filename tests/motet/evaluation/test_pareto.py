"""The front of points worked out by hand."""

import pytest

from motet.evaluation.pareto import front


@pytest.mark.parametrize(
    ("points", "larger", "expected"),
    [
        ([], [True], []),
        ([(1,), (3,), (2,)], [True], [False, True, False]),
        ([(1,), (3,), (2,)], [False], [True, False, False]),
        # 0 and 1 trade off; 2 loses to 0 in the second, equal in the first; 3 loses to both
        ([(3, 1), (1, 3), (3, 0), (0, 0)], [True, True], [True, True, False, False]),
        # the second metric is an error: now 2 beats 0, and 3 has as small an error but less of the first
        ([(3, 1), (1, 3), (3, 0), (0, 0)], [True, False], [False, False, True, False]),
        ([(2, 2), (2, 2), (1, 2)], [True, True], [True, True, False]),
        ([(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)], [True] * 3, [True, True, True, False]),
    ],
)
def test_front(points: list[tuple[float, ...]], larger: list[bool], expected: list[bool]) -> None:
    assert front(points, larger) == expected
