"""What grows, and where it is measured: the points of each dimension on real clusters.

Every point is a cluster, how much is in it, and who asks. Points with the same cluster share it.
"""

import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
VALUES_BYTES: Final = 64 * MIB  # of all values of one size together, for sizes that make keys few
DESCRIPTORS: Final = 200  # of a process beside its connections
SHORT: Final = "this was a short run"
LONG: Final = "loading takes many minutes: only `--reference` does it"


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement. `at`: the place on the axis."""

    at: int
    nodes: int = 3
    partitions: int = 64
    keys: int = 20_000
    value_bytes: int = 128
    connections: int = 64

    @property
    def cluster(self) -> tuple[int, int]:
        return self.nodes, self.partitions


@dataclass(slots=True)
class Dimension:
    """Points along one axis. `upwards`: each point is measured for all rounds before the next; else a round
    goes through all points, and the next one through them backwards.

    `left_out`: the places that are not measured, and why.
    """

    name: str
    axis: str
    points: list[Point]
    upwards: bool = False
    left_out: dict[int, str] = field(default_factory=dict)

    def leave_out(self, places: Sequence[int], why: str) -> None:
        self.left_out |= {point.at: why for point in self.points if point.at in places}
        self.points = [point for point in self.points if point.at not in places]


def of_value(size: int) -> Point:
    """Keys and connections become fewer as values become large: what is under way stays below the limits."""
    return Point(
        size,
        value_bytes=size,
        keys=min(20_000, max(VALUES_BYTES // size, 32)),
        connections=64 if size <= 16 * KIB else 16,
    )


def of_nodes(count: int) -> Point:
    """Clients grow with the nodes: each node has as many requests under way."""
    return Point(count, nodes=count, connections=64 * count // 3)


def all_of(quick: bool, reference: bool) -> dict[str, Dimension]:
    """Return the dimensions by name. `quick`: fewer points; `reference`: also what takes very long."""
    keys = [10_000, 100_000] if quick else [100_000, 1_000_000, 10_000_000]
    values = [16, 128, KIB, 16 * KIB, 256 * KIB, 4 * MIB]
    partitions, nodes, connections = [16, 256, 1_024, 4_096], [3, 6, 9, 12], [10, 100, 1_000, 10_000]
    found = {
        "keys": Dimension("keys", "keys", [Point(each, keys=each) for each in keys], upwards=True),
        "values": Dimension("values", "bytes of a value", [of_value(each) for each in values]),
        "partitions": Dimension(
            "partitions", "partitions", [Point(each, partitions=each) for each in partitions]
        ),
        "nodes": Dimension("nodes", "nodes", [of_nodes(each) for each in nodes]),
        "connections": Dimension(
            "connections", "connections", [Point(each, connections=each) for each in connections]
        ),
    }
    if quick:
        found["values"].leave_out([128, KIB, 256 * KIB], SHORT)
        found["partitions"].leave_out([1_024], SHORT)
        found["nodes"].leave_out([9, 12], SHORT)
        found["connections"].leave_out([10_000], SHORT)
    if not reference:
        found["keys"].leave_out([10_000_000], LONG)
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    many = [each for each in connections if each + DESCRIPTORS > allowed]
    found["connections"].leave_out(many, f"a process may open {allowed:,} descriptors here")
    return found
