"""How a primary hands over, or stays primary."""

import pytest
from tests.support.core.parts import A, B, C, ControllerWorld, D, Notes, a_map, a_part, a_row, bound

from ringkeep.core.disk_state import NOTHING_ASKED, DiskState, Questions
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind, encode
from ringkeep.core.protocol.messages import Said
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, NodeId, PartitionId
from ringkeep.core.replication.handover import Handover, StatementRow
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.replica import Replica


class Leader(ControllerWorld):
    """Node a leads, though b is preferred, and b has answered long enough."""

    def __init__(self, voters: tuple[NodeId, ...] = (B, A, C), old_voters: tuple[NodeId, ...] = ()) -> None:
        super().__init__(a_map(a_part(A, voters, old_voters=old_voters)))
        context = self.context
        replica = Replica(context, PartitionId(0))
        assert context.cluster_map is not None
        self.primary = replica.primary = Primary(context, Notes(), replica, context.cluster_map.partitions[0])
        replica.promise(Epoch(3), A, Incarnation(1))
        self.primary.phase = Phase.ACTIVE
        self.primary.progress.match = {B: Index(0), C: Index(0)}
        self.handover = Handover(context, self.detector)
        self.may_change = True
        self.say()
        context.now += limits.GIVE_BACK_AFTER_MS

    def say(self, **beat: object) -> list[StatementRow]:
        for peer in (B, C):
            if not self.detector.peers[peer].refused:
                self.hear(peer, **beat)
        return self.handover.on_tick([self.primary], self.may_change)


HANDED_TO_B = [a_row(Said.HANDOVER, B)]


def test_a_primary_goes_on_until_the_map_says_who_leads() -> None:
    world = Leader()
    assert world.say() == HANDED_TO_B
    assert world.say() == HANDED_TO_B, "said again: the controller may be the one that stops"
    assert world.primary.may_execute


def test_a_handover_is_asked_for_while_the_successor_lacks_little() -> None:
    """What it lacks is fetched while nobody serves the partition: one message must be enough."""
    world = Leader()
    bound(world.context, append_entries=2)
    log = world.primary.replica.log
    for index in range(1, 4):
        log.append(Epoch(3), encode(Entry(EntryKind.NOOP, Epoch(3), Index(index), 0, NO_ORIGIN, 0, 0)))
    assert world.say() == [], "b lacks three entries"
    world.primary.progress.match[B] = Index(1)
    assert world.say() == HANDED_TO_B


def test_nothing_is_asked_for_while_the_map_cannot_be_changed() -> None:
    world = Leader()
    world.may_change = False
    assert world.say() == []
    world.may_change = True
    assert world.say() == HANDED_TO_B


def test_so_many_are_handed_over_at_once_but_by_a_node_that_stops() -> None:
    world = Leader()
    world.say()
    primaries = [world.primary] * (limits.HANDOVERS_AT_ONCE + 2)
    assert len(world.handover.on_tick(primaries, True)) == limits.HANDOVERS_AT_ONCE
    world.context.draining = True
    assert len(world.handover.on_tick(primaries, True)) == len(primaries)


def test_the_preferred_primary_stays() -> None:
    world = Leader((A, B, C))
    assert world.say() == []
    assert world.primary.may_execute


def test_nothing_is_handed_to_who_has_not_said_where_it_stands() -> None:
    world = Leader()
    del world.primary.progress.match[B]
    assert world.say() == []


def test_while_joint_nothing_is_handed_to_a_newcomer() -> None:
    world = Leader((B, A, C), old_voters=(A, C, D))
    assert world.say() == [], "though b is preferred"


@pytest.mark.parametrize("unfit", [{"draining": True}, {"damaged": True}, {"ready": False}])
def test_nothing_is_handed_to_a_node_that_is_not_fit(unfit: dict[str, bool]) -> None:
    world = Leader()
    assert world.say(**unfit) == []


def test_a_draining_node_gives_to_anybody_who_is_caught_up() -> None:
    world = Leader((A, B, C))
    world.context.draining = True
    assert world.say() == HANDED_TO_B


def test_without_a_majority_a_primary_pauses_and_goes_on_when_one_answers() -> None:
    world = Leader((A, B, C))
    world.refuse(B)
    world.say()
    assert world.primary.may_execute
    world.refuse(C)
    world.say()
    assert not world.primary.may_execute
    assert world.context.counters["primary_paused"] == 1
    world.detector.on_up(B)
    world.say()
    assert world.primary.may_execute


def test_a_primary_that_does_not_become_active_asks_for_another() -> None:
    world = Leader((A, B, C))
    world.primary.phase = Phase.PREPARING
    assert world.say() == []
    world.context.now += limits.TAKE_OFFICE_MS
    assert world.say() == [a_row(Said.FAILED)]
    assert world.say() == [], "and waits again before it repeats that"


# --- a disk that is no good ------------------------------------------------------------------------------


def test_a_node_without_room_hands_over_to_one_that_has_some() -> None:
    world = Leader(voters=(A, B, C))
    assert world.say() == [], "it is the preferred one"
    world.context.disks.own.note(0, stalled=False, free=1, reserve=2, asked=NOTHING_ASKED)
    assert world.say(disk=DiskState.SHORT) == [], "nobody has more"
    assert world.primary.may_execute
    world.hear(C)
    assert world.handover.on_tick([world.primary], True) == [a_row(Said.HANDOVER, C)]


def test_a_primary_whose_disk_does_not_answer_gives_up() -> None:
    world = Leader(voters=(A, B, C))
    world.say()
    for _ in range(limits.DISK_ANSWERS_MS // limits.TICK_MS + 2):
        world.context.now += limits.TICK_MS
        asked = Questions(sync=1, write=-1, look=-1)
        world.context.disks.own.note(world.context.now, stalled=False, free=2, reserve=1, asked=asked)
    assert not world.primary.may_execute
    assert world.say() == [], "it may answer again in a moment"
    world.context.now += limits.RESEND_MS
    assert world.say() == [a_row(Said.FAILED)]
    world.context.disks.own.note(world.context.now, stalled=False, free=2, reserve=1, asked=NOTHING_ASKED)
    assert world.say() == [] and world.primary.may_execute, "nobody took it, and it answers again"


def test_a_disk_without_room_is_not_handed_to() -> None:
    world = Leader()
    assert world.say(disk=DiskState.SHORT) == []


def test_a_new_primary_has_time_while_a_snapshot_moves_on() -> None:
    """Another one would discard what has arrived, and begin anew: with much data nobody would ever lead."""
    world = Leader()
    world.primary.phase = Phase.STARTING
    for _ in range(3):
        world.primary.on_transfer()
        world.context.now += limits.TAKE_OFFICE_MS - 1
        assert world.say() == []
    world.context.now += limits.TAKE_OFFICE_MS
    assert world.say() == [a_row(Said.FAILED)]
