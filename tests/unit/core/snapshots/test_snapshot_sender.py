"""A snapshot as its holder sends it: in short turns, no faster than allowed, and again where it was lost."""

from dataclasses import replace

import pytest
from tests.support.core.parts import (
    A,
    B,
    C,
    D,
    E,
    Host,
    P,
    a_part,
    a_promise,
    a_request,
    an_ack,
    bound,
    map_of,
    to,
)
from tests.support.core.transfer import KIB, Transfer, last_pull, pulls, rows_in, size_of, some_rows

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind
from ringkeep.core.protocol.messages import Prepare, SnapshotChunk, SnapshotOffer, SnapshotPull
from ringkeep.core.protocol.types import Epoch
from ringkeep.core.replication.replica import Replica
from ringkeep.core.snapshots.snapshot_receiver import Staging
from ringkeep.core.state.snapshot_flow import Urgency

# --- one chunk for each pull, in short turns ------------------------------------------------------------


def test_one_chunk_is_sent_for_each_pull_and_none_without() -> None:
    transfer = Transfer(some_rows(1_000, 10 * KIB))
    asked = transfer.begin()
    for number in range(1, 4):
        (chunk,) = transfer.give(asked)
        size = size_of(rows_in([chunk]))
        assert limits.SNAPSHOT_CHUNK_BYTES <= size < limits.SNAPSHOT_CHUNK_BYTES + 11 * KIB
        assert transfer.tick() == ([], []), "it is on its way"
        assert transfer.moved == number * size
        asked = transfer.bring([chunk])


def test_a_large_row_goes_alone_and_small_ones_in_numbers() -> None:
    transfer = Transfer(some_rows(3, limits.VALUE_BYTES))
    assert [len(rows_in([chunk])) for chunk in transfer.give(transfer.begin())] == [1]
    transfer = Transfer(some_rows(5_000, 0))
    asked, counts = transfer.begin(), []
    while chunks := transfer.give(asked):
        counts += [len(rows_in([chunk])) for chunk in chunks]
        asked = transfer.bring(chunks)
    assert counts == [2_048, 2_048, 904, 0]


def test_what_is_beyond_a_turns_bytes_is_sent_in_the_turn_that_follows_at_once() -> None:
    transfer = Transfer(some_rows(1_000, 10 * KIB))
    holder, asked = transfer.holder, transfer.begin()
    bound(holder.node.context, snapshot_turn_bytes=1)
    holder.node.senders.want(holder.replica, B, Epoch(3))
    (offer,) = to(B, SnapshotOffer, holder.turn())
    other = SnapshotPull(P, Epoch(3), offer.snapshot, b"", 1)
    node = holder.node
    node.begin_turn(node.context.now)
    node.on_messages(B, a_part().incarnation, [other])
    node.on_messages(C, a_part().incarnation, asked)
    effects, _ = node.end_turn()
    assert (list(effects.bulk), effects.again) == ([B], True)
    assert len(to(C, SnapshotChunk, holder.turn())) == 1


def test_nothing_is_sent_to_a_peer_to_whom_much_is_unsent() -> None:
    transfer = Transfer(some_rows(100, 10 * KIB))
    asked = transfer.begin()
    transfer.holder.turn(lambda: transfer.holder.node.on_jam(C, True))
    assert transfer.give(asked) == []
    transfer.holder.turn(lambda: transfer.holder.node.on_jam(C, False))
    assert len(to(C, SnapshotChunk, transfer.holder.turn())) == 1


def a_long_log(transfer: Transfer) -> None:
    context = transfer.holder.node.context
    context.bounds = replace(context.bounds, pinned_log_bytes=1)


def test_where_the_log_is_long_a_snapshot_is_not_given_up_before_the_receiver_can_have_answered() -> None:
    transfer = Transfer(some_rows(3, KIB))
    a_long_log(transfer)
    transfer.want()
    offers = to(C, SnapshotOffer, transfer.holder.tick(limits.LOOK_AFTER_MS))  # opened, and looked after
    assert rows_in(transfer.give(pulls(transfer.newcomer.hear(A, *offers)))) == transfer.rows


