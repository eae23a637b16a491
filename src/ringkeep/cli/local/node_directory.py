"""What the directory of a node says of it, read by somebody who is not that node.

Without the lock: the file is replaced in one step, so that a reader sees an old state or a new one. Whether
it is as it should be, the node itself will say.
"""

import json
from pathlib import Path
from typing import Any

from ringkeep.storage import files


def belongs_to_a_cluster(directory: Path) -> bool:
    """Whether its node has been a member of a cluster, perhaps no more."""
    return bool(_identity(directory).get("cluster_id"))


def has_left(directory: Path) -> bool:
    """Whether its node has left its cluster: it would refuse to start."""
    return bool(_identity(directory).get("left"))


def _identity(directory: Path) -> dict[str, Any]:
    try:
        found = json.loads((directory / files.IDENTITY).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
