"""The label grammar against values worked out by hand and a brute-force oracle of three-valued logic."""

import operator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.errors import RecipeError
from motet.expressions import parse

_TABLE = pa.table(
    {
        "rating": pa.array([5.0, 3.0, None, 4.0]),
        "price": pa.array([10.0, 0.0, 2.0, None]),
        "action": pa.array(["buy", "view", None, "buy"]),
        "half": pa.array([0.5, 0.25, 0.125, None]),
    }
)


def _labels(source: str) -> list[float | None]:
    return parse(source).evaluate(_TABLE).to_pylist()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("rating", [5, 3, None, 4]),
        ("rating >= 4", [1, 0, None, 1]),
        ("rating != 3", [1, 0, None, 1]),
        ("action == 'buy'", [1, 0, None, 1]),
        ('action != "buy"', [0, 1, None, 0]),
        ("action in ('view', 'like')", [0, 1, None, 0]),
        ("rating in (3, 4)", [0, 1, None, 1]),
        # 5 / 10, 3 / 0 is infinite and so unknown
        ("rating / price", [0.5, None, None, None]),
        # 2 + 3 * 5 = 17, 2 + 3 * 3 = 11, 2 + 3 * 4 = 14
        ("2 + 3 * rating", [17, 11, None, 14]),
        # (2 + 3) * 5 = 25
        ("(2 + 3) * rating", [25, 15, None, 20]),
        # 10 - 5 - 1 = 4: from the left
        ("price - rating - 1", [4, -4, None, None]),
        ("-rating", [-5, -3, None, -4]),
        ("--rating", [5, 3, None, 4]),
        ("rating > -1", [1, 1, None, 1]),
        ("half * 1e1", [5, 2.5, 1.25, None]),
        # not binds tighter than and, and tighter than or
        ("not rating >= 4 and price < 1", [0, 1, 0, 0]),
        ("rating > 4 or rating < 4 and price > 5", [1, 0, None, 0]),
        ("not not rating > 4", [1, 0, None, 0]),
        ("not not not rating > 4", [0, 1, None, 1]),
        # the third rating is unknown, but price < 5 decides the or; nothing decides the and
        ("rating > 9 or price < 5", [0, 1, 1, None]),
        ("rating < 9 and price < 5", [0, 1, None, None]),
        ("rating > 9 and price < 5", [0, 0, None, 0]),
        # 1e300 is no float32
        ("rating * 1e300", [None, None, None, None]),
        ("3 >= 4", [0, 0, 0, 0]),
        ("1 + 1", [2, 2, 2, 2]),
    ],
)
def test_labels_by_hand(source: str, expected: list[float | None]) -> None:
    assert _labels(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "label '': ends at column 1, expected a column, number, 'text' or '('"),
        ("rating >=", "label 'rating >=': ends at column 10, expected a column, number, 'text' or '('"),
        ("rating = 4", "label 'rating = 4': unexpected '=' at column 8; use columns, numbers"),
        ("rating >= 4 4", "'4' at column 13, expected the end or an operator"),
        ("(rating > 4", "ends at column 12, expected ')'"),
        ("rating in 4", "'4' at column 11, expected '(' after in"),
        ("rating in (4", "ends at column 13, expected ',' or ')'"),
        ("and", "'and' at column 1, expected a column"),
        ("rating > 4 > 3", "'>' at column 12, expected the end or an operator"),
        ("__import__('os')", "'(' at column 11, expected the end or an operator"),
        ("rating.real > 3", "unexpected '.' at column 7"),
        ("action == 'buy", 'unexpected "\'" at column 11'),
        ("not rating", "'not' is given any; it takes comparisons"),
        ("rating and price > 1", "'and' is given any and truth; it takes comparisons"),
        ("(rating > 4) + 1", "'+' is given truth and number; it takes values of one type"),
        ("action + 'x' > 3", "'+' is given any and text; it takes values of one type"),
        ("rating == 'x' and rating > 3", "'rating' is used as a text and as a number; it can be one of them"),
        ("a == b and b == c and c == 'x' and a > 1", "'a' is used as a text and as a number"),
        ("rating > 1e999", "'1e999' at column 10, expected a number below 1.8e308"),
        ("(" * 40 + "a" + ")" * 40, "expected at most 30 nested parentheses"),
        ("-" * 40 + "a", "expected at most 30 signs in a row"),
        ("a" * 501, "label of 501 characters is too long; at most 500"),
    ],
)
def test_mistakes_say_where_and_what(source: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse(source)
    assert message in str(error.value)


def test_columns_and_their_kinds() -> None:
    expression = parse("action == 'buy' and other == action and rating + 1 > price")
    assert expression.columns == {"action", "other", "rating", "price"}
    assert expression.text_columns == {"action", "other"}


@pytest.mark.parametrize(
    ("source", "truth"), [("a > 1", True), ("not a > 1", True), ("a in (1)", True), ("a", False), ("a + 1", False)]
)
def test_a_truth_or_a_number(source: str, truth: bool) -> None:
    assert parse(source).is_boolean is truth


def test_a_missing_column_is_named() -> None:
    with pytest.raises(RecipeError, match=r"label 'stars > 1' reads 'stars'; columns: \['rating', 'price'"):
        parse("stars > 1").evaluate(_TABLE)


def test_many_negative_numbers_are_not_nested_signs() -> None:
    # 60 members, each with one sign: the limit of 30 is on signs in a row
    source = f"a in ({', '.join(f'-{n}' for n in range(60))})"
    assert parse(source).evaluate(pa.table({"a": [-59.0, 1.0, None]})).to_pylist() == [1, 0, None]


def test_no_rows_give_no_labels() -> None:
    assert parse("a > 1").evaluate(pa.table({"a": pa.array([], pa.float64())})).to_pylist() == []
    assert parse("1 > 2").evaluate(pa.table({"a": pa.array([], pa.float64())})).to_pylist() == []


def test_chunks_are_one_column() -> None:
    column = pa.chunked_array([[1.0, None], [3.0]])
    labels = parse("a >= 2").evaluate(pa.table({"a": column}))
    assert isinstance(labels, pa.Array)
    assert labels.to_pylist() == [0, None, 1]


@given(st.text(max_size=60))
def test_random_text_is_parsed_or_refused(source: str) -> None:
    try:
        parse(source)
    except RecipeError:
        return


_WORDS = st.sampled_from(
    ["a", "b", "1", "2.5", "'x'", "(", ")", "and", "or", "not", "in", ",", "+", "-", "/", ">", "=="]
)


@given(st.lists(_WORDS, max_size=14).map(" ".join))
@settings(max_examples=300)
def test_random_words_that_parse_also_evaluate(source: str) -> None:
    try:
        expression = parse(source)
    except RecipeError:
        return
    columns = {
        name: pa.array(["x", None]) if name in expression.text_columns else pa.array([1.0, None]) for name in ("a", "b")
    }
    if expression.root.kind != "text":
        assert len(expression.evaluate(pa.table(columns))) == 2


_COMPARE = {">": operator.gt, "<": operator.lt, "==": operator.eq, "!=": operator.ne, ">=": operator.ge}
_leaf = st.tuples(st.sampled_from("abc"), st.sampled_from(sorted(_COMPARE)), st.integers(0, 2))
_tree = st.recursive(
    _leaf,
    lambda inner: st.one_of(st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)),
    max_leaves=6,
)


