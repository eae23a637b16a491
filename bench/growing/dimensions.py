"""What grows, and where it is measured: the points of each dimension on real clusters.

Every point is a cluster, how much is in it, and who asks. Points with the same cluster share it.
"""

import resource
from dataclasses import dataclass, field
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
VALUES_BYTES: Final = 64 * MIB  # of all values of one size together, for sizes that make keys few
DESCRIPTORS: Final = 200  # of a process beside its connections


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


@dataclass(frozen=True, slots=True)
class Dimension:
    """Points along one axis. `upwards`: each point is measured for all rounds before the next; else a round
    goes through all points, and the next one through them backwards."""

    name: str
    axis: str
    points: list[Point]
    upwards: bool = False
    left_out: list[str] = field(default_factory=list)


def value_sizes(quick: bool) -> list[Point]:
    """Keys and connections become fewer as values become large: what is under way stays below the limits."""
    sizes = [16, 128, KIB, 16 * KIB, 128 * KIB, MIB, 4 * MIB]
    return [
        Point(
            size,
            value_bytes=size,
            keys=min(20_000, max(VALUES_BYTES // size, 32)),
            connections=64 if size <= 16 * KIB else 16,
        )
        for size in (sizes[::3] if quick else sizes)
    ]


def connection_counts(quick: bool) -> tuple[list[Point], list[str]]:
    """Return the points that this process's limit of descriptors allows, and what is left out."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - DESCRIPTORS
    counts = [10, 100, 1_000] if quick else [10, 100, 1_000, 10_000]
    points = [Point(count, connections=count) for count in counts if count <= allowed]
    left = [
        f"{count:,} connections: a process may open {allowed + DESCRIPTORS:,} descriptors here"
        for count in counts
        if count > allowed
    ]
    return points, left


def all_of(quick: bool, reference: bool) -> dict[str, Dimension]:
    """Return the dimensions by name. `reference`: also what takes very long."""
    keys = [10_000, 100_000] if quick else [100_000, 1_000_000]
    if reference:
        keys.append(10_000_000)
    connections, left = connection_counts(quick)
    partitions = [16, 256, 4_096] if quick else [16, 64, 256, 1_024, 4_096]
    nodes = [3, 5] if quick else [3, 5, 9, 12]
    found = [
        Dimension("keys", "keys", [Point(count, keys=count) for count in keys], upwards=True),
        Dimension("values", "bytes of a value", value_sizes(quick)),
        Dimension("partitions", "partitions", [Point(each, partitions=each) for each in partitions]),
        Dimension("nodes", "nodes", [Point(each, nodes=each) for each in nodes]),
        Dimension("connections", "connections", connections, left_out=left),
    ]
    return {each.name: each for each in found}