def test_where_the_log_is_long_a_snapshot_that_waits_or_is_not_wanted_is_given_up() -> None:
    transfer = Transfer(some_rows(3, KIB))
    a_long_log(transfer)
    pull = last_pull(transfer.begin())
    pull.room = 0
    transfer.give([pull])
    transfer.tick()
    (gone,) = transfer.give([pull])
    assert isinstance(gone, SnapshotChunk) and gone.gone
    transfer.begin_again()
    transfer.holder.tick(2 * limits.SUSPECT_AFTER_MS + 1)
    assert transfer.holder.node.context.counters["snapshot_given_up"] == 2


# --- lost, repeated, out of order ------------------------------------------------------------------------


def test_what_was_lost_is_sent_again_but_not_what_is_only_late() -> None:
    transfer = Transfer(some_rows(100, 10 * KIB))
    lost = transfer.give(transfer.begin())
    _, asked = transfer.tick(limits.SUSPECT_AFTER_MS - 1)
    assert asked == []
    _, asked = transfer.tick()
    assert transfer.give(asked) == lost
    assert transfer.holder.node.context.counters["snapshot_sent_again"] == 1
    transfer.finish(transfer.bring(lost))
    assert transfer.taken() == transfer.rows
    assert transfer.moved == size_of(transfer.rows)


def test_a_pull_that_was_repeated_is_not_answered_once_the_snapshot_is_installed() -> None:
    """The receiver had its answer; the holder, to which much was unsent, had not sent it a second time."""
    transfer = Transfer(some_rows(3))
    asked = transfer.bring(transfer.give(transfer.begin()))
    assert len(transfer.give(asked)) == 1
    transfer.holder.turn(lambda: transfer.holder.node.on_jam(C, True))
    assert transfer.give(asked) == []
    assert transfer.give([replace(last_pull(asked), done=True)]) == []
    transfer.holder.turn(lambda: transfer.holder.node.on_jam(C, False))
    assert to(C, SnapshotChunk, transfer.holder.turn()) == []


def test_a_chunk_behind_a_lost_one_is_not_taken() -> None:
    transfer = Transfer(some_rows(100, 10 * KIB))
    (first,) = transfer.give(transfer.begin())
    (second,) = transfer.give(transfer.bring([first]))
    transfer.newcomer.turn(transfer.newcomer.replica.drop_staging)
    transfer.begin_again()
    assert transfer.bring([second]) == []
    staging = transfer.newcomer.replica.staging
    assert isinstance(staging, Staging)
    assert staging.row_bytes == 0
    transfer.finish(transfer.bring([first, first, second, second]))
    assert transfer.taken() == transfer.rows


def test_rows_that_differ_from_what_was_read_are_thrown_away() -> None:
    transfer = Transfer(some_rows(100, 10 * KIB))
    (first, *_) = transfer.give(transfer.begin())
    assert isinstance(first, SnapshotChunk)
    first.rows[3] = first.rows[3][0], first.rows[3][1][:-1] + b"?"
    transfer.bring([first])
    assert transfer.newcomer.replica.staging is None
    assert transfer.newcomer.node.context.counters["staging_dropped"] == 1


def test_who_pulls_from_where_it_cannot_be_begins_anew() -> None:
    transfer = Transfer(some_rows(10))
    pull = last_pull(transfer.begin())
    pull.cursor = b"\0no such key"
    (answer,) = transfer.give([pull])
    assert isinstance(answer, SnapshotChunk)
    assert answer.gone
    transfer.bring([answer])
    assert transfer.newcomer.replica.staging is None
    transfer.finish(transfer.begin())
    assert transfer.taken() == transfer.rows


def test_a_receiver_that_lost_what_it_had_is_sent_all_of_it_again() -> None:
    transfer = Transfer(some_rows(300, 10 * KIB))
    asked = transfer.begin()
    for _ in range(6):
        asked = transfer.bring(transfer.give(asked))
    transfer.newcomer.turn(transfer.newcomer.replica.drop_staging)
    transfer.finish(transfer.begin_again())
    assert transfer.taken() == transfer.rows
    assert transfer.holder.node.context.counters["snapshot_opened"] == 1


