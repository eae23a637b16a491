"""The replicas of one node as the map gives and takes them: learning, giving up, coming back, and damage."""

import pytest
from tests.support.core.parts import (
    A,
    B,
    C,
    D,
    E,
    Host,
    P,
    a_map,
    a_part,
    a_promise,
    an_ack,
    map_of,
    some_entries,
    to,
)

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.effects import Family
from ringkeep.core.protocol.entry import Entry, EntryKind, encode
from ringkeep.core.protocol.hot_messages import Acks, Append, Confirm, Confirmed
from ringkeep.core.protocol.messages import (
    Fetch,
    Message,
    Prepare,
    Refuse,
    Release,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotPull,
    Surplus,
)
from ringkeep.core.protocol.record import tail_of
from ringkeep.core.protocol.rows import decode_promised, promised_key
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, MapVersion, origin_of
from ringkeep.core.replication.primary import Phase
from ringkeep.core.state.snapshot_flow import running_checksum

WITHOUT_C = a_part(A, (A, B, D))
C_LEARNS = a_part(A, (A, B, D), learner=C)


def append(last: int, epoch: int = 3, commit: int = 0, after: int = 0) -> Append:
    sent = some_entries(epoch, after + 1, last)
    before = Epoch(epoch if after else 0)
    return Append(P, Epoch(epoch), before, Index(after), Index(commit), sent)


def release(config: int = 8, epoch: int = 3) -> Release:
    return Release(P, Epoch(epoch), MapVersion(config))


def promised_at(host: Host) -> tuple[int, str]:
    """Whom the store says that it follows."""
    row = host.engine.get(Family.META, promised_key(P))
    assert row is not None
    return decode_promised(row)[:2]


ALL_ROWS = 5
"""Of `holder`: the applied index, the replica's row, two entries, one record."""


def rows_of(host: Host) -> int:
    """How many rows of the partition the store has, the promise left out."""
    ranges = [(Family.META, b"A", b"B"), (Family.META, b"R", b"S")]
    ranges += [(Family.LOG, b"", b"\xff"), (Family.DATA, b"", b"\xff")]
    return sum(len(host.engine.scan(*each, 99)) for each in ranges)


# --- learning --------------------------------------------------------------------------------------------


def test_a_learner_promises_the_maps_epoch_before_it_is_asked() -> None:
    host = Host(C)
    host.take(map_of(C_LEARNS, 8))
    assert promised_at(host) == (3, A)
    assert host.hear(D, Prepare(P, Epoch(2))) == [(D, Refuse(P, Epoch(2), Epoch(3)))]
    assert host.hear(D, append(1, epoch=2)) == [(D, Refuse(P, Epoch(2), Epoch(3)))]


def test_a_learners_first_word_waits_until_its_promise_is_durable() -> None:
    host = Host(C)
    host.take(map_of(C_LEARNS, 8))
    assert host.hear(A, Prepare(P, Epoch(3))) == []
    assert host.hear(A, append(2)) == []
    assert host.engine.unsynced > 0
    said = host.sync()
    assert [message for _, message in said] == [a_promise(), Acks([P, 3, 2])]


def test_a_learner_keeps_a_higher_promise() -> None:
    host = former_holder()
    host.hear(B, Prepare(P, Epoch(5)))
    host.take(map_of(C_LEARNS, 9))
    assert (promised_at(host), host.replica.promised.epoch) == ((5, B), 5)


def test_who_learns_is_as_ready_as_before() -> None:
    host = Host(C)
    host.take(map_of(C_LEARNS, 8))
    assert host.node.ready
    host.take(map_of(a_part(A, (A, B, C), old_voters=(A, B, D)), 9))
    assert not host.node.ready, "it votes, and has not caught up"
    host.hear(A, append(2, commit=2))
    assert host.node.ready


# --- giving up -------------------------------------------------------------------------------------------


def holder() -> Host:
    """Node c, a voter with a log of two entries, one of them applied: a record."""
    host = Host(C)
    host.take(map_of(a_part(A), 7))
    origin = origin_of(B, Incarnation(1))
    put = Entry(
        EntryKind.PUT, Epoch(3), Index(1), 0, origin, 1, 1, b"k", int(Status.CREATED), tail=tail_of(b"", b"v")
    )
    log = [encode(put), *some_entries(3, 2, 2)]
    host.hear(A, Append(P, Epoch(3), Epoch(0), Index(0), Index(1), log))
    host.turn(host.replica.apply)
    host.sync()
    assert (host.replica.applied, host.replica.log.last_index) == (1, 2)
    return host


def former_holder() -> Host:
    """Node c, after d has taken its place."""
    host = holder()
    host.take(map_of(WITHOUT_C, 8))
    host.sync()
    return host


def test_who_holds_a_replica_of_others_asks_whether_it_may_delete_it() -> None:
    host = holder()
    assert host.tick(limits.SURPLUS_MS) == [], "it is its own"
    host.take(map_of(WITHOUT_C, 8))
    asked = [(A, Surplus(P, MapVersion(8)))]
    assert host.tick(limits.SURPLUS_MS) == asked
    assert host.tick(limits.SURPLUS_MS - 100) == []
    assert host.tick(100) == asked, "until it is told"
    assert rows_of(host) == ALL_ROWS
    host.hear(A, release())
    assert host.tick(limits.SURPLUS_MS) == []


