"""The coordination port without ZooKeeper: one shared service, one handle per simulated node.

Deterministic, without threads or an event loop. Nothing happens inside a call: every message between a handle
and the service (a request, an answer, a watch that fires) is passed to `deliver`, and takes effect when the
simulator, which provides `deliver`, runs it. Messages between one handle and the service must keep their
order. Faults are method calls. Passes the same contract as ZooKeeper.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from ringkeep.admission import Mark
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.core.protocol.limits import MAP_BYTES
from ringkeep.core.protocol.types import Millis, NodeId
from ringkeep.ports import NO_MARK, CoordinationEvents

Deliver = Callable[[Callable[[], None]], None]

FORM: Final = -1
"""The expected version that creates the map and removes the barrier."""


class MemoryService:
    """The service that all nodes share. Changed by handles, and by tests that need a state that no handle
    creates."""

    def __init__(self) -> None:
        self.barrier = False
        self.map_version = -1
        self.map: bytes | None = None
        self.marks: dict[NodeId, tuple[int, Mark]] = {}  # with their versions
        self._members: dict[int, tuple[int, Member]] = {}  # by sequence: the session that owns it
        self._next_sequence = 0
        self._next_session = 1
        self._handles: list[MemoryCoordination] = []

    def members(self) -> list[Member]:
        """Return the registered members, by sequence."""
        return [member for _, (_, member) in sorted(self._members.items())]

    def put_barrier(self) -> None:
        """Create the barrier, whatever else there is."""
        self._set_barrier(True)

    def put_map(self, version: int, payload: bytes | None) -> None:
        """Replace the map as an operator or a restored backup would; None and -1 remove it."""
        self.map_version, self.map = version, payload
        self._changed()

    def restore(self, version: int, payload: bytes | None) -> None:
        """Start again with this map, as a service that was wiped (-1 and None) or restored from an older copy
        while no node was connected: it has no session, and counts registrations from the beginning."""
        for handle in self._handles:
            handle.disconnect()
            handle.expire()
        self._members.clear()
        self._next_sequence = 0
        self.barrier, self.map_version, self.map = False, version, payload

    def _attach(self, handle: "MemoryCoordination") -> None:
        self._handles.append(handle)

    def _detach(self, handle: "MemoryCoordination") -> None:
        self._handles.remove(handle)

    def _open_session(self) -> int:
        self._next_session += 1
        return self._next_session - 1

    def _owned(self, session: int) -> list[int]:
        return sorted(sequence for sequence, (owner, _) in self._members.items() if owner == session)

    def _end_session(self, session: int) -> None:
        self._remove(self._owned(session))

    def _remove(self, sequences: list[int]) -> None:
        for sequence in sequences:
            del self._members[sequence]
        if sequences:
            self._changed()

    def _register(self, session: int, member: Member) -> None:
        """Create the session's registration, or update it if it differs."""
        owned = self._owned(session)
        assert len(owned) <= 1, "a session registers once"
        if owned:
            sequence = owned[0]
        else:
            sequence, self._next_sequence = self._next_sequence, self._next_sequence + 1
        registered = (session, replace(member, sequence=sequence))
        if self._members.get(sequence) != registered:
            self._members[sequence] = registered
            self._changed()

    def _set_barrier(self, stands: bool) -> None:
        if self.barrier != stands:
            self.barrier = stands
            self._changed()

    def _write_map(self, expected: int, payload: bytes) -> bool:
        if expected == FORM:
            if self.map is not None or not self.barrier:
                return False
            self.barrier = False
            self.map_version = 0
        else:
            if self.map is None or expected != self.map_version:
                return False
            self.map_version += 1
        self.map = payload
        self._changed()
        return True

    def _mark_of(self, node: NodeId) -> tuple[int, Mark | None]:
        return self.marks.get(node, (NO_MARK, None))

    def _write_mark(self, node: NodeId, expected: int, mark: Mark) -> tuple[int, Mark | None]:
        version, _ = self._mark_of(node)
        if version == expected:
            self.marks[node] = version + 1, mark
        return self._mark_of(node)

    def _changed(self) -> None:
        for handle in list(self._handles):
            handle._watch_fires()


