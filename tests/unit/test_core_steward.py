"""When a node may steer the cluster, and how a primary gives its office up."""

import pytest
from tests.core_parts import A, B, C, D, E, a_beat, a_context, a_map, a_member, a_part

from ringkeep.core import limits
from ringkeep.core.clustermap import ClusterMap, NodeState, Partition
from ringkeep.core.context import Context
from ringkeep.core.detector import Detector
from ringkeep.core.effects import MapWrite
from ringkeep.core.messages import Heartbeat, Report, Said
from ringkeep.core.office import Office, StatementRow
from ringkeep.core.primary import Phase, Primary
from ringkeep.core.replica import Replica
from ringkeep.core.rows import NO_NODE
from ringkeep.core.steward import Steward
from ringkeep.core.types import Epoch, Incarnation, Index, MapVersion, NodeId, PartitionId


class World:
    """Node a, first in the line, with b and c."""

    active = b""
    """The partitions that a leads and serves, as bits."""

    def __init__(self, cluster_map: ClusterMap | None) -> None:
        self.context: Context = a_context(A)
        self.context.cluster_map = cluster_map
        self.detector = Detector(self.context)
        self.detector.set_peers([B, C])
        self.steward = Steward(self.context, self.detector, "test", "1" * 32)
        self.steward.connected = True
        self.steward.on_members([a_member(node) for node in (A, B, C)])

    def hear(self, peer: NodeId, **beat: object) -> None:
        self.detector.peers[peer].heard = self.detector.peers[peer].echoed = self.context.now
        self.detector.peers[peer].beat = a_beat(**beat)

    def refuse(self, peer: NodeId) -> None:
        self.detector.on_down(peer, True)

    def act(self) -> MapWrite | None:
        """Look again, and return the write that this leads to."""
        self.steward.look_again()
        self.steward.on_tick(self.active)
        effects, _ = self.context.end()
        self.effects = effects
        return effects.map_write


def a_row(what: Said, node: NodeId = NO_NODE) -> StatementRow:
    """What the primary of partition 0 says, under the epoch and config of `a_part`."""
    return PartitionId(0), Epoch(3), MapVersion(1), int(what), node


def deposing() -> World:
    """c leads, refuses connections, and b says the same: a new primary is due."""
    world = World(a_map(a_part(C)))
    world.hear(B, suspects=[C])
    world.refuse(C)
    return world


def test_the_controller_writes_what_is_due_once() -> None:
    world = deposing()
    write = world.act()
    assert write is not None
    assert (write.expected, write.next_map.version, write.next_map.partitions[0].primary) == (7, 8, A)
    assert world.act() is None, "one write at a time"


@pytest.mark.parametrize(
    "ahead",
    [a_beat(map_version=8), a_beat(map_version=7, map_digest=99)],
    ids=["newer", "other"],
)
def test_nothing_is_written_while_a_live_node_holds_another_map(ahead: Heartbeat) -> None:
    world = deposing()
    world.hear(B, suspects=[C], map_version=ahead.map_version, map_digest=ahead.map_digest)
    assert world.act() is None
    assert bool(world.effects.alarms) == (ahead.map_version == 7), "two maps of one number are an alarm"


def test_a_live_node_that_has_not_spoken_yet_is_waited_for() -> None:
    world = deposing()
    world.detector.peers[B].beat = None
    assert world.act() is None


def test_without_a_majority_nothing_is_written_and_the_turn_is_given_up() -> None:
    world = deposing()
    world.refuse(B)
    assert world.act() is None
    assert not world.effects.reregister
    world.context.now += limits.CUT_OFF_MS + 1
    assert world.act() is None
    assert world.effects.reregister, "to the end of the line"


@pytest.mark.parametrize("obstacle", ["connected", "frozen", "later in line"])
def test_who_may_not_act_does_not(obstacle: str) -> None:
    world = deposing()
    if obstacle == "connected":
        world.steward.connected = False
    elif obstacle == "frozen":
        world.steward.frozen = "ZooKeeper holds an older map"
    else:
        world.steward.on_members([a_member(A, sequence=9), a_member(B, sequence=1)])
    assert world.act() is None


def test_who_is_next_in_line_acts_for_one_that_refuses_connections() -> None:
    world = deposing()
    world.steward.on_members([a_member(C, sequence=0), a_member(A, sequence=1), a_member(B, sequence=2)])
    assert world.act() is not None


