"""The coordination port over ZooKeeper: members, barrier, map and marks under /ringkeep/<cluster>/.

It reconciles states instead of following events: one task per connection reads the znodes, reports them to
the sink, and corrects the difference to what this process wants (its registration, the barrier). Then it
waits for a watch, a request or the end of the connection, and reads again. So a lost answer, a repeated
create or a new session need no special cases. Knows nothing of what the map means.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionLoss,
    InvalidACLError,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)

from ringkeep.admission import Mark
from ringkeep.coordination.codec import encode_member
from ringkeep.coordination.link import Link, check_reachable, split_path
from ringkeep.coordination.marks import Marks
from ringkeep.coordination.view import NAME_PREFIX, NO_MAP, View
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.limits import MAP_BYTES
from ringkeep.core.protocol.types import NodeId
from ringkeep.errors import ConfigurationError
from ringkeep.ports import CoordinationEvents

__all__ = ["ZooKeeperCoordination", "check_reachable"]

RETRY_S: Final = 0.25  # after an unexpected error, before reading again
LONGEST_RETRY_S: Final = 2.0  # while such errors continue
LOOKING: Final = "the cluster's znodes cannot be read or created"
WRITING: Final = "the cluster map cannot be written"
MARKING: Final = "this node's mark cannot be read or written"

REFUSALS: Final = {
    NoAuthError: "access is denied by its ACL",
    InvalidACLError: "the ACL is not valid there",
    AuthFailedError: "authentication failed",
}
UPDATE_SPREAD_S: Final = 0.05
"""Times the number of members: the least time between two updates of our registration. Every member reads
every update, so without a bound n members that update at once would cost n² reads."""

log = logging.getLogger("ringkeep.coordination")


class ZooKeeperCoordination:
    """One node's handle. Runs on the given loop; the methods of the port may be called before `start`.

    `hosts` is "HOST:PORT,HOST:PORT/some/place"; the path is created if it is not there. Raises
    ConfigurationError for a malformed `hosts` or `cluster`.
    """

    def __init__(
        self,
        hosts: str,
        cluster: str,
        loop: asyncio.AbstractEventLoop,
        sink: CoordinationEvents,
        session_ms: int,
    ) -> None:
        if not cluster or "/" in cluster or cluster in (".", "..") or not cluster.isprintable():
            raise ConfigurationError(f"not a cluster name that ZooKeeper can hold: {cluster!r}")
        self._hosts = hosts
        self._loop = loop
        self._sink = sink
        self.session_ms = session_ms
        servers, path = split_path(hosts)
        self._link = Link(
            servers, session_ms, loop, connected=self._on_connected, lost=self._on_lost, watch=self._on_watch
        )
        self._view = View(self._link, f"{path}/ringkeep/{cluster}", sink)
        self._marks = Marks(self._link, self._view.base, sink, self._note_mark)
        self._process = uuid.uuid4().hex
        self._member: Member | None = None
        self._give_up: list[str] = []  # registrations to replace by one with the highest sequence number
        self._writes: deque[tuple[int, bytes]] = deque()  # unanswered; the first one may have been sent
        self._update_after_s = 0.0  # on the loop's clock
        self._look = asyncio.Event()
        self._write = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []  # of this connection; none without one
        self._silence: asyncio.TimerHandle | None = None  # runs while there is no connection
        self._reported_lost = False
        self._refused: dict[str, str] = {}  # what ZooKeeper refuses over this connection, and why
        self._logged = ""  # the trouble that was logged last; "" once everything could be read since
        self._useful = False  # everything could be read over this connection
        self._stopped = False

    # --- the port -------------------------------------------------------------------------------------

    def announce(self, member: Member) -> None:
        self._member = member
        self._look.set()

    def reregister(self) -> None:
        self._give_up = self._view.own(self._process)
        self._look.set()

    def write_map(self, expected: int, payload: bytes) -> None:
        if not self._tasks or not self._view.map_is_known:
            self._loop.call_soon(self._report_written, False)  # it was not sent
            return
        self._writes.append((expected, payload))
        self._write.set()

    def read_mark(self, node: NodeId) -> None:
        self._marks.request(node)

    def write_mark(self, node: NodeId, expected: int, mark: Mark) -> None:
        self._marks.request(node, expected, mark)

    def refresh(self) -> None:
        self._view.renew()
        self._look.set()

    # --- life -----------------------------------------------------------------------------------------

    @property
    def client(self) -> Any:
        """The kazoo client at present: for tests that interfere with its session."""
        return self._link.client

    @property
    def trouble(self) -> str:
        """Why this node cannot use ZooKeeper at present, for people; "" if it can, or if nothing is known.

        All attempts and requests are repeated without end: this is the last cause.
        """
        if self._refused:
            return "; ".join(f"{what}: {why}" for what, why in self._refused.items())
        return self._logged if self._tasks else self._link.trouble or self._logged

    def start(self) -> None:
        """Begin to connect, and retry until it succeeds. Never blocks."""
        self._await_connection()
        self._link.start()

    async def leave_mark(self, node: NodeId, expected: int, mark: Mark, deadline_s: float = 2.0) -> bool:
        """Write a node's mark for the last time, right before `stop`; return whether that is certain."""
        if not self._tasks:
            return False
        self._end_tasks()
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._marks.leave(node, expected, mark), deadline_s)
        return False

    async def stop(self, deadline_s: float = 5.0) -> bool:
        """End the session, and with it the registration; no event follows. Returns by the deadline: False if
        ZooKeeper did not confirm, so that the registration may last as long as the session."""
        self._stopped = True
        self._end_tasks()
        if self._silence is not None:
            self._silence.cancel()
        return await self._link.stop(deadline_s)

    def _on_connected(self, session: int) -> None:
        assert not self._tasks, "a connection ends before the next one begins"
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._reported_lost = False
        self._useful = False
        self._view.reconnected()
        self._tasks = [
            self._run(work)
            for work in (self._keep_looking(session), self._keep_writing(), self._marks.keep_up())
        ]
        self._sink.session_changed(True)

    def _on_lost(self, expired: bool) -> None:
        if self._useful:
            what = "the ZooKeeper session has ended" if expired else "lost the connection to ZooKeeper"
            log.warning("%s; connecting again", what)
        self._useful = False
        self._refused = {}
        self._end_tasks()
        self._marks.forget()
        self._await_connection()
        unknown = True  # of those waiting, only the first one can have been sent
        while self._writes:
            self._writes.popleft()
            self._report_written(None if unknown else False)
            unknown = False
        if expired:
            self._report_lost()

    def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def _await_connection(self) -> None:
        if self._silence is None:
            self._silence = self._loop.call_later(self.session_ms / 1000, self._on_silence)

    def _on_silence(self) -> None:
        """Called when there was no connection for the length of a session: kazoo reports the end of the
        session only with the next connection."""
        self._silence = None
        self._await_connection()
        self._log_trouble()
        self._link.renew()
        self._report_lost()

    def _log_trouble(self) -> None:
        """Log why ZooKeeper cannot be used, once for each cause."""
        trouble = self.trouble or "no answer"
        if trouble != self._logged:
            self._logged = trouble
            log.warning("ZooKeeper (%s) cannot be used, retrying: %s", self._hosts, trouble)

    def _run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        task.add_done_callback(self._on_task_end)
        return task

    def _on_task_end(self, task: "asyncio.Task[None]") -> None:
        """An exception of the sink is a defect: report it as for any callback of the loop."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "coordination failed", "exception": error})

    def _report_lost(self) -> None:
        if not self._reported_lost:
            self._reported_lost = True
            self._sink.session_changed(False)

    def _report_written(self, ok: bool | None) -> None:
        if not self._stopped:
            self._sink.map_written(ok)

    # --- reading --------------------------------------------------------------------------------------

    def _on_watch(self, path: str) -> None:
        self._view.on_watch(path)
        self._look.set()

    def _look_again(self, *what: str) -> None:
        self._view.mark(*what)
        self._look.set()

    async def _keep_looking(self, session: int) -> None:
        pause_s = RETRY_S
        while True:
            self._look.clear()
            try:
                await self._view.read()
                await self._settle_barrier()
                if not await self._settle_registration(session):
                    self._view.report_members()
            except KazooException as error:
                self._note_refusal(LOOKING, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_RETRY_S)
                self.refresh()
            else:
                pause_s = RETRY_S
                self._note_use(session)
            await self._look.wait()

    def _note_use(self, session: int) -> None:
        """Everything could be read, and this process's znodes are as it wants them."""
        if not self._useful:
            log.info("connected to ZooKeeper at %s, session 0x%x", self._hosts, session)
        self._useful = True
        self._refused.pop(LOOKING, None)
        if not self._refused:
            self._logged = ""

    def _note_refusal(self, what: str, error: KazooException) -> None:
        """Keep why a request failed, unless the connection failed, which its state shows."""
        if not isinstance(error, (ConnectionLoss, SessionExpiredError)):
            self._refused[what] = REFUSALS.get(type(error), repr(error))
            self._log_trouble()

    def _note_mark(self, error: KazooException | None) -> None:
        if error is not None:
            self._note_refusal(MARKING, error)
        else:
            self._refused.pop(MARKING, None)

    async def _settle_barrier(self) -> None:
        """Delete a stray barrier beside a map; without a map, create one if this process may form a
        cluster."""
        view = self._view
        if view.barrier_stands and view.map_version != NO_MAP:
            await self._link.commit(
                lambda change: change.check(view.map_path, view.map_version),
                lambda change: change.delete(view.barrier_path),
            )
        elif not view.barrier_stands and view.map_version == NO_MAP and self._may_form():
            with contextlib.suppress(NodeExistsError):  # another process created it
                await self._link.create(view.barrier_path)
        else:
            return
        self._look_again("barrier", "map")  # the map may have changed meanwhile

    def _may_form(self) -> bool:
        return self._member is not None and not self._member.cluster_id

    async def _settle_registration(self, session: int) -> bool:
        """Make sure that this process is registered once, under this session, with its present data.

        Returns whether something was changed: then the list of members will be read again.
        """
        if self._member is None:
            return False
        view, own = self._view, self._view.own(self._process)
        keep = next((name for name in own if view.members[name].session == session), None)
        content = encode_member(self._member, self._process)
        changed = False
        for stray in own:
            if stray != keep:  # of an earlier session, or of a create whose answer was lost
                await self._delete(f"{view.members_path}/{stray}")
                changed = True
        if keep is None:
            await self._link.create(
                f"{view.members_path}/{NAME_PREFIX}", content, ephemeral=True, sequence=True
            )
            changed = True
        elif keep in self._give_up:
            await self._exchange(f"{view.members_path}/{keep}", content)
            changed = True
        elif view.members[keep].content != content and await self._update(keep, content):
            view.mark_member(keep)
            changed = True
        if changed:
            self._look_again("members")
        return changed

    async def _exchange(self, path: str, content: bytes) -> None:
        """Replace our registration by one with the highest sequence number, in one step."""
        new = f"{self._view.members_path}/{NAME_PREFIX}"
        await self._link.commit(
            lambda change: change.delete(path),
            lambda change: change.create(new, content, ephemeral=True, sequence=True),
        )

    async def _update(self, name: str, content: bytes) -> bool:
        """Replace our registration's data; if that was done just now, return False and try again later."""
        now_s = self._loop.time()
        if now_s < self._update_after_s:
            self._loop.call_at(self._update_after_s, self._look.set)
            return False
        self._update_after_s = now_s + UPDATE_SPREAD_S * len(self._view.members)
        with contextlib.suppress(NoNodeError):  # the next reading finds it missing
            await self._link.request("set_async", f"{self._view.members_path}/{name}", content)
        return True

    async def _delete(self, path: str) -> None:
        with contextlib.suppress(NoNodeError):
            await self._link.request("delete_async", path)

    # --- writing --------------------------------------------------------------------------------------

    async def _keep_writing(self) -> None:
        while True:
            while self._writes:
                ok = await self._write_once(*self._writes[0])
                self._writes.popleft()
                self._report_written(ok)
                self._look_again("map", "barrier")
            self._write.clear()
            await self._write.wait()

    async def _write_once(self, expected: int, payload: bytes) -> bool | None:
        view = self._view
        if len(payload) > MAP_BYTES:
            log.error("the map of %d bytes is not written: the limit is %d", len(payload), MAP_BYTES)
            return False
        try:
            if expected == NO_MAP:
                return await self._link.commit(
                    lambda change: change.create(view.map_path, payload),
                    lambda change: change.delete(view.barrier_path),
                )
            await self._link.request("set_async", view.map_path, payload, expected)
        except (BadVersionError, NoNodeError):
            return False
        except NoAuthError as error:
            self._note_refusal(WRITING, error)
            return False
        except KazooException as error:
            log.info("it is unknown whether a write of the map was applied: %r", error)
            return None
        self._refused.pop(WRITING, None)
        return True