class MemoryCoordination:
    """One node's handle. `start` connects; the other methods of the port may be called before.

    For the simulator: `disconnect`, `connect`, `time_out`, `expire`, `lose_next_answer`, `hold_watches`,
    `release_watches`, `crash`.
    """

    def __init__(
        self, service: MemoryService, sink: CoordinationEvents, deliver: Deliver, session_ms: Millis = 0
    ) -> None:
        self.session_ms = session_ms
        self._service = service
        self._sink = sink
        self._deliver = deliver
        self._session: int | None = None
        self._expired = False  # it ended while there was no connection to report that
        self._connection = 0  # counts connections: answers on an older one are dropped
        self._heeded: int | None = None  # the connection whose requests the service accepts
        self._connected = False
        self._told_map = False  # over the present connection: an earlier map may be another service's
        self._member: Member | None = None
        self._moves = False  # whether the next registration gets the highest sequence number
        self._writes: deque[tuple[int, bytes]] = deque()  # not answered
        self._sent = False  # the first of them
        self._lose_answer = False
        self._read_due = False  # a read is on its way to the service
        self._holding = False
        self._held = False
        self._read_members: list[Member] | None = None
        self._read_map: tuple[int, bytes | None] | None = None
        self._read_barrier: bool | None = None
        self._told_lost = False
        self._over = False
        service._attach(self)

    # --- the port -------------------------------------------------------------------------------------

    def announce(self, member: Member) -> None:
        self._member = member
        self._request(self._register)
        self._read()  # a barrier may have to be created

    def reregister(self) -> None:
        self._moves = True
        self._request(self._register)

    def write_map(self, expected: int, payload: bytes) -> None:
        if not self._told_map:
            self._deliver(lambda: self._tell_written(False))
            return
        self._writes.append((expected, payload))
        self._send_write()

    def read_mark(self, node: NodeId) -> None:
        self._request(lambda: self._tell_mark(*self._service._mark_of(node)))

    def write_mark(self, node: NodeId, expected: int, mark: Mark) -> None:
        self._request(lambda: self._tell_mark(*self._service._write_mark(node, expected, mark)))

    def refresh(self) -> None:
        self._forget_what_was_read()
        self._read()

    # --- life and faults ------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect for the first time."""
        self.connect()

    def stop(self) -> None:
        """End the session: the registration is removed at once, and no further event comes."""
        self.crash()
        self.expire()

    def crash(self) -> None:
        """The process has ended. Its registration stays until `expire`; no further event comes. Its requests
        are lost, unless `disconnect(requests_arrive=True)` ended the connection before.
        """
        if not self._over:
            self._over = True
            if self._connected:
                self._end_connection(requests_arrive=False)
            self._service._detach(self)

    def disconnect(self, requests_arrive: bool = False) -> None:
        """Lose the connection, and the answers on their way. The session stays.

        `requests_arrive`: requests that were sent still take effect if they arrive before `connect` or
        `expire`; the writer was informed before that their outcome is unknown. Otherwise the requests are
        lost too.
        """
        if not self._connected:
            return
        self._end_connection(requests_arrive)
        self._read_due = self._held = self._sent = False
        unknown = True  # of those waiting, only the first one was sent
        while self._writes:
            self._writes.popleft()
            self._deliver(partial(self._tell_written, None if unknown else False))
            unknown = False

    def connect(self) -> None:
        """Connect again: to the session if it still exists, else to a new one. Everything is read again."""
        if self._connected or self._over:
            return
        self._connected = True
        self._connection += 1
        self._heeded = self._connection  # the service ends older connections of a session that reconnects
        if self._expired:
            self._expired = False
            self._deliver(self._tell_lost)
        if self._session is None:
            self._session = self._service._open_session()
        self._forget_what_was_read()
        self._request(lambda: self._answer(self._tell_connected))
        self._request(self._register)
        self._read()

    def expire(self) -> None:
        """End the session at the service, as after a silence; a connected handle takes a new one at once.

        A handle that is not connected learns of it when it connects.
        """
        session, self._session = self._session, None
        connected = self._connected
        self.disconnect()
        self._heeded = None
        if session is not None:
            self._service._end_session(session)
            self._expired = True
        if connected:
            self.connect()

    def time_out(self) -> None:
        """Notice that there was no connection for a session's length; the session may still exist."""
        if not self._connected:
            self._deliver(self._tell_lost)

    def lose_next_answer(self) -> None:
        """The next write of the map is carried out, but the connection ends before the answer."""
        self._lose_answer = True

    def hold_watches(self) -> None:
        """From now on, hold back watches that fire, until `release_watches`."""
        self._holding = True

    def release_watches(self) -> None:
        """Let the watches arrive that were held."""
        self._holding = False
        if self._held:
            self._held = False
            self._watch_fires()

    # --- messages -------------------------------------------------------------------------------------

    def _request(self, action: Callable[[], None]) -> None:
        """Send to the service: `action` runs there, unless the connection ends first."""
        connection = self._connection
        if self._connected:
            self._deliver(lambda: action() if connection == self._heeded else None)

    def _answer(self, action: Callable[[], None]) -> None:
        """Send from the service: `action` runs here, unless the connection ends first."""
        connection = self._connection
        if self._connected:
            self._deliver(lambda: action() if connection == self._connection else None)

    def _end_connection(self, requests_arrive: bool) -> None:
        self._connected = self._told_map = False
        self._connection += 1
        if not requests_arrive:
            self._heeded = None

    def _watch_fires(self) -> None:
        if self._holding:
            self._held = True
        else:
            self._answer(self._read)

    def _read(self) -> None:
        if self._connected and not self._read_due:
            self._read_due = True
            self._request(self._read_at_service)

    def _read_at_service(self) -> None:
        self._read_due = False
        service = self._service
        read_map = (service.map_version, service.map)
        barrier, members = service.barrier, service.members()
        self._answer(lambda: self._tell_read(read_map, barrier, members))

    def _register(self) -> None:
        if self._member is None or self._session is None:
            return
        if self._moves:
            self._moves = False
            self._service._end_session(self._session)
        self._service._register(self._session, self._member)

    def _send_write(self) -> None:
        """Send one write at a time: the next one is sent when this one is answered."""
        if self._writes and not self._sent:
            self._sent = True
            expected, payload = self._writes[0]
            self._request(lambda: self._carry_out_write(expected, payload))

    def _carry_out_write(self, expected: int, payload: bytes) -> None:
        ok = len(payload) <= MAP_BYTES and self._service._write_map(expected, payload)
        if self._lose_answer and self._connected:
            self._lose_answer = False
            self.disconnect()
            self.connect()
        else:
            self._answer(lambda: self._finish_write(ok))

    def _tell_mark(self, version: int, mark: Mark | None) -> None:
        """At the service."""
        self._answer(lambda: self._sink.mark_read(version, mark))

    # --- events ---------------------------------------------------------------------------------------

    def _finish_write(self, ok: bool) -> None:
        self._writes.popleft()
        self._sent = False
        self._tell_written(ok)
        self._send_write()

    def _tell_written(self, ok: bool | None) -> None:
        if not self._over:
            self._sink.map_written(ok)
            self._read_map = None  # a map_read follows, changed or not
            self._read()

    def _tell_connected(self) -> None:
        self._told_lost = False
        self._sink.session_changed(True)

    def _tell_lost(self) -> None:
        if not self._over and not self._told_lost:
            self._told_lost = True
            self._sink.session_changed(False)

    def _tell_read(self, read_map: tuple[int, bytes | None], barrier: bool, members: list[Member]) -> None:
        if read_map != self._read_map:
            self._read_map = read_map
            self._told_map = True
            self._sink.map_read(*read_map)
        if barrier != self._read_barrier:
            self._read_barrier = barrier
            self._sink.barrier_read(barrier)
        self._settle_barrier(read_map, barrier)
        if members != self._read_members:
            self._read_members = members
            self._sink.members_changed(members)

    def _settle_barrier(self, read_map: tuple[int, bytes | None], barrier: bool) -> None:
        """Delete a stray barrier beside a map; without a map, create one if this node may form a cluster."""
        if barrier and read_map[1] is not None:
            self._request(lambda: self._delete_barrier(read_map[0]))
        elif not barrier and read_map[1] is None and self._member is not None and not self._member.cluster_id:
            # When it arrives there may be a map: then it is a stray one, which the next reader deletes.
            self._request(lambda: self._service._set_barrier(True))

    def _delete_barrier(self, map_version: int) -> None:
        if self._service.map_version == map_version:
            self._service._set_barrier(False)

    def _forget_what_was_read(self) -> None:
        self._read_map = self._read_barrier = self._read_members = None
