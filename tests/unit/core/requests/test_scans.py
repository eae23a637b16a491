"""Scans that take more turns than one, beside others."""

from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C, bound

from ringkeep.core.protocol.client_requests import ListRequest, Status


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
