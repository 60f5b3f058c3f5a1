"""Small wrong changes of a module's source: one at a time, each at a place where a slip is plausible.

Changed are conditions, comparisons, boolean operators, returned constants, sums and differences, and the
comparisons and conjunctions of SQL in string constants, where half of the rules stand. Each place has one
mutant, the smallest that is wrong.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """``before`` at (line, column) becomes ``after``; ``key`` names it whatever moves around it."""

    line: int
    column: int
    before: str
    after: str
    start: int
    end: int
    key: str = ""

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]


_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
# Longest first: a part of a longer operator is not one of its own.
_SQL = re.compile(
    r"\bIS NOT NULL\b|\bIS NULL\b|\bNOT IN\b|\bNOT EXISTS\b|\bNOT LIKE\b|\bEXISTS\b|\bLIKE\b|\bIN\b(?= \()"
    r"|\bIS NOT\b|\bIS\b|\bAND\b|\bOR\b|<>|<=|>=|(?<![<>])=|<(?![>=])|>(?!=)"
)
_SQL_SWAPS = {
    "IS NOT NULL": "IS NULL",
    "IS NULL": "IS NOT NULL",
    "NOT IN": "IN",
    "IN": "NOT IN",
    "NOT EXISTS": "EXISTS",
    "EXISTS": "NOT EXISTS",
    "NOT LIKE": "LIKE",
    "LIKE": "NOT LIKE",
    "IS NOT": "IS",
    "IS": "IS NOT",
    "AND": "OR",
    "OR": "AND",
    "<>": "=",
    "=": "<>",
    "<=": "<",
    ">=": ">",
    "<": "<=",
    ">": ">=",
}
_STATEMENT = re.compile(r"\b(SELECT|UPDATE|DELETE|INSERT|WHERE|AND|FROM)\b")


def mutants(source: bytes) -> list[Mutant]:
    """All mutants of a module, in the order of the source, each with a key of its own."""
    collector = _Collector(source)
    collector.visit(ast.parse(source))
    result = sorted(collector.found, key=lambda item: (item.start, item.end, item.after))
    seen: dict[str, int] = {}
    named = []
    for scope, item in ((collector.scopes[id(item)], item) for item in result):
        text = f"{scope}: {_around(source, item)}"
        seen[text] = seen.get(text, 0) + 1
        key = text if seen[text] == 1 else f"{text} #{seen[text]}"
        named.append(Mutant(item.line, item.column, item.before, item.after, item.start, item.end, key))
    return named


def _around(source: bytes, item: Mutant) -> str:
    """The line of a mutant with its change marked: short, and readable in a list."""
    start = source.rfind(b"\n", 0, item.start) + 1
    end = source.find(b"\n", item.end)
    before, after = source[start : item.start].decode().strip(), source[item.end : end].decode().rstrip()
    gap = " " if source[start : item.start].endswith(b" ") and before else ""
    return f"{before}{gap}[{item.before} → {item.after}]{after}"


class _Collector(ast.NodeVisitor):
    def __init__(self, source: bytes) -> None:
        self._source = source
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts
        self._scope: list[str] = []
        self.found: list[Mutant] = []
        self.scopes: dict[int, str] = {}

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scoped(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._scoped(node)

    def _scoped(self, node: ast.ClassDef | ast.FunctionDef) -> None:
        self._scope.append(node.name)
        for statement in node.body:
            is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not is_docstring:
                self.visit(statement)
        self._scope.pop()

    def visit_Module(self, node: ast.Module) -> None:
        for statement in node.body:
            is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not is_docstring and not _is_for_types(statement):
                self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._condition(test)
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """An assert states what holds already; its condition decides nothing."""

    def visit_Compare(self, node: ast.Compare) -> None:
        left: ast.expr = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            self._between(left, right, *_COMPARISONS[type(operator)])
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        before, after = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, before, after)
        if not _has_default(node):
            for value in node.values:
                self._condition(value)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            start = self._offset(node.lineno, node.col_offset)
            self._add(start, start + len("not "), "not ", "")
        elif isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            start = self._offset(node.lineno, node.col_offset)
            self._add(start, start + 1, "-", "")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _ARITHMETIC and not _is_text(node):
            self._between(node.left, node.right, *_ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
            self._replace(node.func, _CALLS[node.func.id])
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if isinstance(node.value, ast.Constant):
            after = _other(node.value.value)
            if after is not None:
                self._replace(node.value, after)
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._sql(node)
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.visit(value.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._sql(node)

    def _condition(self, test: ast.expr) -> None:
        """Negate what is no comparison, conjunction or negation itself: those have mutants of their own."""
        if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.NamedExpr):
            text = self._text(test)
            self._replace(test, f"(not {text})")

    def _sql(self, node: ast.Constant | ast.JoinedStr) -> None:
        text = self._text(node)
        if not _STATEMENT.search(text) or '"' not in text:
            return
        start = self._offset(node.lineno, node.col_offset)
        for match in _SQL.finditer(text):
            # In the parts of an f-string that are Python, and in comments between its lines, nothing is SQL.
            if not _is_in_braces(text, match.start()):
                self._add(
                    start + len(text[: match.start()].encode()),
                    start + len(text[: match.end()].encode()),
                    match.group(),
                    _SQL_SWAPS[match.group()],
                )

    def _between(self, left: ast.expr, right: ast.expr, before: str, after: str) -> None:
        assert left.end_lineno is not None
        assert left.end_col_offset is not None
        start = self._offset(left.end_lineno, left.end_col_offset)
        end = self._offset(right.lineno, right.col_offset)
        gap = self._source[start:end].decode()
        match = re.search(r"(?<![\w=<>!])" + r"\s+".join(map(re.escape, before.split())) + r"(?![\w=])", gap)
        assert match is not None, (gap, before)
        self._add(start + match.start(), start + match.end(), match.group(), after)

    def _replace(self, node: ast.expr, after: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._offset(node.lineno, node.col_offset)
        self._add(start, self._offset(node.end_lineno, node.end_col_offset), self._text(node), after)

    def _add(self, start: int, end: int, before: str, after: str) -> None:
        line = self._source.count(b"\n", 0, start) + 1
        column = start - self._starts[line - 1]
        if any((item.start, item.end, item.after) == (start, end, after) for item in self.found):
            return
        mutant = Mutant(line, column, " ".join(before.split()), after, start, end)
        self.found.append(mutant)
        self.scopes[id(mutant)] = ".".join(self._scope) or "module"

    def _offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def _text(self, node: ast.expr) -> str:
        text = ast.get_source_segment(self._source.decode(), node)
        assert text is not None
        return text


def _has_default(node: ast.BoolOp) -> bool:
    """Whether it is ``value or default``, which is no condition."""
    last = node.values[-1]
    is_constant = isinstance(last, ast.Attribute) and last.attr.isupper()
    return isinstance(node.op, ast.Or) and (isinstance(last, ast.Constant | ast.JoinedStr) or is_constant)


def _is_for_types(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _is_text(node: ast.BinOp) -> bool:
    """Whether a sum is one of texts or lists: what is not a number is not calculated with."""
    kinds = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp, ast.Dict)
    return any(
        isinstance(side, kinds) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )


def _other(value: object) -> str | None:
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, int):
        return str(value + 1)
    if value is None:
        return "0"
    if isinstance(value, str):
        return repr(value + "x")
    return None


def _is_in_braces(text: str, position: int) -> bool:
    return text.count("{", 0, position) != text.count("}", 0, position)