def _spelled(tree: Any) -> str:
    if tree[0] == "not":
        return f"not ({_spelled(tree[1])})"
    if tree[0] in ("and", "or"):
        return f"({_spelled(tree[1])}) {tree[0]} ({_spelled(tree[2])})"
    return f"{tree[0]} {tree[1]} {tree[2]}"


def _possible(tree: Any, row: dict[str, int]) -> bool:
    """The truth of a tree over a row without unknown values."""
    if tree[0] == "not":
        return not _possible(tree[1], row)
    if tree[0] in ("and", "or"):
        left, right = _possible(tree[1], row), _possible(tree[2], row)
        return (left and right) if tree[0] == "and" else (left or right)
    return bool(_COMPARE[tree[1]](row[tree[0]], tree[2]))


def _kleene(tree: Any, row: dict[str, int | None]) -> bool | None:
    """Three-valued logic from Kleene's truth tables."""
    if tree[0] == "not":
        inner = _kleene(tree[1], row)
        return None if inner is None else not inner
    if tree[0] in ("and", "or"):
        values = {_kleene(tree[1], row), _kleene(tree[2], row)}
        decisive = tree[0] == "or"
        return decisive if decisive in values else None if None in values else not decisive
    value = row[tree[0]]
    return None if value is None else bool(_COMPARE[tree[1]](value, tree[2]))


_row = st.fixed_dictionaries({name: st.one_of(st.none(), st.integers(0, 2)) for name in "abc"})


@given(_tree, st.lists(_row, min_size=1, max_size=5))
def test_unknown_is_kleenes_unknown(tree: Any, rows: list[dict[str, int | None]]) -> None:
    table = pa.table({name: pa.array([row[name] for row in rows], pa.float64()) for name in "abc"})
    labels = parse(_spelled(tree)).evaluate(table).to_pylist()
    expected = [_kleene(tree, row) for row in rows]
    assert labels == [None if one is None else float(one) for one in expected]
    for label, row in zip(labels, rows, strict=True):
        if None not in row.values():
            assert label == float(_possible(tree, row))  # type: ignore[arg-type]
