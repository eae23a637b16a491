"""A voter that was started again with less than it held: a primary that remembers notices it."""

import pytest
from tests.support.core.parts import A, B, C, Host, P, a_part, a_promise, an_ack, map_of, to

from ringkeep.core.protocol.entry import EntryKind
from ringkeep.core.protocol.hot_messages import Acks, Append, Confirm
from ringkeep.core.protocol.messages import Lost, Message, Prepare, Promise
from ringkeep.core.protocol.types import Epoch, Incarnation, Index, NodeId
from ringkeep.core.replication.primary import Phase


def hear(host: Host, peer: NodeId, life: int, *messages: Message) -> list[tuple[NodeId, Message]]:
    return host.turn(lambda: host.node.on_messages(peer, Incarnation(life), list(messages)))


def leading(*, acked: int = 1) -> Host:
    """a leads under epoch 3; b has acknowledged entries up to that one, c said where it stands."""
    host = Host(A)
    host.take(map_of(a_part(A), 8))
    host.sync()
    for peer in (B, C):
        hear(host, peer, 1, a_promise())
    host.sync()
    while host.replica.log.last_index < acked:
        host.turn(lambda: host.primary.append_own(EntryKind.NOOP))
        host.sync()
    hear(host, B, 1, an_ack(acked))
    assert host.phase() == Phase.ACTIVE
    return host


def test_a_promise_below_what_was_acknowledged_is_not_counted() -> None:
    host = leading(acked=3)
    for _ in range(2):  # and is no better when it is repeated
        said = hear(host, B, 2, a_promise(2))
        assert said == [(B, Lost(P, Epoch(3), Epoch(3), Index(3)))], "no Append: it is not filled like this"
    assert host.primary.progress.match.get(B) is None
    host.turn(lambda: host.primary.append_own(EntryKind.NOOP))
    host.sync()
    hear(host, B, 2, an_ack(4))
    assert host.replica.commit == 3, "what it says counts for nothing"
    assert hear(host, B, 3, a_promise(2)) == [(B, Lost(P, Epoch(3), Epoch(3), Index(3)))]


@pytest.mark.parametrize("last", [3, 4])
def test_who_was_started_again_with_all_of_it_goes_on(last: int) -> None:
    host = leading(acked=3)
    host.turn(lambda: host.primary.append_own(EntryKind.NOOP))
    assert to(B, Append, hear(host, B, 2, a_promise(last)))
    assert not to(B, Lost, hear(host, B, 2, a_promise(3))), "of one life, an older answer may come late"


def test_a_promise_that_its_acknowledgement_overtook_lacks_nothing() -> None:
    """Both are of its new life: what it acknowledged came after what it had promised (seed 7130)."""
    host = leading(acked=3)
    host.turn(lambda: host.primary.append_own(EntryKind.NOOP))
    host.sync()
    hear(host, B, 2, an_ack(4))
    assert host.replica.commit == 3, "where this life stands is not known yet"
    assert not to(B, Lost, hear(host, B, 2, a_promise(3)))
    hear(host, B, 2, an_ack(4))
    assert host.replica.commit == 4


def test_a_longer_log_of_an_older_epoch_lacks_it_too() -> None:
    host = leading(acked=3)
    assert to(B, Lost, hear(host, B, 2, a_promise(9, last_epoch=2)))


def test_what_was_promised_while_taking_over_is_remembered_as_well() -> None:
    host = Host(A)
    host.take(map_of(a_part(A), 8))
    hear(host, B, 1, a_promise(5, last_epoch=2))
    assert to(B, Lost, hear(host, B, 2, a_promise(4, last_epoch=2)))
    host.sync()
    assert host.phase() == Phase.PREPARING, "b is not of its majority any more"
    hear(host, C, 1, a_promise())
    assert host.phase() == Phase.STARTING


def test_a_log_that_is_being_fetched_from_who_lost_it_is_looked_for_again() -> None:
    host = Host(A)
    host.take(map_of(a_part(A), 8))
    host.sync()
    hear(host, B, 1, a_promise(5, last_epoch=2))
    assert host.phase() == Phase.FETCHING
    hear(host, B, 2, a_promise(4, last_epoch=2))
    assert host.phase() == Phase.PREPARING


def test_who_is_told_has_no_vote_from_that_turn_on() -> None:
    host = Host(B)
    host.take(map_of(a_part(A), 8))
    hear(host, A, 1, Prepare(P, Epoch(3)))
    assert to(A, Promise, host.sync())
    hear(host, A, 1, Append(P, Epoch(3), Epoch(0), Index(0), Index(0), []))
    waiting = hear(host, A, 1, Prepare(P, Epoch(3)))
    host.turn(lambda: host.node.on_messages(A, Incarnation(1), [Lost(P, Epoch(3), Epoch(3), Index(7))]))
    assert host.node.context.damaged
    assert host.damage.startswith("the data of this node is older than what it held: of partition 0")
    assert not to(A, Acks, host.sync() + waiting), "what waited for its sync is not said any more"
    assert hear(host, A, 1, Prepare(P, Epoch(3)), Confirm(1, [P, 3])) == []


def test_only_the_primary_that_is_followed_is_believed() -> None:
    host = Host(B)
    host.take(map_of(a_part(A), 8))
    hear(host, A, 1, Prepare(P, Epoch(3)))
    host.sync()
    for peer, life, epoch in ((C, 1, 3), (A, 2, 3), (A, 1, 2)):
        hear(host, peer, life, Lost(P, Epoch(epoch), Epoch(2), Index(7)))
        assert not host.node.context.damaged
