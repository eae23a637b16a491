"""Every module may be the first that is imported: compiled, a class that is not there yet is a null pointer.

mypyc evaluates the annotations of a dataclass when the class is made. So a compiled module imports
the classes of its fields for real, not for type checkers only.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import ringkeep
from ringkeep.core import node

if str(node.__file__).endswith(".py"):
    pytest.skip("the core is not compiled: make test-compiled", allow_module_level=True)

ROOT = Path(ringkeep.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_may_be_imported_first(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