def test_a_statement_is_good_for_a_while_only() -> None:
    for waited, due in ((0, True), (limits.STATEMENT_MS + 1, False)):
        world = World(a_map(a_part(C)))
        world.steward.on_report(Report([a_row(Said.HANDOVER, A)]))
        world.context.now += limits.MAP_WRITE_INTERVAL_MS + waited
        for peer in (B, C):
            world.hear(peer)
        assert (world.act() is not None) == due


def test_the_barrier_opens_when_everybody_who_is_expected_answers() -> None:
    world = World(None)
    world.hear(B)
    world.hear(C)
    world.steward.on_members([a_member(A), a_member(B)])
    assert world.act() is None, "two of three are here"
    world.steward.on_members([a_member(A), a_member(B), a_member(C, expect=4)])
    assert world.act() is None, "they disagree"
    world.steward.on_members([a_member(node) for node in (A, B, C)])
    world.detector.peers[C].beat = None
    assert world.act() is None, "c does not answer"
    world.hear(C)
    world.steward.barrier = False
    assert world.act() is None, "somebody has formed the cluster already"
    world.steward.barrier = True
    write = world.act()
    assert write is not None
    assert (write.expected, write.next_map.version, write.next_map.cluster_id) == (0, 1, "1" * 32)


def test_a_directory_of_another_cluster_keeps_the_barrier_closed() -> None:
    world = World(None)
    world.hear(B)
    world.hear(C)
    world.steward.on_members([a_member(A), a_member(B), a_member(C, cluster_id="2" * 32)])
    assert world.act() is None
    assert "c belongs to a cluster already" in world.effects.alarms[0]


# --- changes of replicas ---------------------------------------------------------------------------------


def growing(part: Partition) -> World:
    """a steers, c leaves, and d is there to come: all of them answer."""
    world = World(a_map(part, nodes=(A, B, C, D), states={C: NodeState.LEAVING}))
    world.detector.set_peers([B, C, D])
    for peer in (B, C, D):
        world.hear(peer)
    return world


@pytest.mark.parametrize("leader", [A, B])
def test_a_change_begins_when_the_partitions_primary_says_that_it_serves(leader: NodeId) -> None:
    world = growing(a_part(leader, (leader, A if leader == B else B, C)))
    for bits in (b"", b"\x02"):
        world.active = bits
        world.hear(B, active=bits)
        assert world.act() is None
    world.active = b"\x01" if leader == A else b""
    world.hear(B, active=b"\x01" if leader == B else b"")
    write = world.act()
    assert write is not None
    assert write.next_map.partitions[0].learner == D


def test_a_newcomer_is_waited_for_until_it_has_been_absent_for_long() -> None:
    world = growing(a_part(A, learner=D, replaces=C))
    world.refuse(D)
    for waited, given_up in ((0, False), (limits.ABSENT_MS - 1, False), (1, True)):
        world.context.now += waited
        world.hear(B)
        world.hear(C)
        write = world.act()
        assert (write is not None) == given_up
    assert write is not None
    assert write.next_map.partitions[0].learner is None


def test_who_answers_in_between_has_not_been_absent_for_long() -> None:
    world = growing(a_part(A, learner=D, replaces=C))
    for _ in range(3):
        world.refuse(D)
        assert world.act() is None
        world.context.now += limits.ABSENT_MS - 1
        world.detector.on_up(D)
        for peer in (B, C, D):
            world.hear(peer)
        assert world.act() is None


def test_a_damaged_newcomer_says_so_itself() -> None:
    world = growing(a_part(A, learner=D, replaces=C))
    world.hear(D, damaged=True)
    write = world.act()
    assert write is not None
    assert write.next_map.partitions[0].learner is None


# --- orders ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "obeyed"), [("leaving", True), ("dead", True), ("draining", False), ("?", False)]
)
def test_an_operators_order_comes_from_any_node(state: str, obeyed: bool) -> None:
    world = growing(a_part(A))
    world.context.cluster_map = a_map(a_part(A), nodes=(A, B, C, D))
    world.steward.on_report(Report([], [(C, state)]))
    write = world.act()
    assert (write is not None) == obeyed
    if write is not None:
        assert [str(node.state) for node in write.next_map.nodes] == ["active", "active", state, "active"]


def test_an_order_is_repeated_until_the_map_shows_it() -> None:
    world = World(a_map())
    world.steward.order(C, NodeState.LEAVING)
    assert world.steward.pending_orders() == world.steward.pending_orders() == [(C, "leaving")]
    world.context.cluster_map = a_map(version=8, states={C: NodeState.LEAVING})
    assert world.steward.pending_orders() == []
    world.context.cluster_map = a_map(version=9)
    assert world.steward.pending_orders() == [], "what was done once is not done again"


