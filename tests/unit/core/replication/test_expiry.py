"""Records that are due are removed by a search that runs all the time."""

from tests.support.core.group import Group
from tests.support.core.parts import A, B, C

from ringkeep.core.protocol.client_requests import Kind, Request
from ringkeep.core.state.state_machine import NEVER


def a_brief(key: bytes, ttl_ms: int) -> Request:
    return Request(Kind.PUT, key, b"v", ttl_ms=ttl_ms)


def test_a_record_that_comes_due_while_its_write_waits_is_removed_too() -> None:
    """The search meanwhile finds and removes a later one, and must not begin behind that in future."""
    group = Group(A, B, C)
    leader = group.hosts[A]
    group.ask(a_brief(b"later", 200))
    waiting = leader.turn(lambda: leader.node.submit(a_brief(b"sooner", 50)))
    found = leader.tick(300)
    assert leader.node.context.counters["expired"] == 1, "of `later`: `sooner` is not applied yet"
    group.settle(leader, [*waiting, *found])
    for _ in range(3):
        group.tick(100)
    assert leader.node.context.counters["expired"] == 2
    for host in group.hosts.values():
        assert host.replica.state.record(b"sooner") is None
    assert leader.replica.state.soonest == NEVER
