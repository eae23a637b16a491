"""Reads of many keys at once: what a group tells, and what it leaves to single reads."""

import pytest
from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C, P, bound

from ringkeep.core.protocol.client_requests import Kind, ReadGroup, Request, Result, Status
from ringkeep.core.protocol.messages import ReadMany, Records
from ringkeep.core.protocol.types import NodeId
from ringkeep.core.requests.grouped_reads import UNTOLD


def asked(group: Group, *keys: bytes, through: NodeId = A) -> list[Result]:
    """Read keys through a node; return the results."""
    host = group.hosts[through]
    request = ReadGroup(list(keys))
    group.settle(host, host.turn(lambda: host.node.submit_reads(request)))
    group.tick(100)
    told = [results for each, results in host.groups if each is request]
    assert len(told) == 1 and len(told[0]) == len(keys), "it is answered once, each key"
    return told[0]


def alone(group: Group, through: NodeId = A) -> int:
    """How many keys were read alone so far."""
    return group.hosts[through].node.context.counters.get("read_alone", 0)


@pytest.fixture
def group() -> Group:
    made = Group(A, B, C)
    typed = Request(Kind.PUT, b"t", b"typed", b"a/b")
    lives = Request(Kind.PUT, b"l", b"lives", ttl_ms=60_000)
    made.ask(a_put(b"k", b"value"), typed, lives, a_put(b"e", b""))
    return made


@pytest.mark.parametrize("through", [A, B])
def test_a_group_is_told_at_once_in_order(group: Group, through: NodeId) -> None:
    found = asked(group, b"t", b"none", b"k", b"l", b"e", b"k", through=through)
    assert [(each.status, each.value, each.content_type) for each in found] == [
        (Status.FOUND, b"typed", b"a/b"), (Status.NOT_FOUND, b"", b""), (Status.FOUND, b"value", b""),
        (Status.FOUND, b"lives", b""), (Status.FOUND, b"", b""), (Status.FOUND, b"value", b""),
    ]  # fmt: skip
    assert [each.version for each in found[:3]] == [3, 0, 2]
    assert 0 < found[3].ttl_ms <= 60_000 and found[0].ttl_ms == 0
    assert {each.primary for each in found} == {found[0].primary} and found[0].primary
    assert alone(group, through) == 0


@pytest.mark.parametrize("through", [A, B])
def test_what_is_large_or_too_much_is_read_alone(group: Group, through: NodeId) -> None:
    for host in group.hosts.values():
        bound(host.node.context, bulk_bytes=20, page_bytes=8)
    group.ask(a_put(b"x", b"v" * 100))
    found = asked(group, b"x", b"k", b"t", b"l", through=through)
    assert [each.value for each in found] == [b"v" * 100, b"value", b"typed", b"lives"]
    assert alone(group, through) == 2, "the large one, and the last, when two had filled the answer"


def test_a_record_that_is_due_is_removed_by_a_read_of_its_own(group: Group) -> None:
    group.ask(Request(Kind.PUT, b"s", b"short", ttl_ms=50))
    group.tick(1_000)
    found = asked(group, b"s", b"k")
    assert [each.status for each in found] == [Status.NOT_FOUND, Status.FOUND]


def test_a_node_that_does_not_lead_tells_nothing(group: Group) -> None:
    host = group.hosts[B]
    question = ReadMany(7, 1_000, [P, 1, 1, P + 1, 1, 1], [b"k", b"t"])
    said = host.turn(lambda: host.node.on_question((A, group.hosts[A].node.context.incarnation), question))
    answers = [message for _, message in said if isinstance(message, Records)]
    assert [answer.versions for answer in answers] == [[UNTOLD, UNTOLD]]


def test_a_question_without_an_answer_is_given_up(group: Group) -> None:
    host = group.hosts[B]
    request = ReadGroup([b"k", b"none"])
    lost = host.turn(lambda: host.node.submit_reads(request))
    assert any(isinstance(message, ReadMany) for _, message in lost), "and it gets lost"
    group.tick(400)
    group.tick(400)
    assert [
        [each.status for each in results] for asked_for, results in host.groups if asked_for is request
    ] == [[Status.FOUND, Status.NOT_FOUND]]
    assert alone(group, B) == 2
