"""A virtual environment for each client library that is not the project's own: made for one run.

They are none of the project's dependencies, and two of them do not get along with each other: etcd3 0.12 was
generated for protobuf 3.20 and older, aetcd needs a newer one.
"""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from harness.cluster import Trouble

PINNED: Final[dict[str, tuple[str, ...]]] = {
    "etcd3": (
        "etcd3==0.12.0", "grpcio==1.76.0", "protobuf==3.20.3", "six==1.17.0", "tenacity==9.1.2",
        "typing_extensions==4.16.0",
    ),
    "aetcd": ("aetcd==1.0.0", "grpcio==1.76.0", "protobuf==6.33.4", "typing_extensions==4.16.0"),
    "redis": ("redis==8.1.0",),
}  # fmt: skip


def python_for(library: str, directory: Path) -> Path:
    """Return the Python that has this library; make its environment below `directory` if it is not there.

    Raises Trouble with what pip said.
    """
    if library not in PINNED:
        return Path(sys.executable)
    place = directory / library
    python = place / "bin" / "python"
    done = place / "installed"
    if done.exists() and done.read_text().split() == list(PINNED[library]):
        return python
    print(f"installing {', '.join(PINNED[library])}", flush=True)
    venv.create(place, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    ended = subprocess.run([*command, *PINNED[library]], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Trouble(f"{library} cannot be installed:\n{ended.stderr[-2_000:]}")
    done.write_text("\n".join(PINNED[library]))
    return python
