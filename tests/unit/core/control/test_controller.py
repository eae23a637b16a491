"""When a node may steer the cluster, and what it makes of orders and of silence."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from tests.support.core.parts import A, B, C, ControllerWorld, D, P, a_beat, a_map, a_member, a_part, a_row

from ringkeep.core.cluster import cluster_settings
from ringkeep.core.cluster.orders import Verb
from ringkeep.core.control import controller
from ringkeep.core.disk_state import DiskState
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import NodeState, Partition
from ringkeep.core.protocol.messages import Copies, Heartbeat, Order, Report, Said
from ringkeep.core.protocol.types import Epoch, Index, NodeId


def deposing() -> ControllerWorld:
    """c leads, refuses connections, and b says the same: a new primary is due."""
    world = ControllerWorld(a_map(a_part(C)))
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
        world.controller.connected = False
    elif obstacle == "frozen":
        world.controller.frozen = "ZooKeeper holds an older map"
    else:
        world.controller.on_members([a_member(A, sequence=9), a_member(B, sequence=1)])
    assert world.act() is None


def test_who_is_next_in_line_acts_for_one_that_refuses_connections() -> None:
    world = deposing()
    world.controller.on_members([a_member(C, sequence=0), a_member(A, sequence=1), a_member(B, sequence=2)])
    assert world.act() is not None


def test_a_statement_is_good_for_a_while_only() -> None:
    for waited, due in ((0, True), (limits.STATEMENT_MS + 1, False)):
        world = ControllerWorld(a_map(a_part(C)))
        world.controller.on_report(Report([a_row(Said.HANDOVER, A)]))
        world.context.now += limits.MAP_WRITE_INTERVAL_MS + waited
        for peer in (B, C):
            world.hear(peer)
        assert (world.act() is not None) == due


def test_the_barrier_opens_when_everybody_who_is_expected_answers() -> None:
    world = ControllerWorld(None)
    world.hear(B)
    world.hear(C)
    world.controller.on_members([a_member(A), a_member(B)])
    assert world.act() is None, "two of three are here"
    world.controller.on_members([a_member(A), a_member(B), a_member(C, expect=4)])
    assert world.act() is None, "they disagree"
    world.controller.on_members([a_member(node) for node in (A, B, C)])
    world.detector.peers[C].beat = None
    assert world.act() is None, "c does not answer"
    world.hear(C)
    world.controller.barrier = False
    assert world.act() is None, "somebody has formed the cluster already"
    world.controller.barrier = True
    write = world.act()
    assert write is not None
    assert (write.expected, write.next_map.version, write.next_map.cluster_id) == (0, 1, "1" * 32)


def test_a_directory_of_another_cluster_keeps_the_barrier_closed() -> None:
    world = ControllerWorld(None)
    world.hear(B)
    world.hear(C)
    world.controller.on_members([a_member(A), a_member(B), a_member(C, cluster_id="2" * 32)])
    assert world.act() is None
    assert "c belongs to a cluster already" in world.effects.alarms[0]


# --- changes of replicas ---------------------------------------------------------------------------------


def growing(
    part: Partition,
    states: Mapping[NodeId, NodeState] = MappingProxyType({C: NodeState.LEAVING}),
    settings: Mapping[str, int] = MappingProxyType({}),
) -> ControllerWorld:
    """a steers, c leaves, and d is there to come: all of them answer."""
    found = a_map(part, nodes=(A, B, C, D), states=states)
    world = ControllerWorld(replace(found, settings=dict(settings)))
    world.detector.set_peers([B, C, D])
    for peer in (B, C, D):
        world.hear(peer)
    return world


def test_a_handover_that_comes_within_the_interval_waits_for_its_end_only() -> None:
    """Requests are parked meanwhile. Once the controller slept until its next look, half a second later."""
    world = ControllerWorld(a_map(a_part(A)))
    world.hear(B)
    world.hear(C)
    world.controller.on_report(Report([a_row(Said.HANDOVER, B)]))
    assert world.act() is not None
    world.controller.on_written(done=True)
    world.controller.on_report(Report([a_row(Said.HANDOVER, B)]))
    waited = 0
    while world.tick() is None:
        world.context.now += limits.TICK_MS
        waited += limits.TICK_MS
    assert waited <= limits.HANDOVER_INTERVAL_MS


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
    ("order", "state"),
    [
        ((C, Verb.DECOMMISSION, 0), "leaving"),
        ((C, Verb.DRAIN, 0), "draining"),
        ((C, Verb.GIVE_UP, 0), None),
        ((C, "?", 0), None),
        (("?", Verb.DRAIN, 0), None),
    ],
    ids=str,
)
def test_an_operators_order_comes_from_any_node(order: Order, state: str | None) -> None:
    world = growing(a_part(A), states={})
    world.controller.on_report(Report([], [order]))
    write = world.act()
    assert (write is not None) == (state is not None)
    if write is not None:
        assert [str(node.state) for node in write.next_map.nodes] == ["active", "active", state, "active"]


def test_an_order_that_was_told_counts_for_a_while_only() -> None:
    world = growing(a_part(A), states={})
    world.controller.on_report(Report([], [(C, Verb.DRAIN, 0)]))
    world.context.now += limits.STATEMENT_MS + 1
    for peer in (B, C, D):
        world.hear(peer)
    assert world.act() is None


def test_a_later_order_takes_the_place_of_one_about_the_same() -> None:
    world = growing(a_part(A), states={})
    for order in ((C, Verb.DRAIN, 0), (C, Verb.WEIGHT, 3), (C, Verb.UNDRAIN, 0), (C, Verb.WEIGHT, 2)):
        world.controller.on_report(Report([], [order]))
    write = world.act()
    assert write is not None
    assert [node.weight for node in write.next_map.nodes] == [1, 1, 2, 1]
    assert NodeState.DRAINING not in [node.state for node in write.next_map.nodes]


def test_an_order_that_was_carried_out_does_not_undo_a_later_one() -> None:
    """Another controller carried the later one out while this node was frozen."""
    world = growing(a_part(A), states={})
    world.controller.on_report(Report([], [(C, Verb.DRAIN, 0)]))
    drained = world.act()
    assert drained is not None
    world.controller.on_written(done=True)
    for found in (drained.next_map, a_map(nodes=(A, B, C, D), version=9)):
        world.context.cluster_map = found
        world.controller.on_map()
    assert world.context.now < limits.STATEMENT_MS
    world.context.now += limits.MAP_WRITE_INTERVAL_MS
    for peer in (B, C, D):
        world.hear(peer, map_version=9)
    assert world.act() is None


def test_an_order_is_repeated_until_the_map_shows_it() -> None:
    world = growing(a_part(A), states={})
    order = (C, Verb.DECOMMISSION, 0)
    world.controller.order(order)
    assert world.controller.pending_orders() == world.controller.pending_orders() == [order]
    world.context.cluster_map = a_map(nodes=(A, B, C, D), version=8, states={C: NodeState.LEAVING})
    world.controller.on_map()
    world.context.cluster_map = a_map(nodes=(A, B, C, D), version=9)
    assert world.controller.pending_orders() == [], "what was done once is not done again"


def test_an_order_is_told_on_through_a_passing_objection() -> None:
    """It was taken, and whoever gave it was told so: only its end, or its time, ends it."""
    world = growing(a_part(A), states={})
    order = (C, Verb.GIVE_UP, 0)
    assert world.controller.objection(order)
    world.controller.order(order)
    assert world.controller.pending_orders() == [order]
    world.context.now += limits.ORDER_MS
    assert world.controller.pending_orders() == []
    unformed = ControllerWorld(None)
    assert unformed.controller.objection((C, Verb.DRAIN, 0)) == "the cluster is not formed yet"
    assert unformed.controller.pending_orders() == []


def test_an_order_that_is_not_obeyed_is_given_up_in_the_end() -> None:
    world = growing(a_part(A), states={})
    world.controller.order((C, Verb.DRAIN, 0))
    world.context.now += limits.MAX_TIMEOUT_MS
    assert world.controller.pending_orders() == []


# --- what nodes say of themselves, and silence ----------------------------------------------------------


def test_a_node_whose_disk_is_full_says_so_itself() -> None:
    world = growing(a_part(A, learner=D, replaces=C))
    world.hear(D, disk=DiskState.SHORT)
    write = world.act()
    assert write is not None
    assert write.next_map.partitions[0].learner is None


@pytest.mark.parametrize("grace_ms", [limits.GRACE_MS, 5_000])
def test_who_is_silent_for_the_grace_time_is_given_up_unless_it_is_registered(grace_ms: int) -> None:
    world = growing(a_part(A), states={}, settings={cluster_settings.GRACE_MS: grace_ms})
    world.refuse(D)
    assert world.act() is None, "the silence is counted from now on"
    for waited, lost in ((grace_ms - 1, False), (1, True)):
        world.context.now += waited
        for peer in (B, C):
            world.hear(peer, suspects=[D])
        world.controller.on_members([a_member(node) for node in (A, B, C, D)])
        assert world.act() is None, "its registration stands: it may only be cut off"
        world.controller.on_members([a_member(node) for node in (A, B, C)])
        write = world.act()
        assert (write is not None) == lost
    assert write is not None
    assert write.next_map.nodes[3].state == NodeState.DEAD


def test_silence_begins_anew_with_each_answer_and_with_each_controller() -> None:
    world = growing(a_part(A), states={})
    for _ in range(3):
        world.refuse(D)
        assert world.act() is None
        world.context.now += limits.GRACE_MS - 1
        for peer in (B, C):
            world.hear(peer, suspects=[D])
        assert world.act() is None
        world.detector.on_up(D)
        world.hear(D)
        assert world.act() is None


def test_nodes_that_became_heavier_still_count_for_the_majority() -> None:
    """c and d are filled up to a new weight; b leads and dies: three of four nodes answer."""
    joining = {C: NodeState.JOINING, D: NodeState.JOINING}
    world = growing(a_part(B, (B, A, C)), states=joining)
    world.refuse(B)
    for peer in (C, D):
        world.hear(peer, suspects=[B])
    write = world.act()
    assert write is not None
    assert write.next_map.partitions[0].primary == A


def test_a_partition_is_recovered_though_a_majority_of_all_nodes_is_gone() -> None:
    """Of three nodes two are lost for good: this is what `recover` is for."""
    world = ControllerWorld(a_map(a_part(C)))
    world.controller.on_members([a_member(A)])
    world.refuse(B)
    world.refuse(C)
    order, lost = ("0", Verb.RECOVER, 3), [(node, Verb.LOST, 0) for node in (B, C)]
    assert "--lost b --lost c" in world.controller.objection(order)
    assert "a has not reported yet its copy" in world.controller.objection(order, [B, C])
    world.controller.on_report(Report([], [*lost, order]))
    assert world.act() is None
    world.copies.on_copies(A, Copies([P], [(P, Epoch(3), Epoch(3), Index(10))]))
    assert world.controller.objection(order, [B, C]) == ""
    write = world.act()
    assert write is not None
    assert write.next_map.partitions[0].voters == (A,)
    assert [node.state for node in write.next_map.nodes[1:]] == [NodeState.DEAD, NodeState.DEAD]


def test_a_node_that_is_cut_off_recovers_nothing_that_it_only_does_not_hear() -> None:
    """The registrations of the others have expired, and they serve on the other side of a broken network."""
    world = ControllerWorld(a_map(a_part(C)))
    world.controller.on_members([a_member(A)])
    world.context.now += 2 * limits.SUSPECT_AFTER_MS
    world.copies.on_copies(A, Copies([P], [(P, Epoch(3), Epoch(3), Index(10))]))
    world.controller.on_report(Report([], [("0", Verb.RECOVER, 3)]))
    assert world.act() is None


# --- a calm cluster --------------------------------------------------------------------------------------


def test_while_nothing_changes_no_map_is_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ControllerWorld(a_map(a_part(A)))
    world.active = b"\x01"
    planned: list[None] = []

    def plan(*_: object) -> None:
        planned.append(None)

    monkeypatch.setattr(controller, "next_map", plan)

    def plans(after: int = limits.CONTROL_INTERVAL_MS) -> int:
        world.context.now += after
        for peer in (B, C):
            world.hear(peer, map_version=7, **beat)
        before = len(planned)
        world.act()
        return len(planned) - before

    beat: dict[str, object] = {}
    assert plans() == 1
    assert plans() == plans() == 0
    world.active = b""
    assert plans() == 1, "a partition is not served any more"
    assert plans() == 0
    beat["suspects"] = [C]
    assert plans() == plans() == 1, "somebody is missed: for how long, matters"
    beat.clear()
    assert plans() == 1
    assert plans() == 0
    world.controller.on_report(Report([a_row(Said.HANDOVER, B)]))
    assert plans() == 1
    world.context.now += limits.STATEMENT_MS
    assert plans() == plans() == 1, "the statement is too old now, and then it is gone"
    assert plans() == 0
    world.controller.on_members([a_member(node) for node in (A, B, C, D)])
    assert plans() == 1
    assert plans() == 0
    assert plans(limits.PLAN_AGAIN_MS) == 1, "now and then it is done anyway"
