"""A primary while its replicas change: both majorities, learners that do not count, and who is forgotten."""

import pytest
from tests.support.core.parts import (
    NODES,
    A,
    B,
    C,
    D,
    E,
    Host,
    P,
    a_map,
    a_member,
    a_part,
    a_promise,
    a_request,
    an_ack,
    bound,
    map_of,
    to,
)

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind
from ringkeep.core.protocol.cluster_map import Partition
from ringkeep.core.protocol.hot_messages import Append, Confirm, Confirmed, Reply
from ringkeep.core.protocol.messages import Heartbeat, MapPush, Prepare, Report, Said, SnapshotOffer
from ringkeep.core.protocol.rows import NO_NODE
from ringkeep.core.protocol.types import Epoch, Index, MapVersion
from ringkeep.core.replication.primary import Phase

STABLE, JOINT, LEARNER = a_part(A), a_part(A, (A, B, D), old_voters=(A, B, C)), a_part(A, learner=D)


def leader(part: Partition = STABLE) -> Host:
    """Node a, ACTIVE with the entry of its epoch committed; b and c hold it, d has not been heard."""
    host = Host(A)
    host.take(map_of(part, 7))
    host.sync()
    host.hear(B, a_promise())
    host.hear(C, a_promise())
    host.sync()
    host.hear(B, an_ack(1))
    host.hear(C, an_ack(1))
    if part.old_voters:
        host.hear(D, a_promise())
        host.hear(D, an_ack(1))
    assert (host.primary.phase, host.replica.commit) == (Phase.ACTIVE, 1)
    return host


def put(host: Host, counter: int = 1) -> Index:
    """Let b's client write; return the entry's index. It is durable here."""
    host.hear(B, a_request(Kind.PUT, counter))
    host.sync()
    return host.replica.log.last_index


# --- room on the way to a peer ---------------------------------------------------------------------------


@pytest.mark.parametrize("promises", [[1], [2], [1, 2], [2, 1]])
def test_a_late_promise_does_not_fill_the_way_to_a_peer_for_ever(promises: list[int]) -> None:
    """It tells of a position that was passed already, or is just being passed. What is sent again because of
    it is acknowledged a second time: that was no news, and its bytes counted as on their way ever after."""
    host = leader()
    bound(host.node.context, inflight_bytes=1)
    put(host, 1)
    for acknowledged_before in (True, False):
        if acknowledged_before:
            host.hear(B, an_ack(2))
        for position in promises:
            host.hear(B, a_promise(position))
    host.hear(B, an_ack(2))
    assert host.node.budget.in_flight[B] == 0
    sent = to(B, Append, host.hear(B, a_request(Kind.PUT, 2)))
    assert [len(append.entries) for append in sent] == [1]


# --- commitment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("durable_at", "committed"),
    [("ac", False), ("ad", False), ("ab", True), ("acd", True), ("bcd", True), ("bc", False), ("bd", False)],
)
def test_from_when_the_primary_learns_of_it_both_majorities_must_hold_an_entry(
    durable_at: str, committed: bool
) -> None:
    host = leader()
    host.take(map_of(JOINT, 8))
    host.hear(D, a_promise())
    host.hear(B, a_request(Kind.PUT, 1))
    for name in durable_at:
        if name == "a":
            host.sync()
        else:
            host.hear(NODES[name], an_ack(3))
    assert (host.replica.commit == 3) == committed


def test_an_entry_on_its_way_when_the_change_comes_needs_both_majorities_too() -> None:
    host = leader()
    index = put(host)
    host.take(map_of(JOINT, 8))
    host.hear(C, an_ack(index))
    assert host.replica.commit == 1
    host.hear(D, a_promise())
    host.hear(D, an_ack(index))
    assert host.replica.commit == index


@pytest.mark.parametrize(("version", "part"), [(9, STABLE), (9, a_part(A, (A, B, D)))], ids=["back", "on"])
def test_when_it_is_over_one_majority_is_enough_again(version: int, part: Partition) -> None:
    host = leader()
    host.take(map_of(JOINT, 8))
    host.hear(D, a_promise())
    host.sync()
    other = C if C in part.voters else D
    host.hear(other, an_ack(2))
    assert host.replica.commit == 1
    host.take(map_of(part, version))
    assert host.replica.commit == 2, "with what it knows already"


