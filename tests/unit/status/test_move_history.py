"""What every node knows of sizes and moves: as maps tell it, also when some were missed, and primaries."""

from dataclasses import replace

import pytest
from tests.support.core.group import Group, Speaking, a_put, scanned
from tests.support.core.parts import A, B, C, Cluster, D, E, P, a_map, a_part, bound, map_of

from ringkeep.core.cluster.cluster_settings import CANCELLED, MOVES, REPLICATION
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.control.size_reports import SizeReports
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, Partition
from ringkeep.core.protocol.messages import Sizes
from ringkeep.core.protocol.types import Millis, NodeId, PartitionId
from ringkeep.status.move_history import FINISHED_KEPT, RATE_MS, MoveHistory

Told = tuple[NodeId | None, NodeId | None, bool]


class Watcher:
    """One node's history, which reads the maps that it is given."""

    def __init__(self) -> None:
        self.now: Millis = 0
        self.history = MoveHistory()

    def read(self, found: ClusterMap) -> None:
        self.now += 1_000
        self.history.on_map(found, self.now)

    def hear(self, sizes: Sizes) -> None:
        self.history.on_sizes(sizes, self.now)

    def read_part(self, part: Partition) -> None:
        self.read(a_map(part, nodes=(A, B, C, D, E)))

    def running(self) -> list[tuple[NodeId | None, NodeId | None]]:
        return [(move.gone, move.newcomer) for move in self.history.running.values()]

    def finished(self) -> list[Told]:
        return [(move.gone, move.newcomer, move.done) for move in self.history.finished]


STABLE = a_part(A)
LEARNING = a_part(A, learner=D, replaces=C)
JOINT = a_part(A, (A, B, D), old_voters=(A, B, C))
DONE = a_part(A, (A, B, D))


# --- moves -----------------------------------------------------------------------------------------------


def test_a_move_runs_from_its_learner_to_its_last_step() -> None:
    watcher = Watcher()
    for part, running in ((STABLE, []), (LEARNING, [(C, D)]), (JOINT, [(C, D)]), (DONE, [])):
        watcher.read_part(part)
        assert watcher.running() == running
    (move,) = watcher.history.finished
    assert (move.gone, move.newcomer, move.done, move.since, move.ended) == (C, D, True, 2_000, 4_000)


@pytest.mark.parametrize("before", [LEARNING, JOINT], ids=["learner", "joint"])
def test_a_move_that_is_rolled_back_is_undone(before: Partition) -> None:
    watcher = Watcher()
    for part in (STABLE, before, STABLE):
        watcher.read_part(part)
    assert watcher.finished() == [(C, D, False)]


def test_voters_that_are_added_or_let_go_are_moves_too() -> None:
    cluster = Cluster(*[a_part(A)] * 2, nodes="abcd", replication=3)
    watcher = Watcher()
    cluster.map = replace(cluster.map, partitions=(a_part(A, (A, B)), a_part(A, (A, B, C, D))))
    watcher.read(cluster.map)
    while watcher.history.running or not watcher.history.finished:
        cluster.say_all()
        assert cluster.step()
        watcher.read(cluster.map)
    (added,) = [move for move in watcher.history.finished if move.partition == 0]
    (let_go,) = [move for move in watcher.history.finished if move.partition == 1]
    assert (added.gone, added.newcomer in (C, D), added.done) == (None, True, True)
    assert (let_go.gone in (B, C, D), let_go.newcomer, let_go.done) == (True, None, True)


def test_another_change_right_after_one_is_another_move() -> None:
    watcher = Watcher()
    for part in (LEARNING, replace(LEARNING, learner=E)):
        watcher.read_part(part)
    assert watcher.running() == [(C, E)]
    assert watcher.finished() == [(C, D, False)]


def test_new_primaries_and_orders_of_voters_are_no_moves() -> None:
    watcher = Watcher()
    for part in (STABLE, a_part(B), a_part(B, (C, B, A)), a_part(C, (C, B, A))):
        watcher.read_part(part)
    assert (watcher.running(), watcher.finished()) == ([], [])


def test_a_node_that_starts_sees_what_is_under_way_and_nothing_of_before() -> None:
    for part, running in ((STABLE, []), (LEARNING, [(C, D)]), (JOINT, [(C, D)])):
        watcher = Watcher()
        watcher.read_part(part)
        assert (watcher.running(), watcher.finished()) == (running, [])


