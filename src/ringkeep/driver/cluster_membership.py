"""Keeps a process a member of its cluster, by the members and the map that ZooKeeper holds.

It passes what is read to the core, writes the maps that the core wants, tells the network which peers there
are, keeps its own registration current, and ends the process once the map has no place for it. `enrolment.py`
decides when a start may speak, `turns.py` when an event is taken.
"""

from collections.abc import Callable
from dataclasses import replace

from ringkeep import admission
from ringkeep.admission import Mark
from ringkeep.core.node import Node
from ringkeep.core.protocol.cluster_map import ClusterMap, Member
from ringkeep.core.protocol.effects import MapWrite
from ringkeep.core.protocol.types import MapVersion, Millis
from ringkeep.driver.enrolment import Enrolment, Start
from ringkeep.errors import ConfigurationError, ProtocolError
from ringkeep.ports import Ending, Ports

ANNOUNCE_INTERVAL_MS = 2_000


class ClusterMembership:
    """One process's place in its cluster. Takes the events of the coordination port."""

    def __init__(
        self, node: Node, ports: Ports, member: Member, start: Start,
        *, event: Callable[[Callable[[], None]], None], stop: Callable[[str, Ending], None],
    ) -> None:  # fmt: skip
        """`event` runs a call within a turn, `stop` ends the process.

        The coordination port's events may come at any time; all other methods are called within a turn.
        """
        self.node = node
        self.member = member
        self.enrolment = Enrolment(ports, member, start, stop=stop, speak=self._speak, damaged=node.on_damage)
        self._ports = ports
        self._event, self._stop = event, stop
        self._unread: tuple[int, bytes | None] | None = None  # the map that waits until this start may speak
        self._znode: tuple[int, int] = (-1, 0)
        self._map_on_its_way: bytes | None = None
        self._announced_at: Millis = 0
        self._doubted = 0  # the version of our map at which an older one was read

    # --- CoordinationEvents ----------------------------------------------------------------------------

    def members_changed(self, members: list[Member]) -> None:
        self._event(lambda: self._take_members(members))

    def barrier_read(self, stands: bool) -> None:
        def take() -> None:
            self.node.controller.barrier = stands

        self._event(take)

    def session_changed(self, connected: bool) -> None:
        def take() -> None:
            self.node.controller.connected = connected
            self.enrolment.on_session(connected)

        self._event(take)

    def map_read(self, znode_version: int, payload: bytes | None) -> None:
        self._event(lambda: self._read_map(znode_version, payload))

    def map_written(self, ok: bool | None) -> None:
        """The answer to our write: only True makes it the map; after None (unknown) everything is read
        again."""
        payload, self._map_on_its_way = self._map_on_its_way, None
        if ok is None:
            self._ports.coordination.refresh()

        def take() -> None:
            self.node.controller.on_written(done=bool(ok))
            if ok and payload is not None:
                self._take_map(payload)

        self._event(take)

    def mark_read(self, version: int, mark: Mark | None) -> None:
        self._event(lambda: self.enrolment.on_mark(version, mark))

    # --- what turns bring ------------------------------------------------------------------------------

    def map_changed(self, before: ClusterMap | None) -> None:
        """Called after a newer map came, from ZooKeeper or a peer: join its cluster, and set its nodes as
        peers.

        A newcomer belongs to the cluster once the map names it; a node that it names no more has left.
        """
        cluster_map = self.node.context.cluster_map
        assert cluster_map is not None
        mine = cluster_map.node(self.member.id)
        if lost := admission.given_up(self.member, before, cluster_map):
            return self._stop(lost, Ending.RETIRED)
        if mine is None and self.member.cluster_id:
            self._ports.shell.departed()
            self._stop("this node has left the cluster: its data here is not needed any more", Ending.LEFT)
            return
        if mine is not None and mine.incarnation > self.member.incarnation:
            return self._stop(admission.taken_over(mine.incarnation), Ending.REFUSED)
        if mine is not None and self.member.cluster_id != cluster_map.cluster_id:
            self._ports.shell.joined(cluster_map.cluster_id)
            self.member = replace(self.member, cluster_id=cluster_map.cluster_id)
            self._ports.coordination.announce(self.member)
        self._set_peers()

    def write_map(self, write: MapWrite) -> None:
        """Compare-and-set, unless ZooKeeper is known not to hold the map that the change is based on."""
        znode_version, held = self._znode
        if held != write.expected:
            self._ports.coordination.refresh()
            self._event(lambda: self.node.controller.on_written(done=False))
            return
        try:
            payload = self._ports.codec.encode(write.next_map)
        except ConfigurationError as error:
            self._ports.shell.alarm(f"the next cluster map is not written: {error}")
            self._event(self.node.controller.on_not_written)
            return
        self._map_on_its_way = payload
        self._ports.coordination.write_map(znode_version, payload)

    def announce_map(self) -> None:
        """Keep the map version in the registration current, at most every ANNOUNCE_INTERVAL_MS."""
        cluster_map = self.node.context.cluster_map
        now = self.node.context.now
        if cluster_map is None or not self.enrolment.passed or cluster_map.version == self.member.map_version:
            return
        if now - self._announced_at >= ANNOUNCE_INTERVAL_MS:
            self._announced_at = now
            self.member = replace(self.member, map_version=MapVersion(cluster_map.version))
            self._ports.coordination.announce(self.member)

    # --- what was read ---------------------------------------------------------------------------------

    def _speak(self) -> None:
        """Called when this start may speak: register it, and take the map that was read."""
        self._ports.coordination.announce(self.member)
        self._set_peers()
        if self._unread is not None:
            self._read_map(*self._unread)
            self._unread = None

    def _take_members(self, members: list[Member]) -> None:
        self.node.on_members(members)
        if self.enrolment.passed and self.node.context.cluster_map is None:  # the cluster is being formed
            odd = admission.odd_one_out(self.member, self.node.controller.members)
            if odd:
                self._stop(odd, Ending.REFUSED)
                return
        self.enrolment.on_members(members)
        self._set_peers()

    def _set_peers(self) -> None:
        if self.enrolment.passed:
            cluster_map, members = self.node.context.cluster_map, self.node.controller.members
            self._ports.network.set_peers(admission.peers(self.member, cluster_map, members))

    def _read_map(self, znode_version: int, payload: bytes | None) -> None:
        self.node.controller.on_map_read()
        try:
            stored = self._ports.codec.decode(payload) if payload is not None else None
        except ProtocolError as error:
            self._freeze(f"the cluster map in ZooKeeper cannot be read: {error}")
            return
        self._znode = znode_version, stored.version if stored is not None else 0
        if not self.enrolment.passed:
            self._unread = znode_version, payload
            self.enrolment.on_map(self.node.context.cluster_map, stored)
            return
        if stored is not None and payload is not None:
            self._take_map(payload)
        self._note_if_behind(stored, payload)

    def _note_if_behind(self, cluster_map: ClusterMap | None, payload: bytes | None) -> None:
        """If ZooKeeper was wiped or restored, keep serving under our own map, and change nothing.

        A read that began before our map came from a peer returns an older one too: so only the second such
        read counts.
        """
        controller, current = self.node.controller, self.node.context.cluster_map
        reason = admission.behind(current, cluster_map, payload == self.node.map_payload) if current else ""
        if current is None or not reason:
            controller.frozen, self._doubted = "", 0
        elif self._doubted != current.version:
            self._doubted = current.version
            self._ports.coordination.refresh()
        else:
            self._freeze(reason)

    def _freeze(self, reason: str) -> None:
        """Change nothing of the cluster until ZooKeeper's map is right again; report it once."""
        if self.node.controller.frozen != reason:
            self.node.controller.frozen = reason
            self._ports.shell.alarm(reason)

    def _take_map(self, payload: bytes) -> None:
        before = self.node.context.cluster_map
        if self.node.take_map(payload):
            self.map_changed(before)