def test_the_change_is_settled_by_an_entry_that_was_appended_under_it() -> None:
    host = leader()
    assert not host.primary.settled, "there is none"
    before = put(host)
    host.take(map_of(JOINT, 8))
    assert host.replica.log.last_index == before + 1, "the barrier"
    host.sync()
    host.hear(B, an_ack(before))
    assert host.replica.commit == before
    assert not host.primary.settled, "what came before was, maybe, committed by the old voters alone"
    host.hear(B, an_ack(before + 1))
    assert host.primary.settled


def test_a_map_that_changes_nothing_here_adds_no_barrier() -> None:
    host = leader()
    host.take(map_of(JOINT, 8))
    barrier = host.replica.log.last_index
    part = a_part(A, (B, A, D), old_voters=(A, B, C), config=MapVersion(8))
    host.take(a_map(part, nodes=(A, B, C, D, E), version=9))
    assert host.replica.log.last_index == barrier, "the order of voters is no change of them"


def test_a_second_change_has_a_barrier_of_its_own() -> None:
    host = leader()
    host.take(map_of(JOINT, 8))
    host.sync()
    host.hear(B, an_ack(2))
    assert host.primary.settled
    host.take(map_of(STABLE, 9))
    assert not host.primary.settled
    host.take(map_of(a_part(A, (A, B, E), old_voters=(A, B, C)), 10))
    assert not host.primary.settled
    host.sync()
    host.hear(B, an_ack(3))
    assert host.primary.settled


def test_a_new_primary_settles_the_change_with_the_entry_of_its_epoch() -> None:
    host = Host(A)
    host.take(map_of(JOINT, 8))
    host.sync()
    host.hear(B, a_promise())
    host.sync()
    assert not host.primary.settled
    host.hear(B, an_ack(1))
    assert (host.primary.phase, host.primary.settled) == (Phase.ACTIVE, True)
    assert host.replica.log.last_index == 1


def test_what_is_said_names_the_config_that_it_is_true_of() -> None:
    host = leader()
    host.node.on_members([a_member(B, sequence=0), a_member(A, sequence=1)])
    host.take(map_of(LEARNER, 8))
    host.hear(D, a_promise())
    bound(host.node.context, log_entries=0)
    put(host)
    host.hear(D, an_ack(1))
    assert to(B, Report, host.tick(limits.LOOK_AFTER_MS)) == [], "d lacks an entry"
    host.hear(D, an_ack(2))
    (report,) = to(B, Report, host.tick(limits.LOOK_AFTER_MS))
    assert report == Report([(P, Epoch(3), MapVersion(8), Said.CAUGHT_UP, D)])
    host.take(map_of(JOINT, 9))
    assert to(B, Report, host.tick(limits.LOOK_AFTER_MS)) == []
    host.sync()
    host.hear(B, an_ack(3))
    (report,) = to(B, Report, host.tick(limits.LOOK_AFTER_MS))
    assert report == Report([(P, Epoch(3), MapVersion(9), Said.SETTLED, NO_NODE)])


# --- learners --------------------------------------------------------------------------------------------


def test_a_learners_acknowledgement_never_counts() -> None:
    host = leader()
    host.take(map_of(LEARNER, 8))
    host.hear(D, a_promise())
    index = put(host)
    host.hear(D, an_ack(index))
    assert host.primary.progress.match[D] == index, "it is known"
    assert host.replica.commit == 1
    host.hear(C, an_ack(index))
    assert host.replica.commit == index


def ask(host: Host) -> int:
    """Let b's client read; return the number of the Confirm round."""
    (confirm,) = to(C, Confirm, host.hear(B, a_request(Kind.GET, 0)))
    assert isinstance(confirm, Confirm)
    return confirm.round


def test_a_learners_confirmation_never_counts() -> None:
    host = leader()
    host.take(map_of(LEARNER, 8))
    yes = Confirmed(ask(host), [P, 3])
    assert to(B, Reply, host.hear(D, yes)) == []
    assert to(B, Reply, host.hear(C, yes)) != []


@pytest.mark.parametrize(("confirmed_by", "served"), [("c", False), ("d", False), ("b", True), ("cd", True)])
def test_while_joint_both_majorities_must_confirm_a_read(confirmed_by: str, served: bool) -> None:
    host = leader(JOINT)
    yes = Confirmed(ask(host), [P, 3])
    replies = [reply for name in confirmed_by for reply in to(B, Reply, host.hear(NODES[name], yes))]
    assert bool(replies) == served