def test_until_it_is_released_it_goes_on_answering() -> None:
    host = former_holder()
    assert host.hear(A, Confirm(1, [P, 3])) == [(A, Confirmed(1, [P, 3]))]
    host.hear(B, Prepare(P, Epoch(4)))
    assert host.sync() == [(B, a_promise(2, epoch=4, commit=1))], "it may be the one that knows"


def test_everything_but_the_promise_is_deleted() -> None:
    host = former_holder()
    host.hear(A, release())
    assert P not in host.node.replicas
    assert rows_of(host) == 0
    assert promised_at(host) == (3, A)


@pytest.mark.parametrize("wrong", [release(config=7), release(config=9), release(epoch=2)], ids=str)
def test_a_release_under_another_config_or_a_lower_epoch_deletes_nothing(wrong: Release) -> None:
    host = former_holder()
    host.hear(A, wrong)
    assert rows_of(host) == ALL_ROWS


def test_a_release_by_who_was_deposed_meanwhile_deletes_nothing() -> None:
    host = former_holder()
    host.hear(B, Prepare(P, Epoch(4)))
    host.hear(A, release())
    assert P in host.node.replicas
    host.hear(B, release(epoch=4))
    assert P not in host.node.replicas


def test_a_release_deletes_nothing_that_the_map_has_given_back() -> None:
    host = former_holder()
    host.take(map_of(C_LEARNS, 9))
    host.hear(A, release())
    host.hear(A, release(config=9))
    assert rows_of(host) == ALL_ROWS


def test_a_release_before_the_map_that_it_is_of_deletes_nothing() -> None:
    host = holder()
    host.hear(A, release())
    assert rows_of(host) == ALL_ROWS


def test_the_promise_outlives_the_deletion_and_a_restart() -> None:
    host = former_holder()
    host.hear(B, Prepare(P, Epoch(5)))
    host.hear(B, release(epoch=5))
    host.sync()
    host.engine.crash(0)
    again = Host(C, host.engine.reopen())
    assert P not in again.node.replicas, "nothing is left to be taken up"
    again.take(map_of(C_LEARNS, 9))
    assert again.hear(A, append(1)) == [(A, Refuse(P, Epoch(3), Epoch(5)))]


def test_what_is_not_its_own_any_more_is_kept_over_a_restart_too() -> None:
    host = former_holder()
    host.engine.crash(0)
    again = Host(C, host.engine.reopen())
    assert again.replica.log.last_index == 2
    assert again.tick(limits.SURPLUS_MS) == [(A, Surplus(P, MapVersion(8)))]


def test_a_snapshot_that_was_staged_is_not_switched_to_after_the_deletion() -> None:
    host = holder()
    host.hear(A, SnapshotOffer(P, Epoch(3), 1, Epoch(3), Index(9), 0, b"\0\0\0\0"))
    rows = [(b"k", b"v")]
    checksum, _ = running_checksum(rows, 0)
    host.hear(A, SnapshotChunk(P, Epoch(3), 1, b"", rows, checksum, final=False))
    host.hear(A, SnapshotChunk(P, Epoch(3), 1, b"k", [], checksum, final=True))
    host.take(map_of(WITHOUT_C, 8))
    host.hear(A, release())
    assert to(A, SnapshotPull, host.sync()) == []
    assert (host.node.replicas, rows_of(host)) == ({}, 0)


# --- coming back -----------------------------------------------------------------------------------------


def test_what_is_given_back_after_the_deletion_begins_from_nothing() -> None:
    host = former_holder()
    host.hear(A, release())
    host.take(map_of(C_LEARNS, 9))
    host.hear(A, Prepare(P, Epoch(3)))
    assert host.sync() == [(A, a_promise())]
    assert host.replica.state.record(b"k") is None


def test_deletion_and_return_in_one_turn_begin_on_a_clean_store_in_the_next() -> None:
    """In that turn the store still has the rows, which must not be read again."""
    host = former_holder()
    prepare = host.hears(A, Prepare(P, Epoch(3)))
    host.turn(host.hears(A, release()), host.takes(map_of(C_LEARNS, 9)), prepare)
    assert P not in host.node.replicas
    assert rows_of(host) == 0
    host.turn(prepare)
    assert (host.replica.log.last_index, host.replica.applied) == (0, 0)
    assert host.sync() == [(A, a_promise())]
    host.hear(A, append(2))
    assert host.sync() == [(A, Acks([P, 3, 2]))]


def test_a_return_that_is_withdrawn_in_the_same_turn_begins_nothing() -> None:
    host = former_holder()
    back_and_away = host.takes(map_of(C_LEARNS, 9)), host.takes(map_of(WITHOUT_C, 10))
    host.turn(host.hears(A, release()), *back_and_away)
    host.turn()
    assert (host.node.replicas, rows_of(host)) == ({}, 0)


