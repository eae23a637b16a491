"""Every message has a part of the node that hears it."""

from tests.support.core.parts import A, Host

from ringkeep.core.dispatch import Dispatch
from ringkeep.core.protocol.messages import Message


def test_every_message_is_heard() -> None:
    heard = Dispatch(Host(A).node)._handlers
    assert set(heard) == set(Message.__args__)
