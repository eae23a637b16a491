"""The version before data operations, to be upgraded from: its source, as the repository's history has it."""

import subprocess
from pathlib import Path

import pytest

BEFORE_OPERATIONS = "e3bb461df441bda5f3b30045e850f987c12cfffb"
"""The last commit whose nodes speak feature level 1 only."""

ROOT = Path(__file__).parents[3]


def unpack(commit: str, directory: Path) -> dict[str, str]:
    """Unpack a version's source; return the environment in which a node runs it. Skips the test where there
    is no history, as in a copy of the files or in a shallow clone.
    """
    found = subprocess.run(["git", "-C", ROOT, "archive", commit, "src"], capture_output=True)
    if found.returncode:
        pytest.skip(f"no history to take an older version from: {found.stderr.decode().strip()}")
    directory.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", directory], input=found.stdout, check=True)
    return {"PYTHONPATH": str(directory / "src")}
