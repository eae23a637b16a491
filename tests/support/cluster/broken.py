"""A node with one deliberate mistake, to show that the tests would see it: `broken.py MISTAKE node --name …`.

Each mistake is one that systems like this one are known for. Runs as a program of its own.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ringkeep.cli.main import main
from ringkeep.coordination.zookeeper import ZooKeeperCoordination
from ringkeep.core.control.controller import Controller
from ringkeep.core.protocol.client_requests import Kind, Result, Status
from ringkeep.core.protocol.entry import NO_ORIGIN, Entry, EntryKind, decode, encode
from ringkeep.core.replication.replica import Replica
from ringkeep.core.requests.coordinator import Coordinator

BARRIER_SLEEP_MS = 1_500


def puts_stored_by_the_owner_only() -> None:
    """Backups acknowledge what they do not store: a no-op takes the place of every PUT."""
    extend = Replica.extend

    def forgetful(self: Replica, prev_index: Any, entries: list[bytes]) -> Any:
        return extend(self, prev_index, [_without_put(each) for each in entries])

    Replica.extend = forgetful  # type: ignore[method-assign]


def _without_put(data: bytes) -> bytes:
    entry = decode(data)
    if entry.kind != EntryKind.PUT:
        return data
    return encode(Entry(EntryKind.NOOP, entry.epoch, entry.index, entry.log_time, NO_ORIGIN, 0, 0))


def barrier_that_is_a_sleep() -> None:
    """Whoever is there after a while forms the cluster."""
    form = Controller._form

    def impatient(self: Controller) -> None:
        since = self.__dict__.setdefault("since", {}).setdefault(len(self.members), self._context.now)
        if self._context.now - since > BARRIER_SLEEP_MS:
            self.members = [replace(m, expect=len(self.members)) for m in self.members]
        form(self)

    Controller._form = impatient  # type: ignore[method-assign]


def expired_session_not_renewed() -> None:
    """A node registers in its first session, and never again."""
    settle = ZooKeeperCoordination._settle_registration

    async def once(self: ZooKeeperCoordination, session: int) -> bool:
        first = self.__dict__.setdefault("first_session", session)
        return session == first and await settle(self, session)

    ZooKeeperCoordination._settle_registration = once  # type: ignore[method-assign]


def forwarded_get_always_found() -> None:
    """A missing key that another node looked for is an empty value."""
    on_reply = Coordinator.on_reply

    def confident(self: Coordinator, reply: Any) -> None:
        request, current = self._requests.get(reply.tag >> 16), self._context.cluster_map
        forwarded = (
            request is not None
            and request.kind == Kind.GET
            and current is not None
            and current.partitions[request.partition].primary != self._context.me
        )
        if forwarded and reply.status == Status.NOT_FOUND:
            reply.status = Status.FOUND
        on_reply(self, reply)

    Coordinator.on_reply = confident  # type: ignore[method-assign]


def forward_without_timeout() -> None:
    """What was forwarded is waited for, for ever."""
    Coordinator._expire = lambda self, request: None  # type: ignore[method-assign]


def timed_out_write_called_failed() -> None:
    """No answer in time is taken for a no."""

    def hasty(self: Coordinator, request: Any) -> None:
        self._finish(request, Result(Status.UNAVAILABLE, detail="it did not work"))

    Coordinator._expire = hasty  # type: ignore[method-assign]


MISTAKES: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        puts_stored_by_the_owner_only,
        barrier_that_is_a_sleep,
        expired_session_not_renewed,
        forwarded_get_always_found,
        forward_without_timeout,
        timed_out_write_called_failed,
    )
}

if __name__ == "__main__":
    MISTAKES[sys.argv.pop(1)]()
    main()
