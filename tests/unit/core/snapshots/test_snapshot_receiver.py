"""A snapshot as its receiver takes it in: as fast as its disk, all of it or nothing, never over another."""

from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from tests.support.core.parts import A, C, Host, P, a_part, bound, map_of, to
from tests.support.core.transfer import C_LEARNS, KIB, Transfer, last_pull, pulls, size_of, some_rows

from ringkeep.core.disk_state import NOTHING_ASKED
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.entry import Entry, EntryKind, encode
from ringkeep.core.protocol.hot_messages import Append, Reply
from ringkeep.core.protocol.keys import data_prefix
from ringkeep.core.protocol.messages import Message, SnapshotChunk, SnapshotOffer, StaleRead
from ringkeep.core.protocol.types import Epoch, Incarnation, Index
from ringkeep.core.snapshots.snapshot_receiver import Staging

# --- all of it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 500])
def test_the_newcomer_holds_exactly_the_rows(count: int) -> None:
    transfer = Transfer(some_rows(count))
    bound(transfer.holder.node.context, snapshot_chunk_rows=3)
    transfer.finish(transfer.begin())
    assert transfer.taken() == transfer.rows
    replica = transfer.newcomer.replica
    assert replica.applied == transfer.holder.replica.applied
    assert replica.state.data_bytes == size_of(transfer.rows) == transfer.moved
    assert replica.staging is None


def test_nothing_is_seen_of_it_until_the_switch_and_nothing_stays_of_what_was_before() -> None:
    transfer = Transfer(some_rows(300))
    before = Batch()
    before.data[data_prefix(P, 1) + b"\0old"] = b"old"
    transfer.newcomer.engine.write(before)
    asked = transfer.bring(transfer.give(transfer.begin()))
    assert transfer.bring(transfer.give(asked)) == [], "all of it is here"
    assert transfer.taken() == [(b"\0old", b"old")]
    transfer.newcomer.sync()
    assert transfer.taken() == transfer.rows
    assert len(transfer.newcomer.engine.scan(Family.DATA, b"", b"\xff", 1 << 30)) == len(transfer.rows)


def test_what_is_offered_twice_is_taken_once() -> None:
    transfer = Transfer(some_rows(100, 10 * KIB))
    offer = transfer.offer()
    transfer.newcomer.hear(A, offer)
    generation = transfer.newcomer.replica.next_generation
    assert to(C, SnapshotOffer, transfer.holder.turn(transfer.want)) == [offer], "what is under way already"
    asked = pulls(transfer.newcomer.hear(A, offer))
    assert transfer.newcomer.replica.next_generation == generation
    transfer.finish(asked)
    assert transfer.taken() == transfer.rows


# --- whatever becomes of messages ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_whatever_becomes_of_messages_the_rows_are_right(seed: int) -> None:
    """Pulls and chunks are lost, repeated and late; c may be told that all is gone, and begins anew."""
    random = Random(seed)
    transfer = Transfer(some_rows(random.choice([40, 200]), random.choice([1, 40 * KIB])))
    bound(transfer.holder.node.context, snapshot_chunk_rows=random.choice([1, 7]))
    to_holder = transfer.begin()
    for _ in range(20_000):
        asked = [message for message in to_holder for _ in range(random.choice([0, 1, 1, 1, 2]))]
        chunks = transfer.give(asked) + to(C, SnapshotChunk, transfer.holder.tick(20))
        to_newcomer = [each for each in chunks for _ in range(random.choice([0, 1, 1, 1, 1, 1, 2]))]
        if random.random() < 0.2:
            random.shuffle(to_newcomer)
        to_holder = transfer.bring(to_newcomer) + pulls(transfer.newcomer.tick(20))
        if random.random() < 0.5:
            to_holder += pulls(transfer.newcomer.sync())
        if transfer.newcomer.replica.applied:
            break
        if transfer.newcomer.replica.staging is None:
            to_holder += transfer.begin_again()
    assert transfer.taken() == transfer.rows
    assert transfer.newcomer.replica.state.data_bytes == size_of(transfer.rows)


