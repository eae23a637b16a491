"""Files and functions stay small enough to be read in one go.

About 400 lines is the aim for a file of the product; the bound leaves room, since a class that is cut in two
to fit reads worse. A file of tests is a list, which is not read in one go: only its functions are measured.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.paths import ROOT

FILE_LINES = 500
FUNCTION_LINES = 60

SOURCES = sorted(
    path for part in ("src", "tests", "bench", "scripts") for path in (ROOT / part).rglob("*.py")
)


def functions_of(source: str) -> Iterator[tuple[str, int, int]]:
    """Yield (name, first line, number of lines) of every function, methods and inner ones included.

    Decorators are not counted: they are written for the reader of the name, not of the body.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None, "a parsed function has an end"
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def test_there_is_something_to_measure() -> None:
    assert ROOT / "src" / "ringkeep" / "__init__.py" in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    too_long = [
        f"{name}:{line}: {function} has {lines} lines, the bound is {FUNCTION_LINES}"
        for function, line, lines in functions_of(source)
        if lines > FUNCTION_LINES
    ]
    lines = len(source.splitlines())
    if lines > FILE_LINES and not path.is_relative_to(ROOT / "tests"):
        too_long.append(f"{name}: {lines} lines, the bound is {FILE_LINES}")
    assert not too_long, "split these, do not squeeze them:\n" + "\n".join(too_long)


def test_a_long_function_is_seen_wherever_it_hides() -> None:
    body = "\n".join(f"            {i}" for i in range(FUNCTION_LINES))
    source = f"class Box:\n    def outer(self):\n        async def inner():\n{body}\n"
    assert [(name, lines) for name, _, lines in functions_of(source)] == [
        ("outer", FUNCTION_LINES + 2),
        ("inner", FUNCTION_LINES + 1),
    ]
