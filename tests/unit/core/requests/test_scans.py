"""Scans that take more turns than one, beside others."""

from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C, bound

from ringkeep.core.protocol.client_requests import Kind, ListRequest, Request, Status


def a_brief(key: bytes, ttl_ms: int) -> Request:
    return Request(Kind.PUT, key, b"v", ttl_ms=ttl_ms)


def test_scans_whose_time_is_over_before_their_turn_comes_are_forgotten() -> None:
    """On a busy node; the others are read to their end."""
    group = Group(A, B, C)
    leader, keys = group.hosts[A], [b"k%d" % n for n in range(20)]
    group.ask(*map(a_put, keys))
    bound(leader.node.context, scan_turn_rows=1)
    patient, brief = 30_000, 100
    requests = [ListRequest(timeout_ms=ms) for ms in (patient, brief, patient, brief)]
    left = leader.turn(*[lambda one=each: leader.node.submit_listing(one) for each in requests])
    group.settle(leader, left)
    late = leader.tick(brief)
    for _ in range(4 * len(keys)):
        group.settle(leader, late)
        late = leader.turn()
    answered = {id(request): page for request, page in leader.pages}
    found = [answered[id(each)] for each in requests]
    assert [page.status for page in found] == [Status.FOUND, Status.UNAVAILABLE] * 2
    assert [[item.key for item in page.items] for page in found[::2]] == [sorted(keys)] * 2


def test_the_log_is_told_the_time_once_for_all_that_is_due_and_not_removed_yet() -> None:
    """Not again for each listing: a crowd that waits for its removal would cost every listing a commit."""
    group = Group(A, B, C)
    leader = group.hosts[A]
    bound(leader.node.context, expired_in_tick=0)
    group.ask(a_brief(b"first", 50), a_brief(b"second", 60), a_brief(b"third", 5_000), a_put(b"stays"))

    def listed() -> tuple[list[bytes], int]:
        before, request = leader.replica.log.last_index, ListRequest(timeout_ms=1_000)
        group.settle(leader, leader.turn(lambda: leader.node.submit_listing(request)))
        group.tick(20)
        (page,) = [page for asked, page in leader.pages if asked is request]
        return [item.key for item in page.items], leader.replica.log.last_index - before

    group.tick(1_000)
    assert leader.replica.state.record(b"first") is not None, "nothing was removed"
    assert listed() == ([b"stays", b"third"], 1)
    assert listed() == ([b"stays", b"third"], 0)
    group.tick(5_000)
    assert listed() == ([b"stays"], 1)
    assert listed() == ([b"stays"], 0)