@pytest.mark.parametrize(
    ("seen", "finished", "running"),
    [
        ([STABLE, DONE], [(C, D, True)], []),
        ([STABLE, JOINT, DONE], [(C, D, True)], []),
        ([LEARNING, DONE], [(C, D, True)], []),
        ([STABLE, a_part(A, (A, B))], [(C, None, True)], []),
        ([STABLE, a_part(A, (A, B, C, D))], [(None, D, True)], []),
        ([STABLE, a_part(A, (A, D, E))], [(B, D, True), (C, E, True)], []),
        ([STABLE, a_part(A, (A, B, D), learner=E, replaces=B)], [(C, D, True)], [(B, E)]),
        ([STABLE, a_part(A, (A, D, E), old_voters=(A, B, D))], [(C, D, True)], [(B, E)]),
        ([LEARNING, a_part(A, (A, B, D), learner=E, replaces=B)], [(C, D, True)], [(B, E)]),
        ([LEARNING, a_part(A, learner=E, replaces=B)], [(C, D, False)], [(B, E)]),
        ([STABLE, JOINT], [], [(C, D)]),
        ([JOINT, STABLE, JOINT], [(C, D, False)], [(C, D)]),
    ],
)
def test_maps_that_were_not_seen_leave_no_hole(
    seen: list[Partition], finished: list[Told], running: list[tuple[NodeId, NodeId]]
) -> None:
    watcher = Watcher()
    for part in seen:
        watcher.read_part(part)
    assert watcher.finished() == finished
    assert watcher.running() == running


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_whoever_sees_only_some_maps_knows_of_the_same_ends(every: int) -> None:
    cluster = Cluster.formed(5, 8)
    watcher = Watcher()
    watcher.read(cluster.map)
    for order in ((Verb.DECOMMISSION, C, 0), (Verb.SET, REPLICATION, 1), (Verb.SET, REPLICATION, 3)):
        before = [set(part.voters) for part in cluster.map.partitions]
        watcher.history.finished.clear()
        assert cluster.order(*order)
        for number in range(200):
            if number % every == 0:
                watcher.read(cluster.map)
            cluster.say_all()
            if not cluster.step():
                break
        watcher.read(cluster.map)
        assert watcher.running() == []
        for number, part in enumerate(cluster.map.partitions):
            moves = [move for move in watcher.history.finished if move.partition == number]
            voters = before[number]
            for move in moves:
                if move.done:
                    voters = {voter for voter in voters | {move.newcomer} if voter not in (move.gone, None)}
            assert voters == set(part.voters)


def test_all_that_is_cancelled_is_undone() -> None:
    cluster = Cluster.formed(4, 16)
    watcher = Watcher()
    cluster.order(Verb.DECOMMISSION, C)
    watcher.read(cluster.map)
    begun = watcher.running()
    assert len(begun) > 4
    cluster.order(Verb.SET, MOVES, CANCELLED)
    watcher.read(cluster.map)
    assert watcher.running() == []
    assert watcher.finished() == [(*move, False) for move in begun]


def test_only_so_many_moves_are_remembered() -> None:
    watcher = Watcher()
    for _ in range(FINISHED_KEPT + 5):
        watcher.read_part(LEARNING)
        watcher.read_part(STABLE)
    assert len(watcher.history.finished) == FINISHED_KEPT
    assert watcher.history.finished[-1].ended == watcher.now


# --- sizes and rate --------------------------------------------------------------------------------------


def test_a_primarys_word_is_kept_by_partition() -> None:
    watcher = Watcher()
    watcher.hear(Sizes([0, 40, 7, 5]))
    watcher.hear(Sizes([7, 6]))
    assert watcher.history.to_send == {PartitionId(0): 40, PartitionId(7): 6}
    watcher.hear(Sizes([1], [3]))  # cut short: by a newer version, perhaps
    assert len(watcher.history.to_send) == 2


