"""How a request ends: applied, not applied, or unknown, and never the one for the other."""

import pytest
from tests.support.core.parts import A, B, C, Notes, a_context, a_map, a_part, sent

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Kind, Request, Status
from ringkeep.core.protocol.hot_messages import RETRY, Forward, Reply
from ringkeep.core.protocol.types import Epoch, Incarnation, PartitionId
from ringkeep.core.requests.coordinator import Coordinator


class World:
    """A coordinator on node a; b leads epoch 3."""

    def __init__(self, linked: bool = True) -> None:
        self.context = a_context(A)
        self.context.cluster_map = a_map(a_part(B))
        if linked:
            self.context.links = {B: Incarnation(1), C: Incarnation(1)}
        self.own = Notes()
        self.coordinator = Coordinator(self.context, self.own)
        self.coordinator.names = {B: "b", C: "c"}

    def submit(self, kind: Kind = Kind.PUT, **fields: object) -> Request:
        request = Request(kind, b"k", b"v", **fields)  # type: ignore[arg-type]  # of a request
        self.coordinator.submit(request)
        return request

    def copies(self) -> list[Forward]:
        return sent(self.context, Forward)

    def only_copy(self) -> Forward:
        (copy,) = self.copies()
        return copy

    def fail_over(self, epoch: int = 4) -> None:
        self.context.cluster_map = a_map(a_part(C, epoch=Epoch(epoch)), version=8)
        self.coordinator.on_map([PartitionId(0)])

    def reply(self, copy: Forward, status: int, active: bool = True, version: int = 0) -> None:
        self.coordinator.on_reply(Reply(copy.tag, copy.epoch, status, active, version))

    def expire(self) -> None:
        self.pass_time(limits.TIMEOUT_MS + limits.REPLY_GRACE_MS + 200)

    def pass_time(self, by: int) -> None:
        for _ in range(0, by, limits.TICK_MS):
            self.context.now += limits.TICK_MS
            self.coordinator.on_tick()

    def ended(self) -> tuple[Status, int] | None:
        """The one answer of this turn."""
        answers = self.context.effects.answers
        assert len(answers) <= 1
        return (answers[0][1].status, answers[0][1].version) if answers else None


def test_the_primarys_answer_is_the_clients() -> None:
    world = World()
    request = world.submit()
    (copy,) = world.copies()
    assert (copy.epoch, copy.counter, copy.low, copy.key, copy.value) == (3, 1, 1, b"k", b"v")
    world.reply(copy, Status.CREATED, version=7)
    assert world.ended() == (Status.CREATED, 7)
    assert request.finished
    assert world.context.effects.answers[0][1].primary == "b"


def test_what_was_never_sent_was_not_applied() -> None:
    world = World(linked=False)
    world.submit()
    assert world.copies() == []
    world.expire()
    assert world.ended() == (Status.UNAVAILABLE, 0)


def test_a_life_that_is_not_the_maps_gets_nothing() -> None:
    world = World()
    world.context.links[B] = Incarnation(2)
    world.submit()
    assert world.copies() == []


def test_a_write_without_an_answer_is_unknown_and_a_read_is_not() -> None:
    for kind, status in (
        (Kind.PUT, Status.UNKNOWN),
        (Kind.DELETE, Status.UNKNOWN),
        (Kind.GET, Status.UNAVAILABLE),
    ):
        world = World()
        world.submit(kind)
        assert len(world.copies()) == 1
        world.expire()
        assert world.ended() == (status, 0)


def test_nothing_ends_before_its_deadline() -> None:
    world = World()
    world.submit()
    world.pass_time(limits.TIMEOUT_MS)
    assert world.ended() is None


def test_retry_settles_no_other_copy_whoever_says_it() -> None:
    """Also an ACTIVE primary may not know any more what became of older copies: it did not look."""
    world = World()
    world.submit()
    world.only_copy()
    world.fail_over()
    world.reply(world.only_copy(), RETRY)
    world.context.links.clear()
    world.expire()
    assert world.ended() == (Status.UNKNOWN, 0), "the first copy may have been applied"


