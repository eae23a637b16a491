"""Who is there by the word of others: what is passed on, to whom, and for how long it counts."""

import pytest
from tests.support.core.parts import (
    A,
    B,
    C,
    ControllerWorld,
    D,
    E,
    Host,
    a_beat,
    a_context,
    a_map,
    a_member,
    a_part,
    a_row,
)

from ringkeep.core.context import Context
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.messages import Heartbeat, Message, Relayed, Release, Report, Said, Surplus
from ringkeep.core.protocol.types import Epoch, Incarnation, MapVersion, NodeId, PartitionId


class Party:
    """Nodes that beat and relay, over links that a test cuts; each delivers at once."""

    def __init__(self, *nodes: NodeId) -> None:
        self.nodes = nodes
        self.contexts: dict[NodeId, Context] = {node: a_context(node) for node in nodes}
        self.detectors = {node: Detector(context) for node, context in self.contexts.items()}
        self.relays = {node: Relay(self.contexts[node], self.detectors[node]) for node in nodes}
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.dead: set[NodeId] = set()
        self.steers = dict.fromkeys(nodes, True)
        self.sent: list[tuple[NodeId, NodeId, Message]] = []
        for node in nodes:
            self.detectors[node].set_peers([other for other in nodes if other != node])
            self.contexts[node].links = {other: Incarnation(1) for other in nodes if other != node}

    def lose(self, one: NodeId, other: NodeId) -> None:
        self.cut |= {(one, other), (other, one)}

    def die(self, node: NodeId) -> None:
        """Its process ends: who is asked to connect to it is refused."""
        self.dead.add(node)
        for other in self.nodes:
            if other != node and (other, node) not in self.cut:
                self.detectors[other].on_down(node, True)

    def beat(self, times: int = 1) -> None:
        """Let everybody say what is due, so many heartbeats long."""
        for _ in range(times * limits.HEARTBEAT_MS // limits.TICK_MS):
            for context in self.contexts.values():
                context.now += limits.TICK_MS
            for node in self.nodes:
                if node not in self.dead:
                    self._speak(node)

    def _speak(self, node: NodeId) -> None:
        if self.detectors[node].on_tick(7, 0, b"", True, [], [], self.steers[node]):  # type: ignore[arg-type]  # a version
            self.relays[node].pass_on()
        effects, _ = self.contexts[node].end()
        for peer, _, messages in effects.frames():
            for message in messages if (node, peer) not in self.cut and peer not in self.dead else ():
                self.sent.append((node, peer, message))
                self.detectors[peer].hear(node, self.contexts[peer].now)
                if type(message) is Heartbeat:
                    self.detectors[peer].on_heartbeat(node, message)
                elif type(message) is Relayed:
                    self.relays[peer].on_relayed(node, message)

    def relayed(self) -> set[tuple[NodeId, NodeId, NodeId]]:
        """Who told whom of whom, since this was asked last."""
        sent, self.sent = self.sent, []
        return {(by, to, m.node) for by, to, m in sent if isinstance(m, Relayed)}


UNTIL_SUSPECTED = limits.SUSPECT_AFTER_MS // limits.HEARTBEAT_MS + 2


def test_nothing_is_relayed_while_every_link_works_nor_of_the_dead() -> None:
    party = Party(A, B, C, D)
    party.beat(3)
    party.die(D)
    party.beat(UNTIL_SUSPECTED)
    assert party.relayed() == set()
    assert all(party.relays[node].silent(D) for node in (A, B, C))


def test_two_nodes_that_lose_each_other_hear_through_others_whom_the_other_suspects() -> None:
    party = Party(A, B, C, D)
    party.lose(A, B)
    party.beat(UNTIL_SUSPECTED)
    party.die(D)
    party.beat(2)
    assert party.relays[A].suspected_by(B) == [A, D]
    assert party.relays[B].suspected_by(A) == [B, D]
    assert party.relays[A].way_to(B) == party.relays[B].way_to(A) == party.relays[A].way_to(C) == C
    assert not party.relays[A].silent(B)
    assert party.detectors[A].suspects(B), "of its own link it says what is so"


def test_a_one_way_cut_is_gone_around_in_both_directions() -> None:
    party = Party(A, B, C)
    party.cut.add((A, B))
    party.beat(2 * UNTIL_SUSPECTED)
    assert party.relays[A].suspected_by(B) == [A]
    assert party.relays[B].suspected_by(A) == [B]


def test_words_come_over_several_nodes() -> None:
    party = Party(A, B, C, D)
    for one, other in ((A, C), (A, D), (B, D)):
        party.lose(one, other)
    party.beat(2 * UNTIL_SUSPECTED)
    assert party.relays[A].suspected_by(D) == [A, B]
    assert party.relays[A].way_to(D) == B
    assert party.relays[D].way_to(A) == C


def test_of_many_that_hear_both_a_few_pass_on() -> None:
    many = [NodeId(f"{number:032x}") for number in range(1, 21)]
    party = Party(*many)
    party.lose(many[-1], many[-2])
    party.beat(UNTIL_SUSPECTED)
    party.relayed()
    party.beat()
    assert {by for by, _, _ in party.relayed()} == {A, B}


@pytest.mark.parametrize("refused", [True, False])
def test_the_word_of_a_dead_node_ends_with_those_who_heard_it(refused: bool) -> None:
    """Refused connections are seen at once by those who have the link: nobody waits for its word to age."""
    party = Party(A, B, C, D)
    party.lose(A, B)
    party.beat(UNTIL_SUSPECTED)
    assert not party.relays[A].silent(B)
    if refused:
        party.die(B)
        party.beat(1)
    else:
        party.dead.add(B)
        party.beat(UNTIL_SUSPECTED)
    assert party.relays[A].silent(B)
    assert party.relays[A].suspected_by(B) is None
    assert party.relays[A].beat_of(B) is None
    assert party.relays[A].way_to(B) is None


def relayed(node: NodeId, age_ms: int = 0, **beat: object) -> Relayed:
    found = a_beat(**beat)
    message = Relayed(
        found.map_version, found.map_digest, found.link, found.probe, found.echo, found.suspects
    )
    message.node, message.age_ms, message.steers = node, age_ms, found.steers
    return message


def cut_off_from_c() -> ControllerWorld:
    """a, first in line, does not hear c, the primary; b does."""
    world = ControllerWorld(a_map(a_part(C)))
    world.hear(B)
    world.detector.peers[C].heard = -limits.SUSPECT_AFTER_MS - 1
    return world


def test_a_relayed_word_counts_as_long_as_a_direct_one_however_long_it_was_under_way() -> None:
    world = cut_off_from_c()
    relay = world.relay
    assert relay.on_relayed(B, relayed(C, age_ms=limits.SUSPECT_AFTER_MS - 10, probe=5))
    assert not relay.silent(C)
    world.tick()
    world.context.now += 11
    assert relay.silent(C)


def test_an_older_word_takes_no_newer_ones_place_nor_does_an_earlier_lifes() -> None:
    world = cut_off_from_c()
    second_life, first_life = 2 << 32, 1 << 32
    world.relay.on_relayed(B, relayed(C, probe=second_life, suspects=[A]))
    for late in (second_life, first_life + 1_000):
        assert not world.relay.on_relayed(B, relayed(C, probe=late, suspects=[A, B]))
    assert world.relay.suspected_by(C) == [A]


def test_who_is_heard_again_is_known_by_its_newest_word_whichever_way_that_came() -> None:
    """A link that stands again is a sign of life; the last heartbeat that came over it may be old."""
    world = ControllerWorld(a_map(a_part(C)))
    world.hear(B)
    world.hear(C, probe=4)
    world.detector.peers[C].heard = -limits.SUSPECT_AFTER_MS - 1
    assert world.relay.on_relayed(B, relayed(C, probe=5, suspects=[A]))
    assert world.relay.suspected_by(C) == [A]
    world.detector.on_up(C)
    assert not world.detector.suspects(C)
    assert world.relay.suspected_by(C) == [A], "and not what it said before"
    world.hear(C, probe=6, suspects=[B])
    assert world.relay.suspected_by(C) == [B]


def test_nobody_is_heard_through_a_node_that_is_not_heard_or_says_that_it_hears_nothing() -> None:
    world = cut_off_from_c()
    assert not world.relay.on_relayed(C, relayed(B, probe=5)), "c does not hear us"
    world.relay.on_relayed(B, relayed(C, probe=5, suspects=[A, B]))
    assert world.relay.silent(C), "c suspects b"
    world.relay.on_relayed(B, relayed(C, probe=6, suspects=[A]))
    assert not world.relay.silent(C)
    world.hear(B, suspects=[C])
    world.tick()
    assert world.relay.silent(C), "b suspects c"


def test_what_is_overheard_of_others_says_nothing_of_the_link_it_came_on() -> None:
    """While a node can take no turn, it notes the signs of life in what waits: those of the peer alone."""
    host = Host(A)
    host.take(a_map(nodes=(A, B, C)))
    host.tick()
    before = host.node.detector.peers[B].probe
    host.node.overhear(B, [relayed(C, probe=before + 1_000)], host.node.context.now)
    assert host.node.detector.peers[B].probe == before


# --- what the controller makes of it -----------------------------------------------------------------------


def four() -> ControllerWorld:
    """a, first in line, and b have lost each other; d leads, and dies; c hears a and b."""
    found = a_map(a_part(D, (D, A, B)), a_part(D, (D, B, C)), nodes=(A, B, C, D))
    world = ControllerWorld(found)
    world.detector.set_peers([B, C, D])
    world.refuse(D)
    world.hear(C, suspects=[D])
    world.detector.peers[B].heard = -limits.SUSPECT_AFTER_MS - 1
    return world


def test_a_controller_acts_upon_suspicions_that_it_is_told_through_others() -> None:
    world = four()
    assert world.act() is None, "of the voters of the second partition it hears one"
    world.relay.on_relayed(C, relayed(B, probe=5, suspects=[A, D]))
    write = world.act()
    assert write is not None
    first, second = write.next_map.partitions
    assert first.primary == D, "a and b do not reach each other"
    assert second.primary == B


def test_a_majority_that_is_heard_through_others_is_enough() -> None:
    """Five nodes in a row: a hears b alone, and all the others through it."""
    world = ControllerWorld(a_map(a_part(C, (C, D, E)), nodes=(A, B, C, D, E)))
    world.controller.on_members([a_member(node) for node in (A, B, C, D, E)])
    world.detector.set_peers([B, C, D, E])
    world.context.now += limits.SUSPECT_AFTER_MS + 1
    world.hear(B, suspects=[C])
    assert world.act() is None
    for node in (D, E):
        world.relay.on_relayed(B, relayed(node, probe=5, suspects=[A, C]))
    write = world.act()
    assert write is not None
    assert write.next_map.partitions[0].primary == D


@pytest.mark.parametrize("ahead", [{"map_version": 8}, {"map_digest": 9}])
def test_a_map_that_somebody_behind_a_cut_holds_counts(ahead: dict[str, int]) -> None:
    world = four()
    world.relay.on_relayed(C, relayed(B, probe=5, suspects=[A, D], **ahead))
    assert world.act() is None


def test_who_says_that_zookeeper_does_not_answer_is_passed_over() -> None:
    world = ControllerWorld(a_map(a_part(C)))
    world.controller.on_members([a_member(B, sequence=0), a_member(A, sequence=1), a_member(C, sequence=2)])
    world.refuse(C)
    world.hear(B, suspects=[C])
    assert world.controller.acting() == B
    assert world.act() is None
    world.hear(B, suspects=[C], steers=False)
    assert world.controller.acting() == A
    assert world.act() is not None
    world.controller.connected = False
    assert world.controller.acting() is None, "nobody can act, and nobody is told that he should"


def test_without_zookeeper_reports_go_to_anybody_who_reaches_it() -> None:
    """The members' line is that of long ago, when only this node was there."""
    world = ControllerWorld(a_map(a_part(C)))
    world.controller.on_members([a_member(A)])
    world.controller.connected = False
    world.hear(B, steers=False)
    assert world.controller.addressee() is None
    world.hear(C)
    assert world.controller.addressee() == C
    world.controller.connected = True
    assert world.controller.addressee() == A


def test_a_report_for_another_is_passed_on_and_not_for_ever() -> None:
    host = Host(A)
    host.node.on_members([a_member(B, sequence=0), a_member(A, sequence=1)])
    host.take(a_map(nodes=(A, B, C)))
    host.tick()
    said = Report([a_row(Said.FAILED)])
    assert host.hear(C, said) == [(B, Report(said.statements, [], 1))]
    assert host.hear(C, Report(said.statements, [], limits.REPORT_HOPS)) == []


def failover() -> ControllerWorld:
    world = ControllerWorld(a_map(a_part(C)))
    world.hear(B, suspects=[C])
    world.refuse(C)
    assert world.act() is not None
    return world


def test_a_write_without_an_answer_lets_the_next_in_line_act() -> None:
    world = failover()
    world.context.now += limits.MAP_ANSWER_MS
    assert world.controller.acting() == A
    world.context.now += 1
    assert world.controller.acting() == B
    world.controller.on_written(done=True)
    assert world.controller.acting() == A


def test_so_does_one_that_did_not_succeed_unless_a_map_is_read_soon() -> None:
    """A write that lost against another is followed by that one's map; nothing follows without ZooKeeper."""
    world = failover()
    for _ in range(3):  # trying again gives ZooKeeper no more time
        world.controller.on_written(done=False)
        world.context.now += limits.MAP_READ_MS // 2
        world.hear(B, suspects=[C])
        world.act()
    assert not world.controller.steers
    world.controller.on_written(done=False)
    world.controller.on_map_read()
    assert world.controller.steers


def test_a_map_that_cannot_be_written_is_no_fault_of_zookeepers() -> None:
    world = failover()
    world.controller.on_not_written()
    world.context.now += limits.MAP_ANSWER_MS + 1
    assert world.controller.steers


def test_a_late_report_of_an_earlier_epoch_counts_against_nobody() -> None:
    world = ControllerWorld(a_map(a_part(A, epoch=4)))
    world.controller.on_report(Report([a_row(Said.FAILED)]))
    assert world.controller._tried == {}
    world.context.cluster_map = a_map(a_part(A))
    world.controller.on_report(Report([a_row(Said.FAILED)]))
    assert world.controller._tried == {(0, A): 0}


# --- moves across a cut ------------------------------------------------------------------------------------


def cut_from_its_learner() -> ControllerWorld:
    """b leads, and d is its learner; b says that it does not hear d, which answers here."""
    world = ControllerWorld(a_map(a_part(B, (B, A, C), learner=D, replaces=C), nodes=(A, B, C, D)))
    world.detector.set_peers([B, C, D])
    say_so(world)
    return world


def say_so(world: ControllerWorld) -> None:
    world.hear(B, suspects=[D], active=b"\x01")
    world.hear(C)
    world.hear(D, suspects=[B])


def test_a_newcomer_that_its_primary_does_not_hear_is_filled_by_another_after_a_while() -> None:
    world = cut_from_its_learner()
    assert world.act() is None, "it may be a short cut"
    world.context.now += limits.ABSENT_MS
    say_so(world)
    write = world.act()
    assert write is not None
    part = write.next_map.partitions[0]
    assert (part.primary, part.epoch, part.learner) == (A, 4, D)


def test_what_asks_for_a_release_goes_around_a_cut_and_so_does_the_answer() -> None:
    host = Host(A)
    host.take(a_map(a_part(C), nodes=(A, B, C)))
    asked = Surplus(PartitionId(0), MapVersion(1), B)
    assert host.hear(B, asked) == [(C, Surplus(PartitionId(0), MapVersion(1), B, 1))]
    answer = Release(PartitionId(0), Epoch(3), MapVersion(1), B, 1)
    assert host.hear(C, answer) == [(B, Release(PartitionId(0), Epoch(3), MapVersion(1), B, 2))]
    assert host.hear(B, Surplus(PartitionId(0), MapVersion(1), B, limits.REPORT_HOPS)) == []
