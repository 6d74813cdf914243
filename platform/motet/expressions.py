"""The label grammar: a small, safe language over the columns of an interaction.

    expression = disjunction
    disjunction = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | comparison
    comparison  = sum [ ("==" | "!=" | ">=" | "<=" | ">" | "<") sum | "in" "(" sum { "," sum } ")" ]
    sum         = term { ("+" | "-") term }
    term        = factor { ("*" | "/") factor }
    factor      = number | "'text'" | column | "-" factor | "(" expression ")"

A missing value makes the result unknown (null) unless the rest decides it, as in SQL (Kleene logic).
Nothing here is handed to Python's `eval`.
"""

import math
import re
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from motet.errors import RecipeError

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<sign>==|!=|>=|<=|[-+*/()<>,]))"
)
_WORDS = {"and", "or", "not", "in"}
_COMPARE = {
    "==": pc.equal, "!=": pc.not_equal, ">=": pc.greater_equal, "<=": pc.less_equal, ">": pc.greater, "<": pc.less,
}  # fmt: skip
_ARITHMETIC = {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide}
_MAX_LENGTH = 500
_MAX_DEPTH = 30


@dataclass(frozen=True)
class Node:
    """One node of the tree: `kind` is an operator's name, number, text or column."""

    kind: str
    value: Any = None
    children: tuple["Node", ...] = ()


