"""The settings of a running cluster: the cluster map stores those that differ from the default.

Knows what the settings mean and which values are valid, not who acts on them.
"""

from typing import Final, NamedTuple

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap


class ClusterSetting(NamedTuple):
    """One setting: its default, its bounds, and its meaning for people."""

    default: int
    least: int
    most: int
    meaning: str


REPLICATION: Final = "replication"

MOVES_AT_ONCE: Final = "moves_at_once"
MOVE_BYTES_PER_S: Final = "move_bytes_per_s"
GRACE_MS: Final = "grace_ms"
FORGET_MS: Final = "forget_ms"

SETTINGS: Final = {
    MOVES_AT_ONCE: ClusterSetting(
        limits.MOVES_AT_ONCE, 1, 64, "partitions that change their replicas at one time"
    ),
    MOVE_BYTES_PER_S: ClusterSetting(
        limits.MOVE_BYTES_PER_S, 0, 1 << 40, "snapshot bytes a second that one node sends; 0: no limit"
    ),
    GRACE_MS: ClusterSetting(
        limits.GRACE_MS, 1_000, 7 * 24 * 3_600_000, "silence after which a node is given up for lost"
    ),
    FORGET_MS: ClusterSetting(
        limits.FORGET_MS,
        1_000,
        366 * 24 * 3_600_000,
        "how long a dead node that holds nothing is still listed",
    ),
}

MOVES: Final = "moves"
"""Not for PATCH: the state of moves, RUNNING, PAUSED or CANCELLED."""
RUNNING: Final = 0
PAUSED: Final = 1  # moves under way keep their state, none starts
CANCELLED: Final = 2  # moves under way are rolled back, none starts
HOLDS: Final = (RUNNING, PAUSED, CANCELLED)


def setting(cluster_map: ClusterMap, name: str) -> int:
    """Return the value of a setting, or its default."""
    default = RUNNING if name == MOVES else SETTINGS[name].default
    return cluster_map.settings.get(name, default)


def all_settings(cluster_map: ClusterMap) -> dict[str, int]:
    """Return every setting by name, with its value or default."""
    return {REPLICATION: cluster_map.replication} | {name: setting(cluster_map, name) for name in SETTINGS}


def objection(name: str, value: int) -> str:
    """Say why a setting must not have this value; "" if it may."""
    if name == REPLICATION:
        return "" if value in limits.REPLICATIONS else f"replication is 1, 3 or 5, not {value}"
    known = SETTINGS.get(name)
    if known is None:
        return f"there is no setting {name}; the settings are: {', '.join((REPLICATION, *SETTINGS))}"
    if not known.least <= value <= known.most:
        return f"{name} ({known.meaning}) is {known.least} to {known.most}, not {value}"
    return ""