def test_retry_is_sent_again_and_alone_ends_as_not_applied() -> None:
    world = World()
    world.submit()
    world.reply(world.only_copy(), RETRY, active=False)
    world.pass_time(2 * limits.TICK_MS)
    (again,) = world.copies()
    assert again.counter == 1, "the same request, by its id"
    world.reply(again, RETRY, active=False)
    world.context.links.clear()
    world.expire()
    assert world.ended() == (Status.UNAVAILABLE, 0), "every copy was turned away"


def test_a_copy_that_was_turned_away_says_nothing_of_an_earlier_one() -> None:
    world = World()
    world.submit()
    world.copies()
    world.coordinator.on_link(B)
    (second,) = world.copies()
    world.reply(second, RETRY, active=False)
    world.context.links.clear()
    world.expire()
    assert world.ended() == (Status.UNKNOWN, 0), "the first copy may stand in a log"


def test_retry_is_sent_again_though_an_older_epochs_copy_is_open() -> None:
    world = World()
    world.submit()
    world.copies()
    world.fail_over()
    world.reply(world.only_copy(), RETRY, active=False)
    world.pass_time(2 * limits.TICK_MS)
    assert [copy.epoch for copy in world.copies()] == [4]


@pytest.mark.parametrize(
    "status", [Status.CONDITION_FAILED, Status.NOT_FOUND, Status.BUSY, Status.UNAVAILABLE, Status.DONE]
)
def test_an_older_copys_no_does_not_settle_a_newer_one(status: Status) -> None:
    """A batch that is DONE without a version has changed nothing."""
    world = World()
    world.submit()
    (first,) = world.copies()
    world.fail_over()
    (second,) = world.copies()
    world.reply(first, status)
    assert world.ended() is None, "the copy of epoch 4 may still run"
    assert world.context.counters["answer_not_final"] == 1
    world.reply(second, Status.CREATED, version=9)
    assert world.ended() == (Status.CREATED, 9)


def test_a_yes_is_final_whatever_else_is_open() -> None:
    world = World()
    world.submit()
    (first,) = world.copies()
    world.fail_over()
    world.reply(first, Status.CREATED, version=5)
    assert world.ended() == (Status.CREATED, 5)


def test_an_active_primary_settles_lower_epochs_and_another_does_not() -> None:
    for active, ended in ((True, (Status.BUSY, 0)), (False, None)):
        world = World()
        world.submit()
        world.copies()
        world.fail_over()
        world.reply(world.only_copy(), Status.BUSY, active=active)
        assert world.ended() == ended


def test_an_answer_settles_the_earlier_copies_of_its_epoch() -> None:
    world = World()
    world.submit()
    world.copies()
    world.coordinator.on_link(B)
    world.reply(world.only_copy(), Status.CONDITION_FAILED, version=3)
    assert world.ended() == (Status.CONDITION_FAILED, 3)


def test_the_lowest_unfinished_counter_rides_on_every_write() -> None:
    world = World()
    for _ in range(3):
        world.submit()
    first, second, third = world.copies()
    assert [copy.low for copy in (first, second, third)] == [1, 1, 1]
    world.reply(second, Status.CREATED)
    world.submit()
    assert [(copy.counter, copy.low) for copy in world.copies()] == [(4, 1)]
    world.reply(first, Status.CREATED)
    world.submit()
    assert [(copy.counter, copy.low) for copy in world.copies()] == [(5, 3)]


def test_a_request_is_answered_once() -> None:
    world = World()
    world.submit()
    (copy,) = world.copies()
    world.reply(copy, Status.CREATED, version=7)
    world.reply(copy, Status.CREATED, version=7)
    world.expire()
    assert len(world.context.effects.answers) == 1


def test_a_primary_on_this_node_is_asked_without_a_link() -> None:
    world = World(linked=False)
    world.context.cluster_map = a_map(a_part(A))
    world.submit()
    assert [copy.epoch for copy in world.own.forwards] == [3]
