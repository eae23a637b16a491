"""Data that lies there while replicas move: it must all be where it was, and what it was."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

from tests.support.cluster.cluster import Cluster

from ringkeep.core.cluster.slots import partition_of

CALLERS = 4


class Ballast:
    """Some values in every partition that no store can compress. `each_bytes`: of one partition."""

    def __init__(
        self, cluster: Cluster, *, each: int = 4, value_bytes: int = 512, stem: str = "ballast"
    ) -> None:
        self._cluster = cluster
        keys = [
            cluster.key_in(number, f"{stem}-{i}")
            for number in range(cluster.partition_count)
            for i in range(each)
        ]
        self._values = {key: hashlib.shake_128(key).digest(value_bytes) for key in keys}
        self.each_bytes = each * value_bytes
        with ThreadPoolExecutor(CALLERS) as callers:
            list(callers.map(self._store, self._values))

    def _store(self, key: bytes) -> None:
        names = self._cluster.running()
        self._cluster.stored(names[len(key) % len(names)], key, self._values[key])

    def verify(self, via: str, partition: int | None = None) -> None:
        """Read all of it, or what is in one partition, through one node."""
        count = self._cluster.partition_count
        keys = [key for key in self._values if partition in (None, partition_of(key, count))]
        with ThreadPoolExecutor(CALLERS) as callers:
            list(callers.map(lambda key: self._cluster.holds(via, key, self._values[key]), keys))
