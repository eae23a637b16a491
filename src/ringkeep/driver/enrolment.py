"""Decides when one start of a data directory may speak for its node, and keeps the node's mark current.

A start speaks (registers, votes, serves) once three things are known: the map has a place for its directory,
no other process is registered as the same node, and its store is as far as the node's mark. It writes the
mark with its own life before it speaks, and again as more becomes durable.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ringkeep import admission
from ringkeep.admission import Claim, Mark
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.cluster_map import ClusterMap, Member
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.rows import POSITION_KEY, decode_position, encode_position
from ringkeep.core.protocol.types import Millis, NodeId
from ringkeep.ports import NO_MARK, Ending, Ports


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a directory.

    `life` is drawn at random for each. `claims`: those that earlier starts recorded here. `partitions`: the
    number of partitions that the node was configured to require.
    """

    life: str
    claims: Sequence[Claim] = ()
    partitions: int | None = None


class Enrolment:
    """One start's right to speak, and its node's mark.

    The mark names a position: how many batches were written by starts that spoke. An older state of the store
    has written fewer, and a start that was refused adds none.
    """

    def __init__(
        self, ports: Ports, member: Member, start: Start,
        *, stop: Callable[[str, Ending], None], speak: Callable[[], None], damaged: Callable[[], None],
    ) -> None:  # fmt: skip
        """`speak` is called once, when this start may speak; `damaged` before it if the store lost data."""
        self.passed = False
        self._ports = ports
        self._member = member
        self._start = start
        self._claim = Claim(member.incarnation, start.life)
        self._claims = tuple(start.claims)
        self._stop, self._speak, self._damaged = stop, speak, damaged
        stored = ports.engine.get(Family.META, POSITION_KEY)
        self._position = self._durable = decode_position(stored) if stored is not None else 0
        self._ahead = 0  # tickets minus positions, of what this process has written
        self._map: ClusterMap | None = None
        self._fits = False
        self._leaving = False
        self._others: list[Member] | None = None  # registered as this node elsewhere; None: not read yet
        self._others_since: Millis | None = None
        self._other: Member | None = None  # the last one seen
        self._other_at: Millis = 0
        self._version = NO_MARK
        self._marked = 0
        self._asked_at: Millis | None = None  # since when an answer about the mark is awaited
        self._written_at: Millis = 0
        self._interval_ms: Millis = limits.MARK_MS

    # --- before it speaks -----------------------------------------------------------------------------

    def on_map(self, stored: ClusterMap | None, cluster_map: ClusterMap | None) -> None:
        """The map was read from ZooKeeper: stop, if it has no place for this directory."""
        member, shell = self._member, self._ports.shell
        if cluster_map is not None and (lost := admission.given_up(member, stored, cluster_map)):
            self._stop(lost, Ending.RETIRED)
            return
        reason = admission.refusal(member, stored, cluster_map, self._start.partitions)
        if reason:
            if cluster_map is not None and admission.is_old_copy(member, cluster_map):
                shell.superseded()
            if cluster_map is not None and admission.has_left(member, cluster_map):
                shell.departed()
            self._stop(reason, Ending.REFUSED)
            return
        self._map, self._fits = cluster_map, True
        self._look()

    def on_members(self, members: list[Member]) -> None:
        """The members were read. One with our id and our address is an earlier process: we listen there
        now."""
        mine = self._member
        spread = min(len(members) * limits.MARK_SPREAD_MS, limits.MARK_MOST_MS)
        self._interval_ms = max(limits.MARK_MS, spread)
        self._others = [each for each in members if each.id == mine.id and each.peer != mine.peer]
        if self._others:
            self._other, self._other_at = self._others[0], self._ports.clock.now()
        self._look()

    def on_session(self, connected: bool) -> None:
        """Forget what was read: everything is read again over a new connection."""
        self._others = self._others_since = self._asked_at = None
        if connected and self.passed:
            self._ask()

    def on_tick(self, cluster_map: ClusterMap | None, links: Collection[NodeId], empty: bool) -> None:
        """Repeat unanswered requests; write the mark again if more is durable by now.

        `cluster_map`: this node's map. `links`: the peers that it has links to. `empty`: whether it holds no
        replica.
        """
        if cluster_map is not None:
            self._look_around(cluster_map, links, empty)
        now = self._ports.clock.now()
        if not self.passed:
            self._look()
        elif self._asked_at is not None:
            if now - self._asked_at > limits.MARK_ANSWER_MS:
                self._ask()
        elif self._durable > self._marked and now - self._written_at >= self._interval_ms:
            self._write(self._durable)

    def _look_around(self, cluster_map: ClusterMap, links: Collection[NodeId], empty: bool) -> None:
        """Stop if the name turns out to be taken, or once a leaving node holds nothing any more.

        A leaving node first finishes the requests that it coordinates: until then it is a node like any
        other.
        """
        taken = admission.name_taken(self._member, cluster_map, links)
        if taken:
            self._stop(taken, Ending.REFUSED)
        elif not self._leaving and admission.may_leave(self._member, cluster_map) and empty:
            self._leaving = True
            shell = self._ports.shell
            shell.departed()
            shell.stop("this node leaves the cluster: it holds nothing any more", Ending.LEFT)

    @property
    def waiting_for(self) -> str:
        """Return which process this start waits for before it speaks, for people; "" if for none."""
        if self.passed or self._other is None:
            return ""
        return (
            f"the process at {self._other.peer}, registered as this same node, to end:"
            " never run two copies of one data directory"
        )

    def _look(self) -> None:
        """Ask for the mark once no other process is registered as this node; stop if one stays registered."""
        if self.passed or not self._fits or self._others is None:
            return
        now = self._ports.clock.now()
        if self._alone:
            if self._asked_at is None or now - self._asked_at > limits.MARK_ANSWER_MS:
                self._ask()
        elif self._others_since is None:
            self._others_since = now
        elif self._others and (
            now - self._others_since > 2 * self._ports.coordination.session_ms + limits.COPY_WAIT_MS
        ):
            self._stop(admission.runs_elsewhere(self._others[0]), Ending.REFUSED)

    @property
    def _alone(self) -> bool:
        """Whether no other process is registered as this node. One that was may have lost its session only:
        then it registers again within a session's time."""
        session_ms = self._ports.coordination.session_ms
        silent_ms = self._ports.clock.now() - self._other_at
        return self._others == [] and (self._other is None or silent_ms > session_ms)

    def _compare(self, mark: Mark | None) -> None:
        """Compare the directory with the mark; if it may speak, write the mark with this life."""
        ports = self._ports
        if mark is not None and admission.is_other_line(self._claims, mark):
            ports.shell.superseded()
            self._stop(admission.other_line(mark), Ending.REFUSED)
            return
        if mark is not None and self._position < mark.position:
            lost = admission.lost(self._position, mark)
            ports.engine.record_damage(lost)
            ports.shell.alarm(lost)
            self._damaged()
        if mark is None and self._map is not None and self._map.node(self._member.id) is not None:
            ports.shell.alarm(admission.UNMARKED)
        kept = [each for each in self._claims if mark is None or each.incarnation >= mark.incarnation]
        claims = tuple(dict.fromkeys((*kept, self._claim)))
        if claims != self._claims:
            ports.shell.claiming(claims)
            self._claims = claims
        self._write(self._position)

    # --- the mark -------------------------------------------------------------------------------------

    def on_mark(self, version: int, mark: Mark | None) -> None:
        """The mark as ZooKeeper holds it now: the answer to a read, or to a write."""
        self._asked_at, self._version = None, version
        if mark is not None and mark.life == self._claim.life:
            self._marked = mark.position
            if not self.passed:
                self.passed = True
                self._speak()
        elif not self.passed:
            if self._fits and self._alone:
                self._compare(mark)
        elif mark is not None and mark.incarnation >= self._claim.incarnation:
            self._stop(admission.taken_over(mark.incarnation), Ending.REFUSED)
        else:  # ZooKeeper was wiped, or restored from an older state
            self._write(self._durable)

    def last_mark(self) -> tuple[int, Mark] | None:
        """Return the last mark to write, once everything written is durable, and the version that it
        replaces. None if this start never spoke."""
        return (self._version, self._at(self._position)) if self.passed else None

    def _ask(self) -> None:
        self._asked_at = self._ports.clock.now()
        self._ports.coordination.read_mark(self._member.id)

    def _write(self, position: int) -> None:
        self._asked_at = self._written_at = self._ports.clock.now()
        self._ports.coordination.write_mark(self._member.id, self._version, self._at(position))

    def _at(self, position: int) -> Mark:
        return Mark(self._claim.incarnation, self._claim.life, position)

    # --- what is written ------------------------------------------------------------------------------

    def stamp(self, batch: Batch) -> None:
        """Number a batch that is about to be written."""
        if self.passed:
            batch.meta[POSITION_KEY] = encode_position(self._position + 1)

    def on_written(self, ticket: int) -> None:
        """The batch was written, under this ticket."""
        if self.passed:
            self._position += 1
        self._ahead = ticket - self._position

    def on_synced(self, ticket: int) -> None:
        """Every batch up to this ticket is durable."""
        self._durable = max(self._durable, ticket - self._ahead)
