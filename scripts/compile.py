"""Compile what is hot with mypyc into build/compiled, beside copies of the rest.

The same sources, typed strictly, become C: nothing else changes, and the simulator passes over it as it is.
`make run` uses the compiled copy when it was made from the sources as they are now, and has it made in the
background when it was not. Needs a C compiler and Python's headers. Without them, everything works as plain
Python.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "ringkeep"
TARGET = ROOT / "build" / "compiled"
NEW = TARGET.with_name("compiled.new")
STAMP = "stamp"
LOG = TARGET.with_name("compile.log")
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
    stamp = TARGET / STAMP
    return stamp.exists() and stamp.read_text() == wanted_stamp()


def can_build() -> bool:
    """Tell whether a C compiler, and this interpreter's headers, are here."""
    return bool(shutil.which("cc")) and Path(sysconfig.get_path("include"), "Python.h").exists()


@contextmanager
def alone() -> Iterator[None]:
    """Wait until nobody else builds here."""
    TARGET.parent.mkdir(exist_ok=True)
    with TARGET.with_name("compile.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build() -> None:
    """Make build/compiled anew, whole or not at all. Takes one to two minutes of processor time."""
    stamp = wanted_stamp()  # of what is copied now: a source may be edited meanwhile
    shutil.rmtree(NEW, ignore_errors=True)
    shutil.copytree(SOURCE, NEW / "ringkeep", ignore=shutil.ignore_patterns("__pycache__"))
    files = [f"ringkeep/{name}" for name in COMPILED]
    (NEW / "setup.py").write_text(SETUP.format(files=files))
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=NEW, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], file=sys.stderr)
        raise SystemExit("compiling failed: is there a C compiler, and are Python's headers installed?")
    shutil.rmtree(NEW / "build", ignore_errors=True)
    (NEW / STAMP).write_text(stamp)
    shutil.rmtree(TARGET, ignore_errors=True)
    NEW.rename(TARGET)


def build_in_background() -> None:
    """Have it built by a process of the lowest priority, and say so; nothing is awaited.

    It outlives a run that is ended early: otherwise short runs would never come to be compiled.
    """
    if is_current():
        return
    if not can_build():
        print("the core runs as plain Python, which is slower; `make compiled` installs a compiler for it")
        return
    TARGET.parent.mkdir(exist_ok=True)
    with LOG.open("w") as log:
        compiler = subprocess.Popen(
            [sys.executable, __file__, "--lowest-priority"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    print(
        "compiling the core in the background, for one to several minutes (build/compile.log);"
        " until it is done nodes start as plain Python, which is slower.\nIt continues after Ctrl-C, for the"
        f" next run; to end it: kill -- -{compiler.pid}",
        flush=True,
    )


def main() -> None:
    """Build if need be; with --path only print where a current copy is, or nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", action="store_true", help="build nothing, print where a current copy is")
    parser.add_argument("--background", action="store_true", help="have it built, and do not wait for it")
    parser.add_argument("--lowest-priority", action="store_true", help="yield to everything else")
    options = parser.parse_args()
    if options.path:
        print(TARGET if is_current() else "")
        return
    if options.background:
        build_in_background()
        return
    if options.lowest_priority:
        os.nice(19)
    with alone():
        if not is_current():
            print("compiling the core; this takes one to two minutes", flush=True)
            build()
            print("compiled: nodes that start from now on use it", flush=True)


if __name__ == "__main__":
    main()
