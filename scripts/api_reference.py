"""Write docs/api/python.md, the reference of the Python client, from the docstrings of the sources.

    python scripts/api_reference.py           write it anew
    python scripts/api_reference.py --check   end with 1 if it is not what the sources say

It reads the sources without importing them, so that it needs nothing that they need.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "src"
TARGET: Final = ROOT / "docs" / "api" / "python.md"

HEAD: Final = """\
# The Python client: every name

Written by `scripts/api_reference.py` from the docstrings; do not edit it. How things go together is in
[python.md](../python.md), what is built from them in [recipes.md](../recipes.md). What is said here of
`Client` holds for `AsyncClient` too, whose methods are to be awaited.
"""

CONTRIB: Final = ("django", "cachelib", "mapping", "shelve", "opentelemetry")
ASYNCHRONOUS: Final = "AsyncClient"
"""Has the names of Client (a test compares them): it is not told twice."""
FOLLOWS: Final = {
    "Client": ("blocking.client.Batch", "blocking.client.Transaction", "calls.batches.Steps",
               "calls.batches.AtomicSteps", "calls.batches.Handle",
               "blocking.watch.Watch", "blocking.lock.Lock", "blocking.cached.Cached"),
}  # fmt: skip
"""What methods of a name return, which nobody imports or makes: told after it."""
MACHINERY: Final = ("__init__", "call", "fail", "parts", "set")
"""Methods of those that are the client's own."""

WIDTH: Final = 96
QUOTES: Final = "'\""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    text = reference()
    if "--check" in sys.argv[1:]:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    return 0


def reference() -> str:
    """Return the whole page."""
    parts = [HEAD, "## ringkeep.client\n"]
    for name, module in sorted(public("ringkeep.client"), key=lambda each: each[0] != "Client"):
        parts += described(module, name)
        for further in FOLLOWS.get(name, ()):
            parent, _, other = further.rpartition(".")
            parts += described(f"ringkeep.client.{parent}", other, without=MACHINERY)
    for module in CONTRIB:
        tree = parsed(f"ringkeep.contrib.{module}")
        parts += [f"## ringkeep.contrib.{module}\n", *paragraphs(ast.get_docstring(tree) or "")]
        for node in tree.body:
            if isinstance(node, ast.ClassDef) or (isinstance(node, Function) and not is_overload(node)):
                parts += (
                    [] if node.name.startswith("_") else described(f"ringkeep.contrib.{module}", node.name)
                )
    return "\n".join(parts)


def public(package: str) -> Iterator[tuple[str, str]]:
    """Yield the names that a package offers, with the modules that define them."""
    for node in parsed(package).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                yield alias.name, node.module


def parsed(module: str) -> ast.Module:
    path = SOURCES.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def described(module: str, name: str, without: tuple[str, ...] = ()) -> list[str]:
    """Return the section of a class, a function or a constant."""
    body = parsed(module).body
    for number, node in enumerate(body):
        match node:
            case ast.ClassDef() if node.name == name:
                return of_class(node, without)
            case ast.FunctionDef() if node.name == name and not is_overload(node):
                return [f"### {name}\n", *block(signature(node)), *paragraphs(ast.get_docstring(node) or "")]
            case ast.AnnAssign(target=ast.Name(id=found)) if found == name:
                said = next(docstring(each) for each in body[number + 1 :] if docstring(each))
                return [f"### {name}\n", *block(f"{name}: {ast.unparse(node.annotation)}"), *paragraphs(said)]
    raise LookupError(f"{module} does not define {name}")


def of_class(node: ast.ClassDef, without: tuple[str, ...]) -> list[str]:
    parts = [f"### {node.name}\n"]
    bases = [ast.unparse(base) for base in node.bases]
    parts += block(f"class {node.name}({', '.join(bases)})" if bases else f"class {node.name}")
    parts += paragraphs(ast.get_docstring(node) or "")
    if node.name == ASYNCHRONOUS:
        return parts
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and is_public(each.target)]
    if fields:
        parts += block("\n".join(ast.unparse(each) for each in fields))
    for each in node.body:
        if isinstance(each, Function) and each.name not in without:
            parts += of_method(each)
    return parts


def of_method(node: Function) -> list[str]:
    """Return what is said of a method: nothing of private ones, of overloads, and where there is no word."""
    said = ast.get_docstring(node)
    if is_overload(node) or (node.name.startswith("_") and node.name != "__init__"):
        return []
    if node.name == "__init__":
        return block(signature(node)) if len(node.args.args) + len(node.args.kwonlyargs) > 1 else []
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        return [
            *block(f"{node.name}: {ast.unparse(node.returns) if node.returns else ''}"),
            *paragraphs(said or ""),
        ]
    return [*block(signature(node)), *paragraphs(said or "")]


def is_overload(node: Function) -> bool:
    return any(ast.unparse(each) == "overload" for each in node.decorator_list)


def is_public(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and not target.id.startswith("_")


def docstring(node: ast.stmt) -> str:
    """Return the text that stands behind a constant."""
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return ""


def signature(node: Function) -> str:
    """Return it as a line, or as several if it is long."""
    words = [each for each in divided(ast.unparse(node.args)) if each != "self"]
    returns = f" -> {ast.unparse(node.returns).strip(QUOTES)}" if node.returns is not None else ""
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    line = f"{prefix} {node.name}({', '.join(words)}){returns}"
    if len(line) <= WIDTH:
        return line
    return f"{prefix} {node.name}(\n" + "".join(f"    {each},\n" for each in words) + f"){returns}"


def divided(arguments: str) -> list[str]:
    """Return the parameters of a signature as a formatter writes them, and the client's constants as numbers.
    Commas and "=" inside of brackets divide nothing."""
    found, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += f" {letter} " if letter == "=" and depth == 0 else letter
    numbers = constants()
    return [re.sub(r"[A-Z_]+$", lambda name: numbers.get(name[0], name[0]), each.strip()) for each in found]


def constants() -> dict[str, str]:
    """Return the numbers that the client's settings name."""
    return {
        node.target.id: ast.unparse(node.value)
        for node in parsed("ringkeep.client.settings").body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.value, ast.Constant)
    }


def block(code: str) -> list[str]:
    """Return lines of code, with quotes as the formatter wants them."""
    return ["```py", code.replace("'", '"'), "```\n"]


def paragraphs(text: str) -> list[str]:
    """Return a docstring as Markdown."""
    each = re.split(r"\n{2,}", text.strip()) if text else []
    return [f"```py\n{paragraph}\n```\n" if is_code(paragraph) else f"{paragraph}\n" for paragraph in each]


def is_code(paragraph: str) -> bool:
    """Return whether it is Python: several lines of prose never are."""
    try:
        ast.parse(paragraph)
    except SyntaxError:
        return False
    return "\n" in paragraph


if __name__ == "__main__":
    sys.exit(main())
