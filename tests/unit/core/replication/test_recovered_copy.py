"""The copy with which a partition goes on after a loss: what it tells before, and how it goes on."""

from dataclasses import replace
from functools import partial

import pytest
from tests.support.core.parts import (
    A,
    B,
    C,
    D,
    Host,
    P,
    a_beat,
    a_map,
    a_part,
    a_promise,
    an_ack,
    map_of,
    some_entries,
    to,
)

from ringkeep.core.cluster.observations import Copy
from ringkeep.core.control.copy_survey import CopySurvey
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.entry import Entry, EntryKind, decode, encode, renumbered
from ringkeep.core.protocol.hot_messages import Append
from ringkeep.core.protocol.messages import Copies as Said
from ringkeep.core.protocol.messages import Entries, Prepare, SnapshotOffer, Surplus
from ringkeep.core.protocol.record import read_record, tail_of
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, MapVersion, NodeId, PartitionId, origin_of
from ringkeep.core.replication.primary import Phase

BASE = Index(limits.RECOVERY_STEP)
ALONE = a_part(C, (C,), epoch=Epoch(4), base=BASE)
ORIGIN = origin_of(B, Incarnation(1))


def an_entry(kind: EntryKind, index: int, value: bytes = b"", version: int = 0) -> Entry:
    entry = Entry(
        kind, Epoch(3), Index(index), 7, ORIGIN, index, 1, b"k%d" % index, int(Status.CREATED), version,
        tail=tail_of(b"", value),
    )  # fmt: skip
    if kind != EntryKind.OUTCOME:
        return entry
    return replace(entry, status=int(Status.CONDITION_FAILED), idempotency=b"own", fingerprint=bytes(16))


LOG = [
    an_entry(EntryKind.PUT, 1, b"one"),
    decode(some_entries(3, 2, 2)[0]),
    an_entry(EntryKind.PUT, 3, b"three"),
    an_entry(EntryKind.OUTCOME, 4, version=3),
    an_entry(EntryKind.OUTCOME, 5, version=1),
]


def holder() -> Host:
    """Node c, a voter with five entries, of which it knows two to be committed."""
    host = Host(C)
    host.take(map_of(a_part(A), 7))
    host.hear(A, Append(P, Epoch(3), Epoch(0), Index(0), Index(2), [encode(entry) for entry in LOG]))
    host.turn(host.replica.apply)
    host.sync()
    return host


def survivor(part: Partition = ALONE) -> Host:
    """It goes on alone, and serves."""
    host = holder()
    host.take(map_of(part, 8))
    host.sync()
    host.sync()
    assert host.primary.phase == Phase.ACTIVE
    return host


def version_of(host: Host, key: bytes) -> int:
    record = host.replica.state.record(key)
    assert record is not None
    return read_record(record)[0]


# --- going on --------------------------------------------------------------------------------------------


def test_what_is_known_to_be_committed_stays_and_the_rest_is_appended_anew_with_new_versions() -> None:
    host = survivor()
    log = host.replica.log
    assert (log.floor_index, log.floor_epoch, log.last_index) == (BASE, 4, BASE + 4)
    found = [decode(log[Index(BASE + at)]) for at in range(1, 5)]
    assert [(entry.index - BASE, entry.epoch) for entry in found] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [entry.kind for entry in found] == [LOG[2].kind, LOG[3].kind, LOG[4].kind, EntryKind.NOOP]
    assert [entry.version for entry in found] == [0, BASE + 1, 1, 0], "what they say of each other follows"
    assert [entry.counter for entry in found] == [3, 4, 5, 0]
    assert (version_of(host, b"k1"), version_of(host, b"k3")) == (1, BASE + 1)
    assert host.replica.state.sessions.find(ORIGIN, 3) == (int(Status.CREATED), BASE + 1)


def test_it_is_the_same_after_a_restart() -> None:
    host = survivor()
    again = Host(C, host.engine, incarnation=2)
    log = again.replica.log
    assert (log.floor_index, log.last_index, again.replica.applied) == (BASE, BASE + 4, BASE + 4)
    assert again.replica.state.sessions.encode() == host.replica.state.sessions.encode()
    assert (version_of(again, b"k1"), version_of(again, b"k3")) == (1, BASE + 1)


def test_it_goes_on_once_also_under_a_later_epoch() -> None:
    host = survivor()
    host.take(map_of(replace(ALONE, epoch=Epoch(5)), 9))
    host.sync()
    assert host.replica.log.last_index == BASE + 5
    assert host.replica.log.floor_index == BASE


def test_without_any_copy_it_begins_empty_above() -> None:
    host = Host(C)
    host.take(map_of(ALONE, 8))
    host.sync()
    host.sync()
    assert host.primary.phase == Phase.ACTIVE
    assert (host.replica.log.floor_index, host.replica.applied) == (BASE, BASE + 1)


