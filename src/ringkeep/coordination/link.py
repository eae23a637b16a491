"""Connects one kazoo client to the event loop: requests are awaited, states and watches arrive as calls.

kazoo has its own threads. All code that runs in them is here: each callback passes its result to the loop and
returns, because a callback that waits for ZooKeeper would wait for ever. Knows nothing of what is stored.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import KazooState, KeeperState

from ringkeep.coordination.attempts import Attempts
from ringkeep.errors import ConfigurationError

RETRY: Final = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 1.0}
"""Delays between attempts to connect, in seconds: short at first, and never long, so that recovery is
quick."""

CONDITIONS: Final = (BadVersionError, NodeExistsError, NoNodeError, RolledBackError, RuntimeInconsistency)
"""Errors of a transaction's steps when another process changed the znodes first."""

log = logging.getLogger("ringkeep.coordination")


def split_path(hosts: str) -> tuple[str, str]:
    """Return the servers of "HOST:PORT,HOST:PORT/some/place", and the path: "" if there is none.

    We prefix every path with it ourselves. kazoo's own chroot would need the path to exist, but for its last
    part.
    """
    servers, _, path = hosts.partition("/")
    return servers, f"/{path}".rstrip("/")


def new_client(servers: str, session_ms: int, attempts: Attempts | None = None) -> Any:
    """Return a client that is not started. Raises ConfigurationError if these are not servers."""
    logger = (attempts or Attempts()).logger
    try:
        return KazooClient(
            hosts=servers, timeout=session_ms / 1000, connection_retry=dict(RETRY), logger=logger
        )
    except Exception as error:  # kazoo passes on any exception of its parsing
        raise ConfigurationError(f"not a list of ZooKeeper servers: {servers!r} ({error})") from error


def in_thread(loop: asyncio.AbstractEventLoop, work: Callable[[], bool]) -> "asyncio.Future[bool]":
    """Run `work` in a thread of its own, which the end of the process does not wait for."""
    future: asyncio.Future[bool] = loop.create_future()

    def settle(result: bool) -> None:
        if not future.done():
            future.set_result(result)

    def run() -> None:
        result = work()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="zookeeper", daemon=True).start()
    return future


def end(client: Any) -> bool:
    """Close the client's session and release what it holds. May block for many seconds, hence in a thread."""
    try:
        client.stop()
        client.close()
    except Exception as error:  # whatever it is, nothing more can be done
        log.debug("closing the ZooKeeper client: %s", error)
        return False
    return True


