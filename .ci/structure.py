"""No module of the program is longer than 500 lines, no function longer than 60.

Migrations are exempt: they are history, and are not edited.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
PROGRAM = Path(__file__).resolve().parents[1] / "src"


def too_long(path: Path) -> Iterator[str]:
    """What is too long in a module, one line each."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > MAX_MODULE_LINES:
        yield f"{path}: {lines} lines, at most {MAX_MODULE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"


def main() -> int:
    """Print what is too long; 1 where anything is."""
    modules = (path for path in sorted(PROGRAM.rglob("*.py")) if "migrations" not in path.parts)
    problems = [problem for path in modules for problem in too_long(path)]
    print("\n".join(problems) or "no module and no function is too long")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
