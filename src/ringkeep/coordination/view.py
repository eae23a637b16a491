"""A process's view of its cluster's znodes: members, barrier and map; read again when marked as changed.

Every read leaves a watch, and changes are given to the sink. Only reads; zookeeper.py repairs.
"""

import logging
from dataclasses import dataclass
from typing import Any, Final

from kazoo.exceptions import NoNodeError

from ringkeep.coordination.codec import decode_member
from ringkeep.coordination.link import Link
from ringkeep.core.protocol.cluster_map import Member
from ringkeep.errors import ProtocolError
from ringkeep.ports import CoordinationEvents

NO_MAP: Final = -1
"""The map's znode version when there is none."""

NAME_PREFIX: Final = "n-"
EVERYTHING: Final = frozenset({"map", "barrier", "members"})

log = logging.getLogger("ringkeep.coordination")


@dataclass(frozen=True, slots=True)
class MemberZnode:
    """What a child of `members` held when it was read. `member` is None if its content is unreadable."""

    member: Member | None
    process: str
    session: int
    content: bytes


class View:
    """The znodes under `base` as they were read last, and the list of those that must be read again."""

    def __init__(self, link: Link, base: str, sink: CoordinationEvents) -> None:
        self._link = link
        self._sink = sink
        self.base = base
        self.members_path = f"{base}/members"
        self.map_path = f"{base}/map"
        self.barrier_path = f"{base}/barrier"
        self.map_version: int = NO_MAP
        self.map_is_known = False  # whether it was read over the present connection, to this ZooKeeper
        self.barrier_stands = False
        self.members: dict[str, MemberZnode] = {}  # by znode name
        self._dirty: set[str] = set()
        self._unread: set[str] = set()  # members whose data must be read again
        self._reported: list[Member] | None = None

    def renew(self) -> None:
        """Read and report everything again, as if nothing had been read."""
        self._dirty.update(EVERYTHING)
        self._unread.update(self.members)
        self._reported = None

    def reconnected(self) -> None:
        """There is a new connection, perhaps to a ZooKeeper that was wiped or restored meanwhile."""
        self.map_is_known = False
        self.renew()

    def mark(self, *what: str) -> None:
        """Read "map", "barrier" or "members" (the list, and new ones) again."""
        self._dirty.update(what)

    def mark_member(self, name: str) -> None:
        """Read the list, and this member's data, again."""
        self._unread.add(name)
        self._dirty.add("members")

    def on_watch(self, path: str) -> None:
        """A watch fired for this znode."""
        parent, _, name = path.rpartition("/")
        if parent == self.members_path:
            self.mark_member(name)
        elif name in EVERYTHING:
            self._dirty.add(name)

    def own(self, process: str) -> list[str]:
        """Return the names of the registrations that this process made, oldest first."""
        return sorted(name for name, seen in self.members.items() if seen.process == process)

    async def read(self) -> None:
        """Sync, then read what is marked; reports map and barrier to the sink. Raises KazooException."""
        await self._link.request("sync_async", self.base)
        dirty, self._dirty = self._dirty, set()  # what a watch marks from here on is read the next time
        if "map" in dirty:
            content, stat = await self._read_watched(self.map_path)
            self.map_version = NO_MAP if stat is None else stat.version
            self.map_is_known = True
            self._sink.map_read(self.map_version, content)
        if "barrier" in dirty:
            _, stat = await self._read_watched(self.barrier_path)
            self.barrier_stands = stat is not None
            self._sink.barrier_read(self.barrier_stands)
        if "members" in dirty:
            await self._read_members()

    def report_members(self) -> None:
        """Give the list of members to the sink if it is not the one given last."""
        members = [seen.member for seen in self.members.values() if seen.member is not None]
        members.sort(key=lambda member: member.sequence)
        if members != self._reported:
            self._reported = members
            self._sink.members_changed(list(members))

    async def _read_watched(self, path: str) -> tuple[bytes | None, Any]:
        """Read a znode and leave a watch for its change or creation; (None, None) if it is not there."""
        while True:
            try:
                read: tuple[bytes, Any] = await self._link.request("get_async", path, self._link.on_watch)
                return read
            except NoNodeError:  # which leaves no watch
                if await self._link.request("exists_async", path, self._link.on_watch) is None:
                    return None, None

    async def _read_members(self) -> None:
        try:
            names = await self._link.request("get_children_async", self.members_path, self._link.on_watch)
        except NoNodeError:
            names = []
            if await self._link.request("exists_async", self.members_path, self._link.on_watch) is not None:
                self.mark("members")
        for removed in self.members.keys() - set(names):
            del self.members[removed]
        for name in names:
            if name.startswith(NAME_PREFIX) and (name not in self.members or name in self._unread):
                self._unread.discard(name)  # before it is read: its watch may arrive before the answer
                await self._read_member(name)
        self._unread.intersection_update(names)

    async def _read_member(self, name: str) -> None:
        path = f"{self.members_path}/{name}"
        try:
            content, stat = await self._link.request("get_async", path, self._link.on_watch)
        except NoNodeError:
            self.members.pop(name, None)  # the watch on the list fires too
            return
        try:
            member, process = decode_member(content, sequence=int(name.removeprefix(NAME_PREFIX)))
        except (ProtocolError, ValueError) as error:
            log.warning("ignoring %s: %s", path, error)
            self.members[name] = MemberZnode(None, "", stat.ephemeralOwner, content)
        else:
            self.members[name] = MemberZnode(member, process, stat.ephemeralOwner, content)