class Link:
    """The connection to ZooKeeper, for the whole life of a node.

    Calls, on the loop: `connected(session id)`, `lost(expired)`, `watch(path)`; nothing after `stop` began.
    """

    def __init__(
        self,
        servers: str,
        session_ms: int,
        loop: asyncio.AbstractEventLoop,
        *,
        connected: Callable[[int], None],
        lost: Callable[[bool], None],
        watch: Callable[[str], None],
    ) -> None:
        self._servers = servers
        self._session_ms = session_ms
        self._loop = loop
        self._connected = connected
        self._lost = lost
        self._watch = watch
        self._new_client()
        self._stopping = False

    @property
    def client(self) -> Any:
        """The kazoo client at present, for making transactions, and for tests that end its session."""
        return self._client

    @property
    def trouble(self) -> str:
        """Why the present client has no connection, as far as it is known."""
        return self._attempts.cause

    def _new_client(self) -> None:
        self._attempts = Attempts()
        self._client = new_client(self._servers, self._session_ms, self._attempts)

    def start(self) -> None:
        """Begin to connect, and retry until `stop`. Does not block: kazoo connects in its threads."""
        self._client.add_listener(partial(self._on_state, self._client))
        self._client.start_async()

    def renew(self) -> None:
        """Replace a client that will never connect again.

        Either its thread has ended (because of malformed bytes, or of a refused authentication). Or servers
        turn it away: it sends the last transaction id that it saw, and a ZooKeeper that was wiped or restored
        from an older copy refuses a client that has seen a later one. A new client has seen none, and gets a
        new session.
        """
        old = self._client
        died = old.client_state in (KeeperState.CLOSED, KeeperState.AUTH_FAILED)
        outlived = old.last_zxid > 0 and self._attempts.turned_away
        if not self._stopping and (died or outlived):
            self._new_client()
            in_thread(self._loop, lambda: end(old))
            self.start()

    async def stop(self, deadline_s: float) -> bool:
        """End the session. Return whether that was done in time; if not, a thread continues with it."""
        self._stopping = True
        client = self._client
        ended = in_thread(self._loop, lambda: end(client))
        await asyncio.wait([ended], timeout=deadline_s)
        return ended.done() and ended.result()

    async def request(self, method: str, *arguments: Any) -> Any:
        """Call one of the client's `*_async` methods and return its result, or raise its KazooException."""
        return await self.result(getattr(self._client, method)(*arguments))

    async def result(self, pending: Any) -> Any:
        """Wait for a kazoo result on the loop.

        Cancel the waiting task when the connection is lost: kazoo may forget requests without an answer when
        its session expires.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        pending.rawlink(partial(self._hand_over, future))
        return await future

    async def create(self, path: str, content: bytes = b"", **flags: bool) -> None:
        """Create a znode, and what is missing above it. Raises KazooException, as NodeExistsError."""
        try:
            await self.result(self._client.create_async(path, content, **flags))
        except NoNodeError:
            await self.request("ensure_path_async", path.rpartition("/")[0])
            await self.result(self._client.create_async(path, content, **flags))

    async def commit(self, *steps: Callable[[Any], None]) -> bool:
        """Carry out all steps or none; return whether they were carried out. Raises errors that are not in
        CONDITIONS: NoAuthError."""
        change = self._client.transaction()
        for step in steps:
            step(change)
        results = await self.result(change.commit_async())
        failed = [result for result in results if isinstance(result, Exception)]
        for error in failed:
            if not isinstance(error, CONDITIONS):
                raise error
        return not failed

    def on_watch(self, event: Any) -> None:
        """The callback to arm watches with. kazoo keeps it once per znode, however often it is armed."""
        if event.path is not None:  # without a path it only says that the connection was lost
            self._to_loop(self._deliver_watch, event.path)

    # --- in kazoo's threads ---------------------------------------------------------------------------

    def _hand_over(self, future: "asyncio.Future[Any]", pending: Any) -> None:
        self._to_loop(_settle, future, pending)

    def _on_state(self, client: Any, state: str) -> None:
        session = client.client_id[0] if state == KazooState.CONNECTED and client.client_id else 0
        self._to_loop(self._deliver_state, client, state, session)

    def _to_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(callback, *arguments)

    # --- on the loop ----------------------------------------------------------------------------------

    def _deliver_state(self, client: Any, state: str, session: int) -> None:
        if self._stopping or client is not self._client:
            return
        if state == KazooState.CONNECTED:
            self._connected(session)
        else:
            self._lost(state == KazooState.LOST)

    def _deliver_watch(self, path: str) -> None:
        if not self._stopping:
            self._watch(path)


def _settle(future: "asyncio.Future[Any]", pending: Any) -> None:
    if future.done():  # cancelled: the connection was lost
        return
    if pending.exception is not None:
        future.set_exception(pending.exception)
    else:
        future.set_result(pending.value)


async def check_reachable(hosts: str, timeout_s: float) -> bool:
    """Whether a ZooKeeper of `hosts` opens a session for us within `timeout_s`.

    Raises ConfigurationError if `hosts` is not a list of servers.
    """
    loop = asyncio.get_running_loop()
    client = new_client(split_path(hosts)[0], session_ms=4_000)
    reached = await in_thread(loop, lambda: bool(client.start_async().wait(timeout_s)))
    in_thread(loop, lambda: end(client))
    return reached