def test_what_a_learner_was_sent_only_grows_and_counts_for_its_move_alone() -> None:
    watcher = Watcher()
    watcher.read_part(LEARNING)
    for said, known in ((300, 300), (200, 300), (900, 900)):
        watcher.hear(Sizes([], [0, said, 1, 10_000]))
        assert watcher.history.running[P].bytes == known
    assert watcher.history.sent_bytes == 900, "of partition 1 no move is known"
    watcher.read_part(STABLE)
    watcher.hear(Sizes([], [0, 5_000]))
    assert (watcher.history.finished[0].bytes, watcher.history.sent_bytes) == (900, 900)


def test_everybody_knows_how_large_a_partition_is() -> None:
    group = Group(A, B, C)
    group.ask(a_put(b"key", b"value" * 9), a_put(b"other", own=b"once"))
    group.tick(limits.SIZES_MS)
    leader = group.hosts[A].replica
    for host in group.hosts.values():
        told = host.history.to_send[P]
        assert told == leader.log.entry_bytes, "a newcomer would be sent the log"
        bound(host.node.context, log_entries=0)
    group.ask(a_put(b"key", b"less"))
    group.tick(limits.SIZES_MS)
    for host in group.hosts.values():
        assert host.history.to_send[P] == scanned(host), "now it would be sent the rows"


def test_it_is_told_now_and_then_and_only_by_who_leads() -> None:
    group = Group(A, B, C)
    backup = group.hosts[B].history
    log = group.hosts[A].replica.log
    group.tick(limits.SIZES_MS)
    empty = backup.to_send[P]
    for _ in range(4):
        group.ask(a_put(b"key", b"value"), after_ms=limits.SIZES_MS // 5)
        assert backup.to_send[P] == empty, "not yet"
    group.tick(limits.SIZES_MS // 5)
    assert backup.to_send[P] == log.entry_bytes > empty
    reports, senders = SizeReports(group.hosts[B].node.context), group.hosts[B].node.senders
    assert reports.due([], [*group.hosts[B].node.primaries.values()], senders) is None


def test_everybody_knows_how_much_a_learner_was_sent() -> None:
    group = Group(A, B, C)
    group.ask(a_put(b"key", b"value" * 100))
    group.hosts[D] = Speaking(D)
    group.take(map_of(a_part(A, (A, B, C), learner=D), 8))
    group.tick(limits.RESEND_MS)
    log = group.hosts[A].replica.log
    assert group.hosts[D].replica.log.last_index == log.last_index
    sent = log.entry_bytes
    for host in group.hosts.values():
        assert host.history.running[P].bytes == sent
    group.take(map_of(a_part(A, (A, B, C, D), old_voters=(A, B, C)), 9))
    group.take(map_of(a_part(A, (A, B, C, D)), 10))
    for host in group.hosts.values():
        (move,) = host.history.finished
        assert (move.newcomer, move.bytes, move.done) == (D, sent, True)


def test_what_a_snapshot_brought_counts_too() -> None:
    group = Group(A, B, C)
    group.ask(*[a_put(b"key %d" % number, b"value" * 20) for number in range(30)])
    group.join(D)
    group.tick(limits.RESEND_MS)
    for host in group.hosts.values():
        assert host.history.running[P].bytes >= scanned(group.hosts[D])


def counting(watcher: Watcher, sent: int, after_ms: int = limits.SIZES_MS) -> float:
    """Time passes, and so many bytes more have been sent; return the rate."""
    watcher.now += after_ms
    watcher.history.sent_bytes += sent
    watcher.hear(Sizes())
    return watcher.history.rate(watcher.now)


def test_the_rate_is_that_of_the_last_seconds_over_all_moves() -> None:
    watcher = Watcher()
    assert counting(watcher, 0) == 0
    assert counting(watcher, 500) == 500 * 1000 / limits.SIZES_MS
    for _ in range(RATE_MS // limits.SIZES_MS + 1):
        rate = counting(watcher, 2_000)
    assert rate == 2_000 * 1000 / limits.SIZES_MS, "what was before does not count any more"
    for _ in range(RATE_MS // limits.SIZES_MS + 1):
        rate = counting(watcher, 0)
    assert rate == 0


def test_after_a_long_pause_there_is_no_rate_for_a_moment() -> None:
    watcher = Watcher()
    counting(watcher, 0)
    assert counting(watcher, 100) > 0
    assert counting(watcher, 9_000, after_ms=10 * RATE_MS) == 0, "nobody knows when it was sent"
    assert counting(watcher, 100) == 100 * 1000 / limits.SIZES_MS
