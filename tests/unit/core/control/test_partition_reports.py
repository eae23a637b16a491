"""What primaries say of their copies, and how long the last word counts."""

import pytest
from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C, ControllerWorld, D, E, a_beat, a_map, a_part

from ringkeep.core.control.partition_reports import PartitionReports, Reach, Since
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.types import NodeId

BEAT = limits.HEARTBEAT_MS


# --- what a primary says ---------------------------------------------------------------------------------


def said(group: Group) -> tuple[list[bytes], dict[NodeId, int]]:
    reports = group.hosts[A].node.reports
    return reports.copies, dict(reports.behind)


def later(group: Group, beats: int = 4) -> None:
    for _ in range(beats):
        group.tick(BEAT)


def test_copies_are_in_sync_as_soon_as_their_primary_knows() -> None:
    group = Group(A, B, C)
    later(group, 2)
    assert said(group) == ([b"\x01"], {})
    for _ in range(10):
        group.ask(a_put(b"k"))
        assert said(group) == ([b"\x01"], {}), "traffic alone makes nobody lag"


def test_who_is_cut_off_lags_at_once() -> None:
    group = Group(A, B, C)
    later(group)
    leader = group.hosts[A].node
    del group.hosts[C]
    leader.on_peer_down(C, True)
    later(group, 1)
    assert said(group) == ([b"\x01", b"\x01"], {C: 1})


def test_who_takes_writes_but_syncs_none_lags_after_a_moment() -> None:
    group = Group(A, B, C)
    later(group)
    del group.hosts[C]  # its link stands, and it acknowledges nothing
    group.ask(a_put(b"k"))
    assert said(group) == ([b"\x01"], {}), "what is on its way just now is no lag"
    later(group, 1)
    assert said(group) == ([b"\x01"], {})
    later(group, 5)
    assert said(group) == ([b"\x01", b"\x01"], {C: 1})


def test_a_new_primary_says_nothing_before_it_knows_where_everybody_stands() -> None:
    group = Group(A, B, C)
    later(group)
    del group.hosts[C]
    group.version += 1
    group.take(a_map(a_part(A, (A, B, C), epoch=4), version=group.version))
    group.tick(BEAT)
    assert said(group) == ([], {}), "c has not told yet"
    later(group, 3)
    assert said(group) == ([b"\x01", b"\x01"], {C: 1})


def test_while_joint_the_set_that_lacks_most_counts() -> None:
    group = Group(A, B, C)
    group.join(D)
    later(group)
    assert said(group) == ([b"\x01"], {}), "a learner counts for nothing"
    group.version += 1
    joint = a_part(A, (A, B, D), old_voters=(A, B, C), config=group.version)
    group.take(a_map(joint, nodes=(A, B, C, D), version=group.version))
    later(group)
    assert said(group) == ([b"\x01"], {})
    group.hosts[A].node.on_peer_down(C, True)
    group.hosts[A].node.on_peer_down(D, True)
    later(group, 1)
    assert said(group) == ([b"\x01", b"\x01"], {C: 1, D: 1}), "one of the old, one of the new"


# --- what is heard of all --------------------------------------------------------------------------------


class Ears:
    """Node a, which leads partition 0; b leads 1, c leads 2, and so on."""

    def __init__(self, *nodes: NodeId) -> None:
        nodes = nodes or (A, B, C)
        parts = [a_part(node, (node, *[n for n in nodes if n != node][:2])) for node in nodes]
        self.world = ControllerWorld(a_map(*parts, nodes=nodes))
        self.world.detector.set_peers(list(nodes[1:]))
        self.reports = PartitionReports(self.world.context, self.world.detector, self.world.relay)

    def hear(self, peer: NodeId, active: int, *copies: int) -> None:
        beat = a_beat(active=bytes([active]), copies=[bytes([bits]) for bits in copies])
        health = self.world.detector.peers[peer]
        health.heard = health.echoed = self.world.context.now
        health.beat = beat

    def known(self) -> tuple[int, int, int]:
        return self.reports.idle, self.reports.counted, self.reports.missing(1)

    def tick(self, after: int = BEAT) -> None:
        self.world.context.now += after
        self.reports.on_tick([])


def test_only_the_primary_of_the_map_is_believed() -> None:
    ears = Ears()
    ears.hear(B, 0b111, 0b111)
    ears.tick()
    assert (ears.reports.serving, ears.reports.counted) == (0b010, 0b010)


def test_nobody_was_ever_heard_of() -> None:
    ears = Ears()
    ears.tick()
    assert (ears.reports.idle, ears.reports.counted) == (0b111, 0)


def test_the_last_word_counts_while_a_primaryship_changes_hands_and_no_longer() -> None:
    ears = Ears()
    ears.hear(B, 0b010, 0b010, 0b010)
    ears.tick()
    ears.hear(B, 0)
    for _ in range(limits.LAPSE_MS // BEAT):
        ears.tick()
        ears.hear(B, 0)
        assert not ears.reports.idle & 0b010 and ears.reports.counted == 0b010
        assert ears.reports.missing(1) == 1 and ears.reports.stale == 0b010
    ears.tick()
    ears.tick()
    assert ears.known() == (0b111, 0, 0)
    ears.hear(B, 0b010, 0b010)
    ears.tick()
    assert ears.known() == (0b101, 0b010, 0)


def test_a_silent_node_serves_nothing() -> None:
    ears = Ears()
    ears.hear(B, 0b010, 0b010)
    ears.tick()
    ears.tick(limits.SUSPECT_AFTER_MS + 1)
    assert ears.reports.serving == 0


def test_since_when() -> None:
    since = Since()
    since.update(0b101, 10)
    since.update(0b110, 20)
    assert since.for_long(20 + limits.LAPSE_MS) == 0b100
    assert since.for_long(21 + limits.LAPSE_MS) == 0b110


# --- whether requests should come here -------------------------------------------------------------------


def test_the_first_time_counts_at_once_and_every_change_after_it_must_last() -> None:
    reach = Reach()
    reach.look(False, 0)
    reach.look(True, 20)
    assert reach.good
    for now in range(100, 100 + 3 * limits.CUT_OFF_HOLD_MS, 100):
        reach.look(now % 1_000 == 0, now)  # a flapping path changes nothing
        assert reach.good
    now = 10_000
    reach.look(True, now)
    while reach.good:
        now += 100
        reach.look(False, now)
    assert now == 10_000 + limits.CUT_OFF_HOLD_MS
    began = now
    while not reach.good:
        now += 100
        reach.look(True, now)
    assert now == began + limits.CUT_OFF_HOLD_MS


@pytest.mark.parametrize(
    ("served", "silent", "good"),
    [
        ((B, C, D, E), (), True),
        ((B,), (), True),  # little is served, and nobody hears more nodes: another would do no better
        ((B, C, D), (E,), True),
        ((B,), (C, D, E), False),
        ((B, C), (C, D, E), False),
        ((), (), False),
        ((), (B, C, D, E), False),
    ],
)
def test_a_node_that_serves_little_and_hears_few_should_get_no_requests(
    served: tuple[NodeId, ...], silent: tuple[NodeId, ...], good: bool
) -> None:
    ears = Ears(A, B, C, D, E)
    for number, node in enumerate((A, B, C, D, E)):
        if node in silent:
            ears.world.refuse(node)
        elif node != A:
            ears.hear(node, (1 << number) * (node in served))
    ears.tick()
    assert ears.reports.reach.good is good
