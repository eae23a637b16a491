"""Floods of every size: no load may be taken for death, and what is small goes on beside what is large."""

import http.client
import random
import sys
import threading
import time
from collections import Counter

import pytest
from tests.support.cluster.cluster import Cluster, kv
from tests.support.cluster.crowd import Crowd
from tests.support.cluster.make_cluster import MakeCluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="measures on a machine that others may use"),
]

NODES, PARTITIONS = 5, 256
FLOOD_S = 10.0
KEYS = 48  # of each flood
READS = 0.3  # of its requests
SIZES = {128: 64, 4 << 10: 64, 64 << 10: 32, 1 << 20: 32, 4 << 20: 16}
"""Bytes of the values, and how many connections flood with them."""


@pytest.fixture(scope="module")
def five(make_shared: MakeCluster) -> Cluster:
    return make_shared(NODES, partitions=PARTITIONS).start().wait_whole(60)


class Flood(Crowd):
    """Connections that write and read values of some sizes as fast as they are answered. Use as a context."""

    def __init__(self, cluster: Cluster, sizes: dict[int, int]) -> None:
        over = threading.Event()
        names = cluster.running()
        self._clients = [
            _Flooding(cluster, names[number % len(names)], size, number, over)
            for size, count in sizes.items()
            for number in range(count)
        ]
        super().__init__(over, self._clients)

    @property
    def failures(self) -> list[str]:
        return [client.failure for client in self._clients if client.failure]

    @property
    def statuses(self) -> Counter[int]:
        return sum((client.statuses for client in self._clients), Counter[int]())


class _Flooding(threading.Thread):
    def __init__(self, cluster: Cluster, via: str, size: int, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.statuses: Counter[int] = Counter()
        self.failure = ""
        place = cluster.places[via]
        self._connection = http.client.HTTPConnection(place.host, place.http, timeout=60)
        self._random = random.Random(number)
        self._value = self._random.randbytes(size)
        self._over = over

    def run(self) -> None:
        while not self._over.is_set() and not self.failure:
            path = kv(b"flood-%d-%d" % (len(self._value), self._random.randrange(KEYS)), timeout="30s")
            reads = self._random.random() < READS
            try:
                self._connection.request("GET" if reads else "PUT", path, None if reads else self._value)
                reply = self._connection.getresponse()
                body = reply.read()
            except (OSError, http.client.HTTPException) as error:
                self.failure = f"{path}: {error!r}"
                break
            self.statuses[reply.status] += 1
            if reply.status not in (200, 201, 404, 429):
                self.failure = f"{path}: {reply.status} {body[:300]!r}"
        self._connection.close()


def read_small(cluster: Cluster, until: float) -> list[float]:
    """Read small values through every node in turn; return how long each took."""
    took: list[float] = []
    names = cluster.running()
    while time.monotonic() < until:
        number = len(took)
        answer = cluster.get(names[number % len(names)], b"small-%d" % (number % 50), timeout="30s")
        assert (answer.status, answer.body) == (200, b"small"), answer
        took.append(answer.seconds)
        time.sleep(0.01)
    return sorted(took)


def epochs(cluster: Cluster) -> list[int]:
    return [each["epoch"] for each in cluster.partitions()]


@pytest.mark.parametrize(
    "size", [128, 1 << 20, 4 << 20, 0], ids=lambda size: f"{size} bytes" if size else "all sizes"
)
def test_a_flood_changes_no_epoch_and_lets_small_reads_by(five: Cluster, size: int) -> None:
    for number in range(50):
        five.stored("n1", b"small-%d" % number, b"small")
    sizes = {size: SIZES[size]} if size else {each: count // 4 for each, count in SIZES.items()}
    before = epochs(five)
    with Flood(five, sizes) as flood:
        took = read_small(five, time.monotonic() + FLOOD_S)
    changed = sum(one != other for one, other in zip(before, epochs(five), strict=True))
    p99 = took[len(took) * 99 // 100]
    print(
        f"{size or 'all'}: {sum(flood.statuses.values()) / FLOOD_S:.0f}/s {dict(flood.statuses)}; small reads"
        f" {len(took)}, p50 {1000 * took[len(took) // 2]:.0f} ms, p99 {1000 * p99:.0f} ms,"
        f" longest {1000 * took[-1]:.0f} ms; {changed} epochs changed"
    )
    assert changed == 0, "load is no death"


def test_a_flood_of_small_values_right_after_large_ones_changes_no_epoch(five: Cluster) -> None:
    """What large values left behind (compactions, syncs, queues) is still there when the small ones come."""
    before = epochs(five)
    for _ in range(3):
        for size, count in ((4 << 20, 16), (128, 128)):
            with Flood(five, {size: count}):
                time.sleep(FLOOD_S / 4)
    changed = sum(one != other for one, other in zip(before, epochs(five), strict=True))
    assert changed == 0, "load is no death"