def test_an_order_that_is_not_obeyed_is_given_up_in_the_end() -> None:
    world = World(a_map())
    world.steward.order(C, NodeState.LEAVING)
    world.steward.order(E, NodeState.DEAD)
    assert world.steward.pending_orders() == [(C, "leaving")], "e is no node of this cluster"
    world.context.now += limits.MAX_TIMEOUT_MS
    assert world.steward.pending_orders() == []


# --- the office ------------------------------------------------------------------------------------------


class Leader(World):
    """Node a leads, though b is preferred, and b has answered long enough."""

    def __init__(self, voters: tuple[NodeId, ...] = (B, A, C), old_voters: tuple[NodeId, ...] = ()) -> None:
        super().__init__(a_map(a_part(A, voters, old_voters=old_voters)))
        context = self.context
        replica = Replica(context, PartitionId(0))
        assert context.cluster_map is not None
        self.primary = replica.primary = Primary(context, replica, context.cluster_map.partitions[0])
        replica.promise(Epoch(3), A, Incarnation(1))
        self.primary.phase = Phase.ACTIVE
        self.primary.progress.match = {B: Index(0), C: Index(0)}
        self.office = Office(context, self.detector)
        self.tick()
        context.now += limits.GIVE_BACK_AFTER_MS

    def tick(self, **beat: object) -> list[StatementRow]:
        for peer in (B, C):
            if not self.detector.peers[peer].refused:
                self.hear(peer, **beat)
        return self.office.on_tick([self.primary])


def test_a_handover_drains_before_it_is_offered() -> None:
    world = Leader()
    log = world.primary.replica.log
    log.last_index = world.primary.replica.commit = Index(5)
    world.primary.progress.match[B] = Index(4)
    assert world.tick() == [], "b lacks an entry"
    assert not world.primary.may_execute, "and nothing is added to it"
    world.primary.progress.match[B] = Index(5)
    world.primary.replica.commit = Index(4)
    assert world.tick() == [], "not everything is committed"
    world.primary.replica.commit = Index(5)
    assert world.tick() == [a_row(Said.HANDOVER, B)]
    assert world.tick() == [], "said once"


def test_a_handover_that_nobody_takes_up_ends() -> None:
    world = Leader()
    world.tick()
    assert not world.primary.may_execute
    world.context.now += limits.HANDOVER_WAIT_MS
    world.primary.on_tick()
    assert world.primary.may_execute
    world.tick()
    assert world.primary.may_execute, "and is not tried again at once"


def test_the_preferred_primary_keeps_its_office() -> None:
    world = Leader((A, B, C))
    assert world.tick() == []
    assert world.primary.may_execute


def test_nothing_is_handed_to_who_has_not_said_where_it_stands() -> None:
    world = Leader()
    del world.primary.progress.match[B]
    world.tick()
    assert world.primary.may_execute


def test_while_joint_nothing_is_handed_to_a_newcomer() -> None:
    world = Leader((B, A, C), old_voters=(A, C, D))
    world.tick()
    assert world.primary.may_execute, "though b is preferred"


@pytest.mark.parametrize("unfit", [{"draining": True}, {"damaged": True}, {"ready": False}])
def test_nothing_is_handed_to_a_node_that_is_not_fit(unfit: dict[str, bool]) -> None:
    world = Leader()
    world.tick(**unfit)
    assert world.primary.may_execute


def test_a_draining_node_gives_to_anybody_who_is_caught_up() -> None:
    world = Leader((A, B, C))
    world.context.draining = True
    world.tick()
    assert not world.primary.may_execute


def test_without_a_majority_a_primary_pauses_and_goes_on_when_one_answers() -> None:
    world = Leader((A, B, C))
    world.refuse(B)
    world.tick()
    assert world.primary.may_execute
    world.refuse(C)
    world.tick()
    assert not world.primary.may_execute
    assert world.context.counters["primary_paused"] == 1
    world.detector.on_up(B)
    world.tick()
    assert world.primary.may_execute


def test_a_primary_that_does_not_become_active_asks_for_another() -> None:
    world = Leader((A, B, C))
    world.primary.phase = Phase.PREPARING
    assert world.tick() == []
    world.context.now += limits.TAKE_OFFICE_MS
    assert world.tick() == [a_row(Said.FAILED)]
    assert world.tick() == [], "and waits again before it repeats that"
