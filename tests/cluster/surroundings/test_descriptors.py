"""Few file descriptors, and crowds that take all they get: the store loses none of its own."""

import contextlib
import socket
import sys
from pathlib import Path

import pytest
from tests.support.cluster.cluster import RINGKEEP, Cluster
from tests.support.cluster.make_cluster import MakeCluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

LIMIT = 256
LIMITED = ("bash", "-c", f'ulimit -n {LIMIT}; exec "$@"', "limited", *RINGKEEP)
CROWD = 400  # connections of each kind, to each node
VALUE = bytes(1 << 20)
WRITES = 80  # more than the store keeps in memory: it opens new files while the crowds are there


@pytest.fixture
def three(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(3, program=LIMITED).start().wait_ready().wait_active()


def test_idle_clients_and_silent_strangers_take_nothing_from_the_store(three: Cluster) -> None:
    with contextlib.ExitStack() as crowd:
        for _ in range(CROWD):
            for place in three.places.values():
                for port in (place.http, place.peer):
                    idle = crowd.enter_context(socket.socket())
                    idle.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        idle.connect((place.host, port))
        for number in range(WRITES):
            three.stored(three.names[number % 3], b"value-%d" % (number % 8), VALUE)
        assert three.running() == three.names
        for name in three.names:
            opened = len(list(Path(f"/proc/{three.pid(name)}/fd").iterdir()))
            print(f"{name}: {opened} of {LIMIT} descriptors in use")
            assert opened < LIMIT - 16, "a reserve is left"
    three.wait_ready(*three.names)