@dataclass(frozen=True)
class Expression:
    """A parsed label expression; `evaluate` applies it to a table."""

    source: str
    root: Node

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the expression reads."""
        return frozenset(_walk(self.root, "column"))

    @property
    def text_columns(self) -> frozenset[str]:
        """The columns that the expression compares with text."""
        return frozenset(name for name, kinds in _column_kinds(self.root).items() if "text" in kinds)

    @property
    def gives(self) -> str:
        """What it gives: truth, number or text."""
        return "truth" if self.is_boolean else "text" if self.root.kind == "text" else "number"

    @property
    def is_boolean(self) -> bool:
        """Whether the result is true, false or unknown, rather than a number."""
        return self.root.kind in (*_COMPARE, "and", "or", "not", "in")

    def evaluate(self, table: pa.Table) -> pa.Array:
        """Return float32 labels, one a row: booleans as 1 and 0, unknown as null.

        Args:
            table: has every column of `columns`; numbers as float64, text as string.

        Raises:
            RecipeError: if a column is missing.
        """
        missing = sorted(self.columns - set(table.column_names))
        if missing:
            raise RecipeError(f"label {self.source!r} reads {missing[0]!r}; columns: {table.column_names}")
        result = _evaluate(self.root, table)
        if isinstance(result, pa.ChunkedArray):
            result = result.combine_chunks()
        if isinstance(result, pa.Scalar):
            result = pa.array([result.as_py()] * table.num_rows)
        values = pc.cast(result, pa.float32())
        return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float32()))


def parse(source: str) -> Expression:
    """Parse a label expression.

    Raises:
        RecipeError: with the column of the mistake and what was expected there.
    """
    if len(source) > _MAX_LENGTH:
        raise RecipeError(f"label of {len(source)} characters is too long; at most {_MAX_LENGTH}")
    parser = _Parser(source)
    root = parser.disjunction()
    if parser.peek() is not None:
        parser.fail("the end or an operator")
    _result_type(root, source)
    both = sorted(name for name, kinds in _column_kinds(root).items() if len(kinds) > 1)
    if both:
        raise RecipeError(f"label {source!r}: {both[0]!r} is used as a text and as a number; it can be one of them")
    return Expression(source, root)


def _result_type(node: Node, source: str) -> str:
    """Return truth, number, text or any (a column), refusing operators on the wrong type."""
    types = [_result_type(child, source) for child in node.children]
    if node.kind in ("number", "text"):
        return node.kind
    if node.kind == "column":
        return "any"
    logical = node.kind in ("and", "or", "not")
    allowed = ("truth",) if logical else ("number", "any") if node.kind in _ARITHMETIC else ("number", "text", "any")
    wrong = [kind for kind in types if kind not in allowed]
    if wrong or len(set(types) - {"any"}) > 1:
        raise RecipeError(
            f"label {source!r}: {node.kind!r} is given {' and '.join(types)}; "
            f"it takes {'comparisons' if logical else 'values of one type'}"
        )
    return "number" if node.kind in _ARITHMETIC else "truth"


class _Parser:
    """Recursive descent over the grammar in the module's docstring."""

    def __init__(self, source: str) -> None:
        self.source, self.at, self.depth = source, 0, 0
        self.tokens = list(self._tokens())

    def _tokens(self) -> Any:
        position = 0
        while self.source[position:].strip():
            match = _TOKEN.match(self.source, position)
            if match is None:
                column = position + len(self.source[position:]) - len(self.source[position:].lstrip()) + 1
                raise RecipeError(
                    f"label {self.source!r}: unexpected {self.source[column - 1]!r} at column {column}; "
                    "use columns, numbers, 'text', == != >= <= > < + - * / and or not in ( )"
                )
            kind = str(match.lastgroup)
            yield kind, match.group(kind), match.start(kind) + 1
            position = match.end()

    def peek(self) -> str | None:
        """Return the next token's text."""
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take(self, *wanted: str) -> str | None:
        """Consume and return the next token if it is one of `wanted`."""
        if self.peek() in wanted and self.tokens[self.at][0] != "text":
            self.at += 1
            return str(self.tokens[self.at - 1][1])
        return None

    def fail(self, expected: str) -> Any:
        """Raise the syntax error at the current token."""
        if self.at < len(self.tokens):
            _, text, column = self.tokens[self.at]
            raise RecipeError(f"label {self.source!r}: {text!r} at column {column}, expected {expected}")
        raise RecipeError(f"label {self.source!r}: ends at column {len(self.source) + 1}, expected {expected}")

    def _chain(self, operators: tuple[str, ...], operand: Any) -> Node:
        node = operand()
        while operator := self.take(*operators):
            node = Node(operator, None, (node, operand()))
        return node

    def disjunction(self) -> Node:
        """Parse `a or b or c`."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} nested parentheses")
        node = self._chain(("or",), lambda: self._chain(("and",), self.negation))
        self.depth -= 1
        return node

    def negation(self) -> Node:
        """Parse `not a`."""
        count = 0
        while self.take("not"):
            count += 1
        node = self.comparison()
        return Node("not", None, (node,)) if count % 2 else node

    def comparison(self) -> Node:
        """Parse `a >= b` or `a in (b, c)`."""
        left = self.sum()
        if operator := self.take(*_COMPARE):
            return Node(operator, None, (left, self.sum()))
        if self.take("in"):
            if not self.take("("):
                self.fail("'(' after in")
            members = [self.sum()]
            while self.take(","):
                members.append(self.sum())
            if not self.take(")"):
                self.fail("',' or ')'")
            return Node("in", None, (left, *members))
        return left

    def sum(self) -> Node:
        """Parse `a + b - c`."""
        return self._chain(("+", "-"), lambda: self._chain(("*", "/"), self.factor))

    def factor(self) -> Node:
        """Parse a number, a text, a column, a sign or parentheses."""
        if self.at >= len(self.tokens):
            self.fail("a column, number, 'text' or '('")
        kind, text, _ = self.tokens[self.at]
        if kind == "number":
            if not math.isfinite(float(text)):
                self.fail("a number below 1.8e308")
            self.at += 1
            return Node("number", float(text))
        if kind == "text":
            self.at += 1
            return Node("text", text[1:-1])
        if kind == "name" and text not in _WORDS:
            self.at += 1
            return Node("column", text)
        if self.take("-"):
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                self.fail(f"at most {_MAX_DEPTH} signs in a row")
            operand = self.factor()
            self.depth -= 1
            return Node("-", None, (Node("number", 0.0), operand))
        if self.take("("):
            node = self.disjunction()
            if not self.take(")"):
                self.fail("')'")
            return node
        return self.fail("a column, number, 'text' or '('")


def _walk(node: Node, kind: str) -> list[str]:
    own = [str(node.value)] if node.kind == kind else []
    return own + [value for child in node.children for value in _walk(child, kind)]


def _column_kinds(root: Node) -> dict[str, set[str]]:
    """Return {column: kinds} with the kinds, number or text, that the expression takes a column for."""
    groups = _compared(root)
    kinds: dict[str, set[str]] = {name: set() for name in _walk(root, "column")}
    if root.kind == "column":
        kinds[root.value].add("number")
    for _ in groups:  # a kind wanders along `a == b` from column to column
        for group in groups:
            names = [node.value for node in group if node.kind == "column"]
            known = {"text" if node.kind == "text" else "number" for node in group if node.kind != "column"}
            known |= {kind for name in names for kind in kinds[name]}
            for name in names:
                kinds[name] |= known
    return kinds


def _compared(node: Node) -> list[tuple[Node, ...]]:
    """Return the groups of nodes that must be of one kind; what is calculated with stands beside a number."""
    own = [node.children] if node.kind in _COMPARE or node.kind == "in" else []
    if node.kind in _ARITHMETIC:
        own = [(*node.children, Node("number"))]
    return own + [group for child in node.children for group in _compared(child)]


def _evaluate(node: Node, table: pa.Table) -> Any:
    if node.kind == "column":
        return table.column(node.value)
    if node.kind in ("number", "text"):
        return pa.scalar(node.value)
    values = [_evaluate(child, table) for child in node.children]
    if node.kind in _COMPARE:
        return _COMPARE[node.kind](*values)
    if node.kind in _ARITHMETIC:
        return _ARITHMETIC[node.kind](*values)
    if node.kind == "in":
        return reduce(pc.or_kleene, [pc.equal(values[0], member) for member in values[1:]])
    if node.kind == "not":
        return pc.invert(values[0])
    return (pc.and_kleene if node.kind == "and" else pc.or_kleene)(*values)
