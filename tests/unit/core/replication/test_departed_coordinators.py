"""Coordinators that are no more leave the de-duplication table: everywhere alike, and not too soon."""

from dataclasses import replace

from tests.support.core.parts import A, B, C, Host, P, a_map, a_part, a_promise, a_request, an_ack, to

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Status
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.hot_messages import RETRY, Append, Commits, Reply
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, NodeId, origin_of
from ringkeep.core.replication.departed_coordinators import AT_ONCE
from ringkeep.core.state.deduplication import Sessions

OF_B = origin_of(B, Incarnation(1))
GONE = a_map(a_part(A), version=8, states={B: NodeState.DEAD})
STARTED_AGAIN = a_map(a_part(A), version=8, starts={B: 2})


class Led:
    """Node a leads, with b and c as backups. c takes what it is sent, and b's client writes."""

    def __init__(self) -> None:
        self.leader, self.backup = Host(A), Host(C)
        for host in (self.leader, self.backup):
            host.take(a_map(a_part(A)))
            host.sync()
        self.leader.hear(B, a_promise())
        self.leader.hear(C, a_promise())
        self.committed()

    def committed(self) -> list[Reply]:
        """Everything that was appended is durable at a and c; return what b is told."""
        self.leader.sync()
        last = self.leader.replica.log.last_index
        entries = [self.leader.replica.log[Index(at)] for at in range(1, last + 1)]
        self.backup.hear(A, Append(P, Epoch(3), Epoch(0), Index(0), Index(0), entries))
        self.backup.sync()
        replies = to(B, Reply, self.leader.hear(C, an_ack(last)))
        self.backup.hear(A, Commits(0, [P, 3, self.leader.replica.commit]))
        self.backup.tick(limits.LOOK_AFTER_MS)
        return replies

    def write(self, counter: int = 1) -> list[Reply]:
        return to(B, Reply, self.leader.hear(B, a_request(Kind.PUT, counter)))

    def learn(self, found: ClusterMap) -> None:
        self.leader.take(found)

    def tick(self) -> None:
        self.leader.tick(limits.LOOK_AFTER_MS)

    @property
    def tables(self) -> list[bytes]:
        return [host.replica.state.sessions.encode() for host in (self.leader, self.backup)]

    @property
    def known(self) -> set[bytes]:
        assert self.leader.replica.applied == self.backup.replica.applied
        assert self.tables[0] == self.tables[1]
        return self.leader.replica.state.sessions.origins


def test_a_node_that_was_given_up_a_removed_one_and_an_earlier_life_are_forgotten() -> None:
    for found in (GONE, STARTED_AGAIN, a_map(a_part(A), nodes=(A, C), version=8)):
        led = Led()
        led.write()
        led.committed()
        assert led.known == {OF_B}
        led.learn(found)
        led.tick()
        led.committed()
        assert led.known == set()
        led.leader.engine.close()
        again = Host(A, led.leader.engine.reopen())
        assert again.node.replicas[P].state.sessions.origins == set(), "and at a start it is not brought back"


def test_nobody_is_forgotten_whom_the_map_names() -> None:
    led = Led()
    led.write()
    led.committed()
    led.learn(a_map(a_part(A), version=8, states={C: NodeState.DEAD}))
    last = led.leader.replica.log.last_index
    led.tick()
    assert led.leader.replica.log.last_index == last, "nor is an entry written for nothing"


def test_not_before_what_is_in_the_log_is_applied() -> None:
    """The entry of the departed one would begin its session anew, after it was forgotten."""
    led = Led()
    led.write()
    led.learn(GONE)
    led.tick()
    assert led.leader.replica.log.last_index == 2, "its write is not committed yet"
    led.committed()
    assert led.known == {OF_B}
    led.tick()
    led.committed()
    assert led.known == set()


def test_a_copy_that_comes_late_is_not_executed() -> None:
    led = Led()
    led.write()
    assert [reply.status for reply in led.committed()] == [Status.CREATED]
    led.learn(GONE)
    led.tick()
    led.committed()
    last = led.leader.replica.log.last_index
    assert [reply.status for reply in led.write()] == [RETRY], "which settles no other copy"
    assert led.leader.replica.log.last_index == last


def test_a_copy_that_waits_is_not_executed_after_the_map_has_ceased_to_name_its_life() -> None:
    led = Led()
    led.leader.primary.paused = True
    led.write()
    led.learn(GONE)
    led.tick()
    assert led.leader.primary.may_execute
    assert not led.leader.primary.parked
    assert led.leader.replica.log.last_index == 1


def test_the_next_primary_forgets_what_the_one_before_could_not() -> None:
    led = Led()
    led.write()
    led.committed()
    led.learn(GONE)
    led.backup.take(replace(GONE, version=9, partitions=(a_part(C, epoch=Epoch(4)),)))  # type: ignore[arg-type]
    led.backup.sync()
    led.backup.hear(A, a_promise(2, epoch=4))
    led.backup.sync()
    led.backup.hear(A, an_ack(3, epoch=4))
    led.backup.tick(limits.LOOK_AFTER_MS)
    led.backup.sync()
    led.backup.hear(A, an_ack(4, epoch=4))
    assert led.backup.replica.state.sessions.origins == set()


def test_very_many_are_forgotten_by_several_entries() -> None:
    led = Led()
    table = Sessions()
    for number in range(AT_ONCE + 1):
        table.record(origin_of(NodeId(f"{number + 100:032x}"), Incarnation(1)), 1, 1, Status.CREATED, 1)
    for host in (led.leader, led.backup):
        host.replica.state.sessions = Sessions.decode(table.encode())
    led.learn(a_map(a_part(A), version=8))
    for left in (1, 0):
        led.tick()
        led.tick()
        led.committed()
        assert len(led.known) == left
