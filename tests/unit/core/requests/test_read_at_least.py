"""A read that wants a version waits until the partition has reached it, or says at its deadline why not."""

from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C

from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status


def a_get(key: bytes, at_least: int) -> Request:
    return Request(Kind.GET, key, at_least=at_least, timeout_ms=1_000)


def answer_to(group: Group, request: Request) -> Result | None:
    return next((result for asked, result in group.hosts[A].answers if asked is request), None)


def answered(group: Group, request: Request) -> Result:
    group.ask(request)
    result = answer_to(group, request)
    assert result is not None
    return result


def test_a_version_that_comes_is_waited_for() -> None:
    group = Group(A, B, C)
    version = answered(group, a_put(b"a")).version
    assert answered(group, a_get(b"a", version)).status is Status.FOUND
    early = a_get(b"a", version + 1)
    group.ask(early)
    assert answer_to(group, early) is None
    group.ask(a_put(b"a", b"newer"))
    result = answer_to(group, early)
    assert result is not None and (result.value, result.version) == (b"newer", version + 1)


def test_a_deleted_key_is_as_new_as_its_delete() -> None:
    group = Group(A, B, C)
    group.ask(a_put(b"a"))
    deleted = answered(group, a_put(b"a", b"", kind=Kind.DELETE)).version
    assert answered(group, a_get(b"a", deleted)).status is Status.NOT_FOUND


def test_a_version_beyond_reach_is_told_at_the_deadline_and_not_before() -> None:
    group = Group(A, B, C)
    version = answered(group, a_put(b"a")).version
    beyond = a_get(b"a", version + 1_000)
    group.ask(beyond, after_ms=900)
    assert answer_to(group, beyond) is None
    group.tick(200)
    group.tick()
    result = answer_to(group, beyond)
    assert result is not None and result.status is Status.UNAVAILABLE
    assert f"is at version {version}, and has not reached {version + 1_000}" in result.detail


def test_a_record_that_is_due_once_the_version_came_is_removed_before_the_answer() -> None:
    group = Group(A, B, C)
    leader = group.hosts[A]
    brief = Request(Kind.PUT, b"a", b"brief", ttl_ms=200)
    version = answered(group, brief).version
    read = a_get(b"a", version + 1)
    group.settle(leader, leader.turn(lambda: leader.node.submit(read)))
    leader.node.context.now += 150
    group.settle(leader, leader.turn(lambda: leader.node.submit(a_put(b"b"))))
    group.tick()
    result = answer_to(group, read)
    assert result is not None and result.status is Status.NOT_FOUND
