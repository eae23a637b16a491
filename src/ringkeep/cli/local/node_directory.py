"""Reads the identity file of a node from outside, without the directory's lock.

The file is replaced in one step, so that a reader sees an old state or a new one. Only the node itself checks
whether it is valid.
"""

import json
from pathlib import Path
from typing import Any

from ringkeep.storage import files


def belongs_to_a_cluster(directory: Path) -> bool:
    """Whether its node is, or was, a member of a cluster."""
    return bool(_identity(directory).get("cluster_id"))


def has_left(directory: Path) -> bool:
    """Whether its node has left its cluster: it would refuse to start."""
    return bool(_identity(directory).get("left"))


def _identity(directory: Path) -> dict[str, Any]:
    try:
        identity = json.loads((directory / files.IDENTITY).read_bytes())
    except (OSError, ValueError):
        return {}
    return identity if isinstance(identity, dict) else {}