@pytest.mark.parametrize("commit", [0, 2, 700])
def test_who_holds_an_older_copy_is_sent_the_state(commit: int) -> None:
    """Also one that is, or says that it is, ahead of what went on."""
    host = survivor()
    left = host.take(map_of(replace(ALONE, learner=D), 9))
    assert to(D, Prepare, left) == [Prepare(P, Epoch(4))]
    host.hear(D, a_promise(max(commit, 1), epoch=4, commit=commit))
    (offer,) = to(D, SnapshotOffer, host.tick(limits.TICK_MS))
    assert (offer.last_epoch, offer.last_index) == (4, BASE + 4)


def test_appended_anew_everything_has_the_bytes_of_its_new_place() -> None:
    assert renumbered([], Epoch(9), BASE) == []
    (only,) = renumbered([LOG[0]], Epoch(9), Index(40))
    assert decode(only) == replace(LOG[0], epoch=Epoch(9), index=Index(41))


# --- on a damaged store ----------------------------------------------------------------------------------


def test_a_damaged_store_whose_copies_all_go_on_is_whole_again() -> None:
    host = holder()
    host.node.context.damaged = True
    host.take(map_of(ALONE, 8))
    assert host.replica.primary is None
    assert host.replica.log.last_index == BASE + 3
    host.tick(limits.SURPLUS_MS)
    assert not host.repaired, "not durable yet"
    for _ in range(3):
        host.sync()
    assert (host.repaired, host.node.context.damaged) == (True, False)
    assert host.primary.phase == Phase.ACTIVE
    assert version_of(host, b"k3") == BASE + 1


def test_a_damaged_store_with_another_copy_is_not_whole() -> None:
    host = Host(C)
    host.take(a_map(a_part(A), a_part(A), version=7))
    host.node.context.damaged = True
    host.take(a_map(replace(ALONE, config=MapVersion(8)), a_part(A), version=8))
    host.tick(limits.SURPLUS_MS)
    for _ in range(3):
        host.sync()
    assert (host.repaired, host.replica.primary) == (False, None)


# --- before ----------------------------------------------------------------------------------------------


def without(host: Host, *silent: NodeId) -> None:
    """Nobody listens there any more."""
    host.turn(*[partial(host.node.on_peer_down, peer, True) for peer in silent])


def test_copies_are_told_once_they_are_durable_while_a_majority_is_missing() -> None:
    host = holder()
    for peer in (A, B, D):
        host.hear(peer, a_beat())
    host.node.context.now += limits.COPIES_MS
    assert not to(B, Said, host.turn(host.node.on_tick) + host.sync())
    without(host, A)
    host.node.context.now += limits.COPIES_MS
    assert not to(B, Said, host.turn(host.node.on_tick) + host.sync()), "two of three are a majority"
    without(host, B)
    host.node.context.now += limits.COPIES_MS
    assert not to(D, Said, host.turn(host.node.on_tick)), "not before it is durable"
    assert to(D, Said, host.sync()) == [Said([P], [(P, Epoch(3), Epoch(3), Index(5))])]
    assert host.node.copies.copy(C, 0) == Copy(Epoch(3), Epoch(3), Index(5))


def test_one_word_waits_for_a_disk_that_does_not_answer_and_no_more_behind_it() -> None:
    host = holder()
    without(host, A)
    without(host, B)
    host.sync()
    for _ in range(20):
        host.node.context.now += limits.COPIES_MS
        host.turn(host.node.on_tick)
    assert len(to(D, Said, host.sync())) == 1
    host.node.context.now += limits.COPIES_MS
    host.turn(host.node.on_tick)
    assert len(to(D, Said, host.sync())) == 1, "and it goes on once the disk answers"


def test_what_others_tell_is_kept_for_a_while_and_not_longer_than_their_process() -> None:
    host = holder()
    copies: CopySurvey = host.node.copies
    host.hear(D, Said([P, PartitionId(4)], [(P, Epoch(9), Epoch(2), Index(6))]))
    assert copies.copy(D, 0) == Copy(Epoch(9), Epoch(2), Index(6))
    assert copies.copy(D, 4) == Copy(), "it holds nothing"
    assert copies.copy(D, 1) is None, "it does not see that one lost"
    host.node.context.now += limits.STATEMENT_MS + 1
    assert copies.copy(D, 0) is None
    host.hear(D, Said([P], []))
    host.turn(partial(host.node.on_peer_down, D, False))
    assert copies.copy(D, 0) is None


def test_a_primary_without_its_majority_releases_nobody() -> None:
    """The one that asks may hold one of the last copies."""
    host = Host(A)
    host.take(map_of(a_part(A, (A, B, D)), 8))
    host.sync()
    host.hear(B, a_promise())
    host.sync()
    host.hear(B, an_ack(1))
    asked = Surplus(P, MapVersion(8))
    assert host.primary.phase == Phase.ACTIVE
    host.primary.paused = True
    assert host.hear(C, asked) == []
    host.primary.paused = False
    assert len(host.hear(C, asked)) == 1


def test_entries_are_not_fetched_across_the_gap() -> None:
    """A later primary among the copies that were made anew adopts what begins above."""
    host = survivor()
    assert host.replica.entries_after(Index(5)) is None
    found = host.replica.entries_after(BASE)
    assert isinstance(found, Entries)
    assert len(found.entries) == 4
