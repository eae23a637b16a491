"""New clients do not wait for turns of the loop: one turn accepts many of them."""

import asyncio
import errno
import socket
import time
from collections.abc import Callable

import pytest
import uvloop
from tests.support.http.host import Host
from tests.support.http.wire import Wire

from ringkeep.http import acceptor as module
from ringkeep.http.acceptor import ACCEPTED_PER_TURN, Acceptor

CLIENTS = 100
TURN_S = 0.002
LOOPS = pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])


class Accepted(asyncio.Protocol):
    """Notes its transport, and says who came."""

    def __init__(self, came: "list[Accepted]") -> None:
        self.came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.came.append(self)


async def arrive(clients: int) -> tuple[list[int], list[Accepted]]:
    """Let clients come at once to a loop whose turns are long; return how many there were after each turn."""
    loop = asyncio.get_running_loop()
    came: list[Accepted] = []
    acceptor = Acceptor(loop, lambda: Accepted(came))
    port = acceptor.listen(["127.0.0.1"], 0, 1_024)
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
    seen: list[int] = []
    deadline = time.monotonic() + 10
    while len(came) < clients and time.monotonic() < deadline:
        time.sleep(TURN_S)
        await asyncio.sleep(0)
        seen.append(len(came))
    acceptor.close()
    for each in sockets:
        each.close()
    return seen, came


@LOOPS
def test_one_turn_accepts_many(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        seen, came = runner.run(arrive(CLIENTS))
        assert len(came) == CLIENTS
        assert len(seen) < CLIENTS / 5, "not one in each turn"
        steps = [after - before for before, after in zip([0, *seen], seen, strict=False)]
        assert max(steps) <= ACCEPTED_PER_TURN, "and others get their turn"


@LOOPS
def test_small_answers_are_not_held_back(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Nagle's algorithm would let an answer wait for the acknowledgement of the one before."""

    async def option() -> int:
        _, came = await arrive(1)
        accepted: socket.socket = came[0].transport.get_extra_info("socket")
        return accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(option())


def test_without_descriptors_it_looks_again_later(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[float] = []
    accept = socket.socket.accept

    def fail_at_first(listening: socket.socket) -> object:
        if len(failed) < 2:
            failed.append(time.monotonic())
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    monkeypatch.setattr(module, "FULL_PAUSE_S", 0.05)
    monkeypatch.setattr(socket.socket, "accept", fail_at_first)
    with Wire(host.url) as wire:
        assert wire.request("GET", "/livez").status == 200
    assert failed[1] - failed[0] >= 0.05, "it does not spin meanwhile"
