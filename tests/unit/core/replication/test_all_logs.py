"""The logs of all partitions together stay within a bound of the node: the longest are trimmed sooner."""

import pytest
from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C, Host, bound

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.types import Incarnation
from ringkeep.core.replication.replica_set import _level

VALUE = b"v" * 1_000


def written(group: Group, times: int = 10) -> None:
    for number in range(times):
        group.ask(a_put(b"%d" % number, VALUE))


def counted(host: Host) -> bool:
    """Whether the sum is what the logs have."""
    logs = [replica.log.entry_bytes for replica in host.node.replicas.values()]
    return host.node.context.log_bytes == sum(logs) == sum(host.node.context.log_sizes.values())


def test_all_logs_together_are_trimmed_to_their_bound() -> None:
    group = Group(A, B, C)
    for host in group.hosts.values():
        bound(host.node.context, all_logs_bytes=5_000)
    written(group)
    for host in group.hosts.values():
        host.tick(limits.LOOK_AFTER_MS)
        assert 0 < host.replica.log.entry_bytes <= 5_000
        assert host.replica.applied == host.replica.log.last_index, "it follows still"
        assert counted(host)
    assert "snapshot_needed" not in group.hosts[A].node.context.counters


def test_below_the_bound_nothing_is_trimmed() -> None:
    group = Group(A, B, C)
    written(group)
    assert group.hosts[A].replica.log.floor_index == 0
    assert all(map(counted, group.hosts.values()))


def test_what_a_peer_that_answers_lacks_is_kept() -> None:
    group = Group(A, B, C)
    deaf = group.hosts.pop(C)
    leader = group.hosts[A]
    bound(leader.node.context, all_logs_bytes=5_000)
    written(group)
    leader.tick(limits.LOOK_AFTER_MS)
    assert leader.replica.log.floor_index <= deaf.replica.log.last_index
    leader.turn(lambda: leader.node.on_peer_down(C, False))
    leader.tick(limits.LOOK_AFTER_MS)
    assert leader.replica.log.entry_bytes <= 5_000, "it is not linked any more"
    leader.turn(lambda: leader.node.on_peer_up(C, Incarnation(1)))


def test_a_start_counts_what_is_stored() -> None:
    group = Group(A, B, C)
    written(group)
    again = Host(A, group.hosts[A].engine, incarnation=2)
    assert counted(again)
    assert again.node.context.log_bytes > 10 * len(VALUE)


def test_a_deleted_log_counts_no_more() -> None:
    group = Group(A, B, C)
    written(group, 2)
    host = group.hosts[C]
    host.turn(host.replica.delete)
    assert (host.node.context.log_bytes, host.node.context.log_sizes) == (0, {})


@pytest.mark.parametrize(
    ("sizes", "room", "level"),
    [([1, 2, 30], 13, 10), ([10, 10, 10], 15, 5), ([0, 0, 9], 9, 9), ([5], 3, 3), ([1, 1], 100, 1)],
)
def test_the_longest_give_up_what_they_have_more_than_others(sizes: list[int], room: int, level: int) -> None:
    assert _level(sizes, room) == level
    assert sum(min(size, level) for size in sizes) <= room
