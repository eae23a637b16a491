"""Each state of health and each reason for it, as one node judges; and what it says of them."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.core.parts import A, B, C, D, Host, a_beat, a_map, a_member, a_part
from tests.support.paths import DOCS

from ringkeep.core.disk_state import NOTHING_ASKED, DiskState
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, NodeState
from ringkeep.core.protocol.types import NodeId
from ringkeep.server.views import Views
from ringkeep.status.cluster_health import Health, Reason, ReasonKind, health_of

HEALTHY, DEGRADED, UNAVAILABLE = Health
PARTS = [a_part(B, (B, A, C)), a_part(B, (B, A, C)), a_part(C, (C, A, B))]


class World:
    """Node a judges. b leads the partitions 0 and 1, c leads 2; all is well but for what a test changes.

    `words`: what b says.
    """

    def __init__(self, found: ClusterMap | None = None, **words: Any) -> None:
        self.host = Host(A)
        self.node = self.host.node
        self.views = Views(self.node, "0", lambda: "", dict, lambda: self.node.context.now + self.late)
        self.beats: dict[NodeId, dict[str, Any]] = {
            B: {"active": b"\x03", "copies": [b"\x03"]} | words,
            C: {"active": b"\x04", "copies": [b"\x04"]},
        }
        self.silent: set[NodeId] = set()
        self.late = 0  # for so long the core has not moved
        self.members = [a_member(node) for node in (A, B, C)]
        self.node.controller.connected = True
        self.take(found or a_map(*PARTS))
        for replica in self.node.replicas.values():
            replica.caught_up = True
        self.pass_time()

    def take(self, found: ClusterMap) -> None:
        self.host.take(found)

    def say(self, node: NodeId, **words: Any) -> None:
        self.beats.setdefault(node, {}).update(words)

    def pass_time(self, after: int = limits.HEARTBEAT_MS) -> None:
        """Everybody who is not silent is heard; time is looked at."""
        self.node.context.now += after
        self.node.controller.on_members(self.members)
        for peer, health in self.node.detector.peers.items():
            if peer in self.silent:
                health.refused = True
            else:
                health.heard = health.echoed = self.node.context.now
                beat = health.beat = a_beat(**self.beats.get(peer, {}))
                self.node.context.disks.note(peer, beat.disk)
        self.host.turn(self.node.on_tick)

    def reasons(self) -> dict[ReasonKind, Reason]:
        return {reason.kind: reason for reason in self.views.health()[1]}

    @property
    def health(self) -> Health:
        return self.views.health()[0]


def joint(world: World) -> None:
    parts = [replace(PARTS[0], voters=(B, A, D), old_voters=(B, A, C)), *PARTS[1:]]
    world.take(a_map(*parts, nodes=(A, B, C, D), version=8))
    world.members.append(a_member(D))
    world.say(D)


def grown(world: World) -> None:
    world.take(replace(a_map(*PARTS, nodes=(A, B, C, D), version=8), replication=5))
    world.members.append(a_member(D))
    world.say(D)


def drained(world: World) -> None:
    world.take(a_map(*PARTS, version=8, states={C: NodeState.DRAINING}))


def held(world: World) -> None:
    world.take(replace(a_map(*PARTS, version=8), settings={"moves": 1}))


def failing_over(world: World) -> None:
    world.silent.add(C)
    world.say(B, copies=[b"\x03", b"\x03"], behind=[(C, 2)])


def two_gone(world: World) -> None:
    world.silent |= {B, C}


def lost_for_good(world: World) -> None:
    two_gone(world)
    world.take(a_map(*PARTS, version=8, states={B: NodeState.DEAD, C: NodeState.DEAD}))


def frozen(world: World) -> None:
    world.node.controller.frozen = "ZooKeeper holds no map"


def not_connected(world: World) -> None:
    world.node.controller.connected = False


def own_disk_full(world: World) -> None:
    world.node.context.disks.own.note(0, stalled=False, free=1, reserve=2, asked=NOTHING_ASKED)


def stopping(world: World) -> None:
    world.node.context.draining = True


def stalled(world: World) -> None:
    world.late = limits.SUSPECT_AFTER_MS + 1


def damaged(world: World) -> None:
    world.say(C, damaged=True)
    world.say(B, copies=[b"\x03", b"\x03"], behind=[(C, 2)])


K = ReasonKind
TABLE: dict[str, tuple[Callable[[World], object], Health, set[ReasonKind]]] = {
    "all is well": (lambda w: None, HEALTHY, set()),
    "a copy lags": (
        lambda w: w.say(B, copies=[b"\x03", b"\x01"], behind=[(A, 1)]), DEGRADED, {K.COPIES, K.BEHIND},
    ),
    "two copies lag": (
        lambda w: w.say(B, copies=[b"\x03", b"\x01", b"\x01"], behind=[(A, 1), (C, 1)]),
        DEGRADED, {K.COPIES, K.BEHIND},
    ),
    "a node has died just now": (failing_over, DEGRADED, {K.COPIES, K.SILENT}),
    "two nodes have died": (two_gone, UNAVAILABLE, {K.NO_MAJORITY, K.SILENT}),
    "two nodes are gone for good": (
        lost_for_good, UNAVAILABLE, {K.NO_MAJORITY, K.TOO_FEW_NODES, K.MOVES},
    ),
    "a change is under way": (joint, DEGRADED, {K.MOVES}),
    "more copies are wanted": (grown, DEGRADED, {K.COPIES, K.MOVES, K.TOO_FEW_NODES}),
    "a node has started": (lambda w: w.say(C, ready=False), DEGRADED, {K.BEHIND}),
    "a node is stopping": (lambda w: w.say(C, draining=True), DEGRADED, {K.STOPPING}),
    "this node is stopping": (stopping, DEGRADED, {K.STOPPING}),
    "a node is damaged": (damaged, DEGRADED, {K.DAMAGED, K.COPIES, K.MOVES}),
    "a node has no session": (lambda w: w.members.pop(), DEGRADED, {K.UNREGISTERED}),
    "a disk is full": (lambda w: w.say(C, disk=DiskState.SHORT), DEGRADED, {K.DISK_FULL}),
    "a disk takes nothing": (lambda w: w.say(C, disk=DiskState.SPENT), DEGRADED, {K.DISK_SPENT}),
    "a disk is slow": (lambda w: w.say(C, disk=DiskState.SLOW), DEGRADED, {K.DISK_SLOW}),
    "a disk does not answer": (lambda w: w.say(C, disk=DiskState.SILENT), DEGRADED, {K.DISK_SILENT}),
    "this disk is full": (own_disk_full, DEGRADED, {K.DISK_FULL}),
    "this node stands still": (stalled, DEGRADED, {K.STALLED}),
    "ZooKeeper is away": (not_connected, DEGRADED, {K.ZOOKEEPER}),
    "ZooKeeper was wiped": (frozen, DEGRADED, {K.REGISTER}),
    "nobody is registered": (lambda w: w.members.clear(), DEGRADED, {K.CONTROLLER, K.UNREGISTERED}),
    "a node is drained": (drained, HEALTHY, {K.DRAINED}),
    "moves are held": (held, HEALTHY, {K.HELD}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_each_reason(name: str) -> None:
    change, health, kinds = TABLE[name]
    world = World()
    assert (world.health, world.reasons()) == (HEALTHY, {})
    change(world)
    world.pass_time()
    assert (world.health, set(world.reasons())) == (health, kinds)
    said = world.views.cluster()
    assert said["health"] == health.value
    assert [each["text"] for each in said["missing"]] == said["problems"]
    assert all("\n" not in text and text and text[-1] != "." for text in said["problems"])
    assert {each["health"] for each in said["missing"]} <= {health.value, "healthy", "degraded"}


def test_every_kind_of_reason_is_in_the_table() -> None:
    tried = set().union(*[kinds for _, _, kinds in TABLE.values()])
    assert set(ReasonKind) - tried == {K.FORMING, K.NO_PRIMARY, K.UNCOUNTED, K.ONE_COPY}, (
        "these have tests of their own"
    )


def texts(world: World) -> str:
    return "\n".join(world.views.cluster()["problems"])


def test_a_cluster_that_forms_is_unavailable() -> None:
    views = Views(Host(A).node, "0", lambda: "", dict, lambda: 0)
    assert views.health() == (UNAVAILABLE, [Reason(ReasonKind.FORMING)])
    assert views.cluster()["problems"] == ["the cluster is not formed yet: no data is served"]


def test_copies_are_told_by_how_many_there_are() -> None:
    world = World()
    world.say(B, copies=[b"\x03", b"\x03", b"\x01"])
    world.pass_time()
    said = [(r.have, r.want, r.partitions, r.count) for r in world.views.health()[1]]
    assert said == [(1, 3, (0,), 2), (2, 3, (1,), 1)]
    assert "1 partition (0) has 1 of 3 copies in sync\n1 partition (1) has 2 of 3" in texts(world)


def test_one_node_has_one_of_three_copies() -> None:
    world = World(a_map(a_part(B, (B,)), nodes=(A, B)))
    world.members = [a_member(A), a_member(B)]
    world.say(B, active=b"\x01", copies=[b"\x01"])
    world.pass_time()
    found = world.reasons()[ReasonKind.COPIES]
    assert (found.have, found.want, found.count) == (1, 3, 2)
    assert "1 of 3 copies" in texts(world) and "2 nodes for 3 copies of each key: add 1 node" in texts(world)


def test_unavailable_says_who_would_bring_it_back() -> None:
    world = World()
    two_gone(world)
    world.pass_time()
    found = world.reasons()[ReasonKind.NO_MAJORITY]
    assert (found.partitions, found.nodes, found.count) == ((0, 1, 2), (B, C), 1)
    assert "bring back 1 of b, c" in texts(world)
    lost_for_good(world)
    world.pass_time()
    assert world.reasons()[ReasonKind.NO_MAJORITY].nodes == ()
    assert "no node that could come back" in texts(world) and "recover partition all" in texts(world)


def test_without_an_active_primary_for_longer_than_a_change_takes_it_is_unavailable() -> None:
    world = World()
    world.say(B, active=b"", copies=[])
    for _ in range(limits.LAPSE_MS // limits.HEARTBEAT_MS):
        world.pass_time()
        assert world.health == HEALTHY, "the last word still counts"
    world.pass_time()
    world.pass_time()
    assert (world.health, world.reasons()) == (
        UNAVAILABLE, {ReasonKind.NO_PRIMARY: Reason(ReasonKind.NO_PRIMARY, (), (0, 1))},
    )  # fmt: skip
    world.node.controller.connected = False
    assert "ZooKeeper is needed to choose another" in texts(world)


def test_while_a_primaryship_changes_hands_who_left_since_is_missing() -> None:
    world = World()
    world.silent.add(B)
    world.pass_time()
    found = world.reasons()
    assert (found[ReasonKind.COPIES].partitions, found[ReasonKind.SILENT].nodes) == ((0, 1), (B,)), (
        "c has not counted yet"
    )


def test_nothing_is_healthy_before_its_copies_were_counted() -> None:
    world = World(copies=[b"\x01"])
    assert (world.health, list(world.reasons().values())) == (
        DEGRADED, [Reason(ReasonKind.UNCOUNTED, (), (1,))],
    )  # fmt: skip
    world.say(B, copies=[b"\x03"])
    world.pass_time()
    assert world.health == HEALTHY


def test_where_one_copy_is_wanted_one_copy_is_healthy() -> None:
    one = a_map(a_part(B, (B,)), a_part(C, (C,)), replication=1)
    world = World(one, active=b"\x01", copies=[b"\x01"])
    world.say(C, active=b"\x02", copies=[b"\x02"])
    world.pass_time()
    assert (world.health, set(world.reasons())) == (HEALTHY, {ReasonKind.ONE_COPY})
    world.silent.add(C)
    world.pass_time()
    assert (world.health, set(world.reasons())) == (
        UNAVAILABLE,
        {ReasonKind.NO_MAJORITY, ReasonKind.SILENT, ReasonKind.ONE_COPY},
    )


def test_the_word_of_a_primary_that_serves_counts_more_than_who_answers_here() -> None:
    """Node a cannot hear c, but b can, and says that all of its copies are in sync."""
    world = World(a_map(a_part(B, (B, D, C)), nodes=(A, B, C, D)))
    world.members.append(a_member(D))
    world.say(B, active=b"\x01", copies=[b"\x01"])
    world.say(D)
    world.silent |= {C, D}
    world.pass_time()
    assert (world.health, set(world.reasons())) == (DEGRADED, {ReasonKind.SILENT})


def test_the_worst_counts() -> None:
    reasons = [Reason(ReasonKind.HELD), Reason(ReasonKind.COPIES)]
    assert health_of([]) == health_of(reasons[:1]) == HEALTHY
    assert health_of(reasons) == DEGRADED
    assert health_of([*reasons, Reason(ReasonKind.NO_PRIMARY)]) == UNAVAILABLE


def test_numbers_of_many_partitions_do_not_fill_the_sentence() -> None:
    many = [a_part(B, (B, A, C))] * 64
    world = World(a_map(*many))
    every_other = bytes([0b01010101] * 8)
    world.say(B, active=b"\xff" * 8, copies=[b"\xff" * 8, every_other])
    world.say(C, active=b"", copies=[])
    world.pass_time()
    (text,) = world.views.cluster()["problems"]
    assert text == "32 partitions (0, 2, 4, 6, 8, 10, 12, 14, …) have 2 of 3 copies in sync"
    assert len(world.views.cluster()["missing"][0]["partitions"]) == 32


def test_this_node_is_not_ready_before_the_map_names_this_life_of_it() -> None:
    world = World()
    world.node.context.recognised = False
    assert (world.health, world.reasons()[ReasonKind.BEHIND].nodes) == (DEGRADED, (A,))


def test_the_document_names_every_kind() -> None:
    document = (DOCS / "http.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*`) \| (healthy|degraded|unavailable) \|", document, re.MULTILINE)
    said = {kind: health for kinds, health in rows for kind in re.findall(r"`([a-z-]+)`", kinds)}
    assert said == {kind.value: Reason(kind).health.value for kind in ReasonKind}