def test_a_learner_is_told_of_and_sent_everything_from_where_it_stands() -> None:
    host = leader()
    sent = host.take(map_of(LEARNER, 8))
    assert sent == [(D, Prepare(P, Epoch(3)))], "nothing else before its promise"
    (append,) = to(D, Append, host.hear(D, a_promise()))
    assert isinstance(append, Append)
    assert (append.prev_index, len(append.entries), append.commit) == (0, 1, 1)


def test_an_empty_learner_is_sent_the_state_unless_the_log_is_short() -> None:
    host = leader()
    bound(host.node.context, log_bytes=4 * host.replica.log.entry_bytes)
    host.take(map_of(LEARNER, 8))
    assert to(D, Append, host.hear(D, a_promise())) != [], "the log is as short as that"
    put(host)
    host.hear(B, an_ack(2))
    host.hear(D, a_promise())
    offers = to(D, SnapshotOffer, host.turn())
    assert [offer.last_index for offer in offers] == [2]
    assert to(D, Append, host.hear(D, a_promise(2))) != [], "from there it is sent the log"


def test_a_voter_is_sent_the_log_as_far_as_it_reaches() -> None:
    """What is not committed is in no snapshot: without the voter it might never be."""
    host = leader()
    bound(host.node.context, log_bytes=1)
    assert to(B, Append, host.hear(B, a_promise())) != []


def test_who_becomes_a_learner_has_the_map_before_it_is_asked() -> None:
    host = leader()
    host.unsaid = (Heartbeat,)
    said = [type(message) for node, message in host.take(map_of(LEARNER, 8)) if node == D]
    assert said[:2] == [MapPush, Prepare]


def test_a_learner_that_was_never_heard_is_not_close() -> None:
    """Else it could vote without the promise of the map's epoch that it gives when it learns."""
    host = leader()
    host.take(map_of(LEARNER, 8))
    assert not host.primary.is_close(D)


def test_a_learner_is_close_when_it_lacks_but_a_little() -> None:
    host = leader()
    bound(host.node.context, log_entries=32)  # so that two entries are a little
    host.take(map_of(LEARNER, 8))
    host.hear(D, a_promise())
    for counter in range(1, 5):
        put(host, counter)
    host.hear(D, an_ack(2))
    assert not host.primary.is_close(D)
    host.hear(D, an_ack(3))
    assert host.primary.is_close(D)


# --- who is a replica no more ----------------------------------------------------------------------------


def test_a_late_word_of_who_was_removed_is_ignored() -> None:
    host = leader()
    host.take(map_of(JOINT, 8))
    host.hear(D, a_promise())
    host.sync()
    host.take(map_of(STABLE, 9))
    assert host.hear(D, an_ack(2)) == []
    assert host.hear(D, a_promise(2)) == []
    assert host.replica.commit == 1
    assert D not in host.primary.progress.match
    assert D not in host.primary.progress.next
    put(host)
    assert to(D, Append, host.tick(limits.LOOK_AFTER_MS)) == []


def test_who_comes_back_begins_from_nothing() -> None:
    host = leader()
    bound(host.node.context, log_entries=0)
    host.take(map_of(LEARNER, 8))
    host.hear(D, a_promise())
    host.hear(D, an_ack(1))
    assert host.primary.is_close(D)
    host.take(map_of(STABLE, 9))
    assert host.take(map_of(LEARNER, 10)) == [(D, Prepare(P, Epoch(3)))]
    assert not host.primary.is_close(D), "what it held may be deleted"
    (append,) = to(D, Append, host.hear(D, a_promise()))
    assert isinstance(append, Append)
    assert append.prev_index == 0


def test_an_acknowledgement_from_before_it_was_removed_does_not_count_when_it_comes_back() -> None:
    """It was on its way for long, and after it everything was deleted there."""
    host = leader()
    bound(host.node.context, log_entries=0)
    host.take(map_of(LEARNER, 8))
    host.hear(D, a_promise())
    host.take(map_of(STABLE, 9))
    host.take(map_of(LEARNER, 10))
    host.hear(D, an_ack(1))
    assert not host.primary.is_close(D), "its promise has not told yet where it stands"


def test_what_was_on_its_way_to_who_was_removed_takes_no_room() -> None:
    host = leader()
    host.take(map_of(LEARNER, 8))
    host.hear(D, a_promise())
    assert host.node.budget.in_flight[D] > 0
    host.take(map_of(STABLE, 9))
    assert host.node.budget.in_flight[D] == 0
