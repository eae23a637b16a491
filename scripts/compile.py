"""Compile what is hot with mypyc into build/compiled, beside copies of the rest.

The same sources, typed strictly, become C: nothing else changes, and the simulator passes over it as it is.
`make run` uses the compiled copy when it was made from the sources as they are now. Needs a C compiler and
Python's headers. Without them, everything works as plain Python.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "ringkeep"
TARGET = ROOT / "build" / "compiled"
STAMP = TARGET / "stamp"
LEFT_OUT = ("__init__.py", "messages.py")  # the codec reads the messages' types, which compiling erases
COMPILED = (
    *sorted(
        str(path.relative_to(SOURCE)) for path in (SOURCE / "core").rglob("*.py") if path.name not in LEFT_OUT
    ),
    "wire/codec.py",
    "wire/framing.py",
    "wire/hot.py",
)
SETUP = """
from setuptools import setup
from mypyc.build import mypycify
options = ["--ignore-missing-imports", *{files!r}]
setup(name="ringkeep", packages=[], ext_modules=mypycify(options, opt_level="3"))
"""


def wanted_stamp() -> str:
    """Return a digest of the sources and of the interpreter that they are compiled for."""
    digest = hashlib.sha256(sysconfig.get_config_var("EXT_SUFFIX").encode())
    for path in (Path(__file__), *sorted(SOURCE.rglob("*.py"))):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def is_current() -> bool:
    """Tell whether build/compiled was made from the sources as they are now."""
    return STAMP.exists() and STAMP.read_text() == wanted_stamp()


def build() -> None:
    """Make build/compiled anew. Takes about a minute."""
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(SOURCE, TARGET / "ringkeep", ignore=shutil.ignore_patterns("__pycache__"))
    files = [f"ringkeep/{name}" for name in COMPILED]
    (TARGET / "setup.py").write_text(SETUP.format(files=files))
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=TARGET, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], file=sys.stderr)
        raise SystemExit("compiling failed: is there a C compiler, and are Python's headers installed?")
    shutil.rmtree(TARGET / "build", ignore_errors=True)
    STAMP.write_text(wanted_stamp())


def main() -> None:
    """Build if need be; with --path only print where a current copy is, or nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", action="store_true", help="build nothing, print where a current copy is")
    if parser.parse_args().path:
        print(TARGET if is_current() else "")
    elif not is_current():
        print("compiling the core; this takes about a minute", flush=True)
        build()


if __name__ == "__main__":
    main()
