"""A stale read says how long the record still lives, by the newest log time that its replica knows."""

import pytest
from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C

from ringkeep.core.protocol.client_requests import Kind, Request, Result
from ringkeep.core.protocol.types import NodeId

TTL_MS, SHARE_MS = 60_000, 1_000


@pytest.mark.parametrize("reader", [A, B])
def test_the_time_goes_on_without_further_entries(reader: NodeId) -> None:
    group = Group(A, B, C)
    put = a_put(b"k")
    put.ttl_ms = TTL_MS
    group.ask(put)
    for _ in range(20):
        group.tick(SHARE_MS)
    host = group.hosts[reader]
    host.turn(lambda: host.node.submit(Request(Kind.GET, b"k", stale=True)))
    result: Result = host.answers[-1][1]
    passed_ms = TTL_MS - result.ttl_ms
    assert 18 * SHARE_MS <= passed_ms <= 21 * SHARE_MS
