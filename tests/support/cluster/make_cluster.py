"""Makes the clusters of a fixture: as many as are asked for, all ended with it."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.cluster.cluster import RINGKEEP, Cluster


class MakeCluster:
    """Call it for a cluster that is not started yet."""

    def __init__(self, directory: Path, zookeeper: str) -> None:
        self._directory = directory
        self._zookeeper = zookeeper
        self._made: list[Cluster] = []

    def __call__(
        self,
        nodes: int,
        *,
        hosts: str = "",
        partitions: int = 8,
        options: Sequence[str] = (),
        program: Sequence[str] = RINGKEEP,
    ) -> Cluster:
        """`hosts`: another ZooKeeper than the shared one. `program`: the words in front of `node`."""
        directory = self._directory / f"c{len(self._made) + 1}"
        cluster = Cluster(
            directory,
            hosts or self._zookeeper,
            nodes,
            partitions=partitions,
            options=options,
            program=program,
        )
        self._made.append(cluster)
        return cluster

    def end(self) -> None:
        for cluster in self._made:
            cluster.end()
