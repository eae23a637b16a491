"""A write that is repeated under its client's own key gets the first result, with the value that it had."""

import pytest
from tests.support.core.group import Group, a_put
from tests.support.core.parts import A, B, C

from ringkeep.core.protocol.client_requests import Kind, Request, Result, Status
from ringkeep.core.state.operations import pack_numbers


def answered(group: Group, request: Request) -> Result:
    group.ask(request)
    return next(result for asked, result in group.hosts[A].answers if asked is request)


@pytest.mark.parametrize(
    ("kind", "argument", "status", "value"),
    [
        (Kind.ADD, pack_numbers(2, 0), Status.REPLACED, b"42"),
        (Kind.APPEND, b"0", Status.REPLACED, b"400"),
        (Kind.SWAP, b"new", Status.REPLACED, b"40"),
        (Kind.TAKE, b"", Status.DELETED, b"40"),
    ],
)
def test_a_replay_has_the_first_value(kind: Kind, argument: bytes, status: Status, value: bytes) -> None:
    group = Group(A, B, C)
    answered(group, a_put(b"k", b"40"))
    first = answered(group, a_put(b"k", argument, b"own", kind))
    assert (first.status, first.value) == (status, value)
    answered(group, a_put(b"k", b"something else"))
    again = answered(group, a_put(b"k", argument, b"own", kind))
    assert (again.status, again.version, again.value) == (status, first.version, value)