# --- in the turn of the switch ---------------------------------------------------------------------------


@pytest.mark.plain  # who hears a reply is replaced
def test_what_was_just_switched_to_is_read_from_the_next_turn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store shows the rows once the turn's batch is written: until then no key seems to be there."""
    transfer = Transfer(some_rows(3), learns=False)
    newcomer = transfer.newcomer
    newcomer.replica.caught_up = True
    answers: list[Reply] = []
    monkeypatch.setattr(newcomer.node.context, "answer", answers.append)
    asked = StaleRead(1 << 16, P, 5_000, 1, b"key-0001")
    asked_while_switching(transfer, lambda: newcomer.node.on_stale_read((C, Incarnation(1)), asked))
    assert answers == []
    newcomer.tick(limits.LOOK_AFTER_MS)
    assert [answer.status for answer in answers] == [Status.FOUND]


def test_what_follows_a_snapshot_is_applied_from_the_next_turn_on() -> None:
    """A result that the snapshot brought is renewed: whether it was there before decides what is counted."""
    key, name = b"k", b"mine"
    suffix = len(key).to_bytes(2, "big") + key + name
    transfer = Transfer([(b"\1" + suffix, bytes(34)), (b"\2" + bytes(16) + suffix, suffix)], learns=False)
    newcomer, offer = transfer.newcomer, transfer.holder.replica.log
    renewing = Entry(
        EntryKind.OUTCOME, Epoch(3), Index(2), 5_000, bytes(20), 1, 1, key, int(Status.CONDITION_FAILED), 7,
        name, bytes(16), 0,
    )  # fmt: skip
    entries = [offer[Index(1)], encode(renewing)]

    def follow() -> None:
        newcomer.node.on_messages(
            A, Incarnation(1), [Append(P, Epoch(3), Epoch(0), Index(0), Index(2), entries)]
        )
        newcomer.replica.apply()

    asked_while_switching(transfer, follow)
    newcomer.tick(limits.LOOK_AFTER_MS)
    assert newcomer.replica.applied == 2
    assert newcomer.replica.state.data_bytes == size_of(transfer.taken())


def asked_while_switching(transfer: Transfer, event: Callable[[], object]) -> None:
    """Bring the rows to c; then something happens in the very turn in which it switches to them."""
    newcomer = transfer.newcomer
    chunks = transfer.give(transfer.begin())
    while not any(isinstance(chunk, SnapshotChunk) and chunk.final for chunk in chunks):
        chunks = transfer.give(transfer.bring(chunks))
    newcomer.hear(A, *chunks)
    newcomer.engine.flush()
    waiting, newcomer._waiting = newcomer._waiting, []
    newcomer.turn(*[partial(newcomer.node.settle, durable) for durable in waiting], event)
    assert newcomer.node.context.counters["snapshot_installed"] == 1


# --- a receiver that cannot take more --------------------------------------------------------------------