# --- a limit, and a pause --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [100 * KIB, 5_000 * KIB])
def test_a_limit_holds_on_average_and_can_be_changed_meanwhile(rate: int) -> None:
    transfer = Transfer(some_rows(3_000, 10 * KIB))
    transfer.holder.node.pace.bytes_per_s = rate
    asked = transfer.begin()
    for _ in range(4_000 // limits.TICK_MS):
        transfer.newcomer.sync()
        chunks, more = transfer.tick(limits.TICK_MS)
        asked = transfer.bring(chunks + transfer.give(asked)) + more
    chunk = limits.SNAPSHOT_CHUNK_BYTES + 11 * KIB
    assert 4 * rate * 0.9 - chunk <= transfer.moved <= 4 * rate * 1.1 + chunk
    transfer.holder.node.pace.bytes_per_s = 0
    transfer.finish(asked)
    assert transfer.taken() == transfer.rows
    assert transfer.holder.node.context.counters["snapshot_opened"] == 1


def test_moves_that_are_paused_go_on_from_where_they_stood() -> None:
    transfer = Transfer(some_rows(500, 10 * KIB))
    asked = transfer.bring(transfer.give(transfer.begin()))
    transfer.holder.node.pace.paused = True
    stood = transfer.moved
    for _ in range(2 * limits.SNAPSHOT_IDLE_MS // limits.RESEND_MS):
        assert transfer.give(asked) == []
        chunks, asked = transfer.tick(limits.RESEND_MS + 1)
        assert chunks == []
    assert (transfer.moved, transfer.newcomer.replica.staging is not None) == (stood, True)
    transfer.holder.node.pace.paused = False
    chunks, asked = transfer.tick()
    assert rows_in(chunks)
    transfer.finish(transfer.bring(chunks) + asked)
    assert transfer.taken() == transfer.rows
    assert transfer.holder.node.context.counters["snapshot_opened"] == 1


def test_a_voter_that_lags_behind_is_sent_its_snapshot_during_a_pause() -> None:
    transfer = Transfer(some_rows(300, 10 * KIB), learns=False)
    transfer.holder.node.pace.paused = True
    transfer.finish(transfer.begin())
    assert transfer.taken() == transfer.rows


def test_nothing_is_opened_for_a_learner_during_a_pause() -> None:
    transfer = Transfer(some_rows(10))
    transfer.holder.node.pace.paused = True
    transfer.want()
    assert to(C, SnapshotOffer, transfer.holder.turn()) == []
    transfer.holder.node.pace.paused = False
    assert len(to(C, SnapshotOffer, transfer.holder.turn())) == 1


@pytest.mark.parametrize("why", ["paused", "no room"])
def test_who_waits_does_not_pin_the_log_at_the_cost_of_clients(why: str) -> None:
    transfer = Transfer(some_rows(500, 10 * KIB))
    pull = last_pull(transfer.begin())
    transfer.holder.node.pace.paused = why == "paused"
    pull.room = 0 if why == "no room" else pull.room
    transfer.give([pull])
    transfer.holder.tick(limits.RESEND_MS)
    assert transfer.holder.replica.pins
    transfer.holder.replica.log.entry_bytes = limits.PINNED_LOG_BYTES // 2 + 1
    transfer.holder.tick(limits.RESEND_MS)
    assert not transfer.holder.replica.pins
    assert all(isinstance(each, SnapshotChunk) and each.gone for each in transfer.give([pull]))


# --- what is more urgent ---------------------------------------------------------------------------------


def test_how_urgent_it_is_depends_on_what_the_receiver_is() -> None:
    moved = Transfer(some_rows(1))
    replica = moved.holder.replica
    assert (replica.urgency_for(C), replica.urgency_for(B)) == (Urgency.MOVE, Urgency.VOTER)
    assert moved.newcomer.replica.urgency_for(C) == Urgency.MOVE
    moved.newcomer.turn(lambda: moved.newcomer.replica.promise(Epoch(4), B, a_part().incarnation))
    assert moved.newcomer.replica.urgency_for(B) == Urgency.TAKEOVER, "b takes over, and asks for it"


@pytest.mark.plain  # whose transfer is urgent is replaced
def test_a_takeover_waits_neither_for_a_place_nor_for_the_limit_of_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its partition serves nobody meanwhile."""
    urgent = {C: Urgency.MOVE, D: Urgency.VOTER, B: Urgency.TAKEOVER}
    monkeypatch.setattr(Replica, "urgency_for", lambda _, peer: urgent[peer])
    transfer = Transfer(some_rows(3_000, 10 * KIB))
    holder = transfer.holder
    bound(holder.node.context, snapshots_at_once=1)
    holder.node.pace.bytes_per_s = 1
    transfer.give(transfer.begin())
    opened = {}
    for peer in (D, B):
        holder.node.senders.want(holder.replica, peer, Epoch(3))
        (opened[peer],) = to(peer, SnapshotOffer, holder.turn())
        asked = SnapshotPull(P, Epoch(3), opened[peer].snapshot, b"", 1)
        chunks = to(peer, SnapshotChunk, holder.hear(peer, asked))
        assert bool(chunks) == (peer == B)
    holder.node.senders.want(holder.replica, E, Epoch(3))
    urgent[E] = Urgency.MOVE
    assert to(E, SnapshotOffer, holder.turn()) == [], "the other moves have taken all places"


def test_a_takeover_does_not_wait_for_a_snapshot_of_the_epoch_before() -> None:
    """The new primary was being sent it, and dropped it with its promise: nobody would pull it any more."""
    transfer = Transfer(some_rows(300, 10 * KIB))
    holder = transfer.holder
    bound(holder.node.context, snapshots_at_once=1)
    transfer.give(transfer.begin())
    holder.hear(C, Prepare(P, Epoch(4)))
    holder.sync()
    holder.node.senders.want(holder.replica, C, Epoch(4))
    (offer,) = to(C, SnapshotOffer, holder.turn())
    assert offer.epoch == 4


# --- after it is there -----------------------------------------------------------------------------------


def write(host: Host, counter: int) -> int:
    """Let b's client write once; it is durable and committed with b."""
    host.hear(B, a_request(Kind.PUT, counter))
    host.sync()
    last = host.replica.log.last_index
    host.hear(B, an_ack(last))
    return last


def test_the_log_stays_while_the_newcomer_comes_nearer_however_long_that_takes() -> None:
    """It was kept for a second only: with more to send than fits that, the next snapshot had to follow."""
    transfer = Transfer(some_rows(3))
    holder, newcomer = transfer.holder, transfer.newcomer
    bound(holder.node.context, log_entries=0)
    offer = transfer.offer()
    asked = pulls(newcomer.hear(A, offer))
    last = [write(holder, number) for number in range(1, 21)][-1]
    transfer.finish(asked)
    holder.hear(C, *[SnapshotPull(P, Epoch(3), offer.snapshot, b"", done=True)])
    holder.hear(C, a_promise(offer.last_index))
    for index in range(offer.last_index + 1, last + 1):
        holder.tick(limits.SUSPECT_AFTER_MS - 1)
        write(holder, 1_000 + index)
        assert holder.replica.log.floor_index < index, "it would have to begin anew"
        holder.hear(C, a_promise(index))
    holder.hear(C, a_promise(holder.replica.log.last_index))
    holder.tick()
    assert not holder.replica.pins, "it has all there is"
    assert holder.node.context.counters["snapshot_opened"] == 1


def test_a_newcomer_that_stands_still_keeps_the_log_no_longer() -> None:
    transfer = Transfer(some_rows(3))
    transfer.finish(transfer.begin())
    write(transfer.holder, 1)
    transfer.holder.hear(C, SnapshotPull(P, Epoch(3), transfer.holder.node.senders._number, b"", done=True))
    transfer.holder.tick(limits.SUSPECT_AFTER_MS)
    assert transfer.holder.replica.pins
    transfer.holder.tick(2)
    assert not transfer.holder.replica.pins


# --- what is told of it ----------------------------------------------------------------------------------


def test_how_much_was_sent_is_kept_until_the_peer_is_no_replica() -> None:
    transfer = Transfer(some_rows(300, 10 * KIB))
    transfer.give(transfer.begin())
    assert limits.SNAPSHOT_CHUNK_BYTES <= transfer.moved < size_of(transfer.rows)
    transfer.finish(transfer.tick(limits.SUSPECT_AFTER_MS + 1)[1])
    transfer.holder.tick(2 * limits.SUSPECT_AFTER_MS)
    assert transfer.moved == size_of(transfer.rows)
    transfer.holder.take(map_of(a_part(A, (A, B, D)), 9))
    transfer.holder.tick()
    assert transfer.holder.node.senders.moved == {}
