"""What `ringkeep up` shows of a node that is not ready, asked of the HTTP server that a node has."""

from collections.abc import Iterator

import pytest
from tests.support.coordination.zookeeper import free_port
from tests.support.http.host import Host

from ringkeep.cli.local import readiness

CAUSE = 'ZooKeeper cannot be used from here (zk:2181: the name cannot be resolved ([Errno -2] "zk" unknown))'


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.mark.parametrize(
    ("waits_for", "shown"),
    [
        ([CAUSE], CAUSE),
        (["3 of 8 partitions to catch up", CAUSE], f"3 of 8 partitions to catch up; {CAUSE}"),
        (["x" * 500], "x" * (readiness.REASON_LENGTH - 1) + "…"),
    ],
)
def test_what_a_node_waits_for_is_shown_as_it_says_it(host: Host, waits_for: list[str], shown: str) -> None:
    host.service.waits_for = waits_for
    assert readiness.ask(f"127.0.0.1:{host.server.port}") == shown


def test_a_node_that_is_ready_or_does_not_answer_yet(host: Host) -> None:
    host.service.waits_for = []
    assert readiness.ask(f"127.0.0.1:{host.server.port}") == readiness.READY
    assert readiness.ask(f"127.0.0.1:{free_port()}") == readiness.STARTING