def test_what_is_deleted_has_no_word_any_more() -> None:
    """The disk is slow: an entry and a promise are durable only when c is, empty, a learner again."""
    host = former_holder()
    host.hear(A, append(3, after=2), Prepare(P, Epoch(3)))
    host.hear(A, release())
    host.take(map_of(C_LEARNS, 9))
    assert host.sync() == [], "it would be taken for that of the learner"


# --- who may release -------------------------------------------------------------------------------------


def primary(part: Partition = WITHOUT_C) -> Host:
    """Node a, ACTIVE under that map's replicas."""
    host = Host(A)
    host.take(map_of(part, 8))
    host.sync()
    host.hear(B, a_promise())
    host.sync()
    host.hear(B, an_ack(1))
    assert host.primary.phase == Phase.ACTIVE
    return host


ASKED = Surplus(P, MapVersion(8))


def test_a_primary_that_serves_without_it_releases_a_former_holder() -> None:
    assert primary().hear(C, ASKED) == [(C, release())]


def test_nobody_is_released_while_the_voters_are_joint() -> None:
    host = primary(a_part(A, (A, B, D), old_voters=(A, B, C)))
    assert host.hear(C, ASKED) == []
    assert host.hear(E, ASKED) == [], "not even who has been gone for long"
    host.take(map_of(WITHOUT_C, 9))
    assert host.hear(C, ASKED) == [], "nor for what it asked under another map"
    assert host.hear(C, Surplus(P, MapVersion(9))) == [(C, release(config=9))]


def test_no_voter_and_no_learner_is_released() -> None:
    assert primary().hear(D, ASKED) == []
    assert primary(C_LEARNS).hear(C, ASKED) == []


def test_nobody_is_released_by_a_primary_that_does_not_serve() -> None:
    host = Host(A)
    host.take(map_of(WITHOUT_C, 8))
    host.sync()
    assert host.hear(C, ASKED) == []
    host.hear(B, a_promise())
    assert host.primary.phase == Phase.STARTING
    assert host.hear(C, ASKED) == []


def test_who_is_no_primary_releases_nobody() -> None:
    host = Host(B)
    host.take(map_of(WITHOUT_C, 8))
    assert host.hear(C, ASKED) == []


def test_a_primary_to_whom_the_partition_is_given_no_more_is_deposed() -> None:
    host = primary()
    host.take(map_of(a_part(B, (B, C, D), epoch=Epoch(4)), 9))
    assert host.replica.primary is None


# --- damage ----------------------------------------------------------------------------------------------


def damaged() -> Host:
    host = holder()
    host.node.context.damaged = True
    return host


QUESTIONS: list[Message] = [
    Prepare(P, Epoch(3)), append(3, after=2), Confirm(1, [P, 3]), Fetch(P, Epoch(3), Index(0)),
    SnapshotOffer(P, Epoch(3), 1, Epoch(3), Index(9), 0, b"\0\0\0\0"),
]  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: type(question).__name__)
def test_a_damaged_node_has_no_vote_and_no_word(question: Message) -> None:
    well = holder()
    assert well.hear(A, question) + well.sync() != []
    host = damaged()
    assert host.hear(A, question) + host.sync() == []


def test_a_damaged_node_leads_nothing() -> None:
    host = damaged()
    host.take(map_of(a_part(C, epoch=Epoch(4)), 8))
    assert host.replica.primary is None


def test_a_damaged_node_is_well_again_when_everything_is_deleted_durably() -> None:
    host = damaged()
    host.tick(limits.SURPLUS_MS)
    host.sync()
    assert not host.repaired, "it is counted on"
    host.take(map_of(WITHOUT_C, 8))
    assert host.tick(limits.SURPLUS_MS) == [(A, ASKED)]
    host.sync()
    assert not host.repaired, "it may still be asked for what it has"
    host.turn(host.hears(A, release()), host.node.on_tick)
    host.tick(limits.SURPLUS_MS)
    assert (host.repaired, host.node.context.damaged) == (False, True), "the disk may yet forget the deletion"
    host.sync()
    assert (host.repaired, host.node.context.damaged) == (True, False)
    host.take(map_of(C_LEARNS, 9))
    host.hear(A, Prepare(P, Epoch(3)))
    assert host.sync() == [(A, a_promise())], "as an empty one"


def test_what_is_given_back_before_the_deletion_is_durable_puts_the_repair_off() -> None:
    host = damaged()
    host.take(map_of(WITHOUT_C, 8))
    host.hear(A, release())
    host.tick(limits.SURPLUS_MS)
    host.take(map_of(C_LEARNS, 9))
    host.sync()
    assert (host.repaired, host.node.context.damaged) == (False, True)


def test_a_damaged_node_that_the_map_does_not_know_yet_waits() -> None:
    """Its own map may be of before it was given what it lost."""
    host = Host(C, incarnation=2)
    host.node.context.damaged = True
    host.take(a_map(WITHOUT_C, nodes=(A, B, C, D)))
    host.tick(limits.SURPLUS_MS)
    host.sync()
    assert not host.repaired