@pytest.mark.parametrize(("stalled", "free"), [(True, 2), (False, 1)], ids=["stalled", "short of room"])
def test_nothing_is_pulled_while_the_store_takes_nothing(stalled: bool, free: int) -> None:
    transfer = Transfer(some_rows(300, 10 * KIB))
    (sent,) = transfer.give(transfer.begin())
    disk = transfer.newcomer.node.context.disks.own
    disk.note(0, stalled, free, 2, NOTHING_ASKED)
    assert transfer.bring([sent]) == [], "taken, as it was under way"
    staging = transfer.newcomer.replica.staging
    for _ in range(2 * limits.SNAPSHOT_IDLE_MS // limits.RESEND_MS):
        chunks, asked = transfer.tick(limits.RESEND_MS + 1)
        assert chunks + transfer.give(asked) == []
        assert [last_pull([pull]).room for pull in asked] == [0] * len(asked)
    assert transfer.newcomer.replica.staging is staging, "it waits, as long as it takes"
    disk.note(0, stalled=False, free=3, reserve=2, asked=NOTHING_ASKED)
    _, asked = transfer.tick()
    assert len(asked) == 1, "it goes on at the next tick"
    transfer.finish(asked)
    assert transfer.taken() == transfer.rows
    assert transfer.holder.node.context.counters["snapshot_opened"] == 1, "from where it stood"


def test_what_is_not_synced_is_bounded() -> None:
    transfer = Transfer(some_rows(1_000, 40 * KIB))
    asked = transfer.begin()
    chunks: list[Message] = []
    for _ in range(2_000):
        chunks = transfer.give(asked)
        asked = transfer.bring(chunks)
        if not chunks:
            break
    staging = transfer.newcomer.replica.staging
    assert isinstance(staging, Staging)
    assert not staging.awaits
    most = limits.STAGING_UNSYNCED_BYTES + limits.SNAPSHOT_CHUNK_BYTES + 41 * KIB
    assert limits.STAGING_UNSYNCED_BYTES <= staging.row_bytes <= most
    asked = pulls(transfer.newcomer.sync())
    assert last_pull(asked).room, "at once"
    transfer.finish(asked)
    assert transfer.taken() == transfer.rows


def test_a_transfer_outlives_its_links_for_a_while() -> None:
    transfer = Transfer(some_rows(300, 10 * KIB))
    asked = transfer.bring(transfer.give(transfer.begin()))
    lost, back = limits.RESEND_MS * 3, a_part().incarnation
    transfer.holder.turn(lambda: transfer.holder.node.on_peer_down(C, False))
    transfer.newcomer.turn(lambda: transfer.newcomer.node.on_peer_down(A, False))
    transfer.tick(lost)
    transfer.holder.turn(lambda: transfer.holder.node.on_peer_up(C, back))
    transfer.newcomer.turn(lambda: transfer.newcomer.node.on_peer_up(A, back))
    transfer.finish(asked)
    assert transfer.holder.node.context.counters["snapshot_opened"] == 1


def test_a_holder_that_is_gone_is_not_waited_for_for_ever() -> None:
    transfer = Transfer(some_rows(300, 10 * KIB))
    transfer.bring(transfer.give(transfer.begin()))
    transfer.newcomer.turn(lambda: transfer.newcomer.node.on_peer_down(A, False))
    transfer.tick(limits.SNAPSHOT_IDLE_MS + 1)
    assert transfer.newcomer.replica.staging is None


def test_a_receiver_that_is_gone_is_not_waited_for_for_ever() -> None:
    transfer = Transfer(some_rows(300, 10 * KIB))
    transfer.give(transfer.begin())
    assert transfer.holder.replica.pins
    transfer.holder.tick(limits.SNAPSHOT_IDLE_MS + 1)
    assert not transfer.holder.replica.pins


# --- crashes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(9))
@pytest.mark.parametrize("synced", [False, True])
def test_a_crash_at_any_time_leaves_all_of_it_or_nothing(steps: int, synced: bool) -> None:
    transfer = Transfer(some_rows(20, 10))
    bound(transfer.holder.node.context, snapshot_chunk_rows=3)
    asked = transfer.begin()
    for _ in range(steps):
        asked = transfer.bring(transfer.give(asked))
        if synced:
            asked += pulls(transfer.newcomer.sync())
    transfer.newcomer.engine.crash(0)
    transfer.newcomer = Host(C, transfer.newcomer.engine.reopen())
    found = transfer.taken()
    assert found in ([], transfer.rows)
    assert bool(found) == bool(transfer.newcomer.replica.applied)
    everything = transfer.newcomer.engine.scan(Family.DATA, b"", b"\xff", 1 << 30)
    assert len(everything) == len(found), "nothing else is left"
    if not found:
        other = Transfer(some_rows(5))
        other.newcomer = transfer.newcomer
        other.newcomer.take(map_of(C_LEARNS, 8))
        other.finish(other.begin())
        assert other.taken() == other.rows, "nothing of the first one"
