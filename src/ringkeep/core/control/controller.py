"""Decides when a node acts as the controller, and when it may write the next map.

The controller is the member with the lowest sequence number that some node hears and whose heartbeat says
that ZooKeeper answers it. It writes nothing without contact to a majority of nodes, directly or through
others, nor while any live node holds a newer map, or a different map of the same number.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from ringkeep.core.cluster import cluster_settings, orders, quorum_loss
from ringkeep.core.cluster.map_room import Size, too_large
from ringkeep.core.cluster.observations import Observations, Reachability, Statement
from ringkeep.core.cluster.planner import disagreement, form, newest_lives, next_map
from ringkeep.core.context import Context
from ringkeep.core.control.copy_survey import CopySurvey
from ringkeep.core.disk_state import DiskState
from ringkeep.core.liveness.heartbeat_relay import Relay
from ringkeep.core.protocol import limits, quorum
from ringkeep.core.protocol.cluster_map import ClusterMap, Member, NodeState, Partition
from ringkeep.core.protocol.effects import MapWrite
from ringkeep.core.protocol.messages import Order, Report, Said
from ringkeep.core.protocol.types import Millis, NodeId


class Controller:
    """One node's part in controlling the cluster."""

    def __init__(
        self, context: Context, relay: Relay, copies: CopySurvey, size: Size, cluster: str,
        new_cluster_id: str,
    ) -> None:  # fmt: skip
        self._context = context
        self._size = size
        self._relay = relay
        self._copies = copies
        self._cluster = cluster
        self._new_cluster_id = new_cluster_id
        self.members: list[Member] = []
        self.writing = False
        self.frozen = ""
        self.connected = False
        self.barrier = True
        self.map_digest = 0
        self._mine_active = b""
        self.statements: dict[tuple[int, int], tuple[Statement, Millis]] = {}
        self._full_at: dict[NodeId, Millis] = {}
        self._silent_since: dict[NodeId, Millis] = {}
        self._ordered: dict[tuple[str, str], tuple[Order, Millis]] = {}
        self._orders: dict[tuple[str, str], tuple[Order, Millis]] = {}
        self._apart_since: dict[tuple[NodeId, NodeId | None], Millis] = {}
        self._dead_since: dict[NodeId, Millis] = {}
        self.no_room = ""
        """Why there is no room for joins or settings in the map, as last seen by this node as controller; for
        people."""
        self._tried: dict[tuple[int, NodeId], Millis] = {}
        self._look_at: Millis = 0
        self._written_at: Millis = -limits.MAP_WRITE_INTERVAL_MS
        self._sight: list[Any] | None = None
        self._nothing_due = False
        self._plan_at: Millis = 0
        self._cut_off_since: Millis | None = None
        self._doubt_from: Millis | None = None
        """The time from which this node doubts ZooKeeper: a write has no answer, or a failed write was
        followed by no read; None: no doubt."""

    # --- what it learns -------------------------------------------------------------------------------

    def on_members(self, members: list[Member]) -> None:
        """Take the list of members from the coordination service, by sequence number."""
        self.members = newest_lives(members)
        self.look_again()

    def on_report(self, report: Report) -> None:
        """Keep a primary's statements about its partitions until they are used or too old."""
        now, current = self._context.now, self._context.cluster_map
        if current is None:
            return
        for partition, epoch, config, what, node in report.statements:
            self.statements[partition, what] = Statement(partition, epoch, config, what, node), now
            if what == Said.FAILED and partition < len(current.partitions):
                part = current.partitions[partition]
                if part.epoch == epoch:
                    self._tried[partition, part.primary] = now
        for order in report.orders:
            self._ordered[orders.about(order)] = order, now
        self.look_again()

    def order(self, order: Order) -> None:
        """Accept an operator's order: report it to the controller until the map shows that it is carried
        out."""
        self._orders[orders.about(order)] = order, self._context.now + limits.ORDER_MS

    @property
    def reachability(self) -> Reachability:
        """Which node answers which, as far as this node knows."""
        registered = [member.id for member in self.members]
        return Reachability(self._relay.suspected_by, self._damaged, registered, self._copies.copy)

    def objection(self, order: Order, lost: Collection[NodeId] = ()) -> str:
        """Return why an order cannot be carried out, as far as this node knows; "" if it can.

        `lost`: the nodes that are named as lost with it.
        """
        current = self._context.cluster_map
        if current is None:
            return "the cluster is not formed yet"
        reason = orders.objection(order, current, self.reachability, lost)
        if not reason and order[1] == orders.Verb.SET:
            after = orders.carry_out([order], current, self.reachability)
            reason = too_large(current, after, self._damaged, self._size)
        return reason

    def pending_orders(self) -> list[Order]:
        """Return the orders given to this node that are not done yet; a temporary objection does not end
        one."""
        current, now = self._context.cluster_map, self._context.now
        if not self._orders or current is None:
            return []
        self._orders = {
            about: (order, until)
            for about, (order, until) in self._orders.items()
            if now < until and not orders.is_done(order, current)
        }
        return [order for order, _ in self._orders.values()]

    def look_again(self) -> None:
        """Something changed: decide at the next tick, not at the next interval."""
        self._look_at = 0

    def on_map(self) -> None:
        """A newer map came: drop the orders that it shows carried out, before a later map shows them
        undone."""
        self.pending_orders()
        self._obeyed()
        self.look_again()

    def on_written(self, done: bool) -> None:
        """A write was answered. If it failed, a read of the map must follow soon; otherwise ZooKeeper is in
        doubt.
        """
        self.writing = False
        self._doubt_from = None if done else self._sooner(limits.MAP_READ_MS)
        self.look_again()

    def on_not_written(self) -> None:
        """The write was not sent to ZooKeeper, because the map cannot be encoded."""
        self.on_written(done=True)

    def _sooner(self, wait: Millis) -> Millis:
        """Return the time from which ZooKeeper is in doubt: a repeated attempt does not extend it."""
        when = self._context.now + wait
        return when if self._doubt_from is None else min(when, self._doubt_from)

    def on_map_read(self) -> None:
        """ZooKeeper has answered."""
        if not self.writing:
            self._doubt_from = None

    # --- who acts -------------------------------------------------------------------------------------

    def acting(self) -> NodeId | None:
        """Return the live member with the lowest sequence number that reports that it may act; None if there
        is none. A member that is not suspected and has not reported yet is waited for.
        """
        return next((m.id for m in self.members if self._stands(m.id)), None)

    def addressee(self) -> NodeId | None:
        """Return the node that reports are sent to; None if no node that is heard can relay them. Normally
        this is the controller. Without ZooKeeper the list of members is old, and may name no live node: then
        any node that reaches ZooKeeper relays reports.
        """
        known = self.acting()
        current = self._context.cluster_map
        if known is not None or current is None:
            return known
        return next(
            (n.id for n in current.nodes if n.id != self._context.me and self._says_it_steers(n.id)), None
        )

    def _says_it_steers(self, node: NodeId) -> bool:
        beat = self._relay.beat_of(node)
        return beat is not None and beat.steers

    def _stands(self, node: NodeId) -> bool:
        if node == self._context.me:
            return self.steers
        beat = self._relay.beat_of(node)
        return beat.steers if beat is not None else not self._relay.silent(node)

    def barrier_stands_for(self, expect: int) -> str:
        """Return, for people, why the barrier is closed before the cluster is formed."""
        silent = [m.name for m in self.members if self._relay.silent(m.id)]
        here = ", ".join(m.name for m in self.members) or "none"
        text = f"the start-up barrier: {len(self.members)} of {expect} nodes are here ({here})"
        problem = disagreement(self.members)
        if problem:
            text += f"; {problem}"
        return text + (f"; not answering: {', '.join(silent)}" if silent else "")

    @property
    def may_change(self) -> bool:
        """Whether ZooKeeper is reachable, and holds the cluster's present map."""
        return self.connected and not self.frozen

    @property
    def steers(self) -> bool:
        """Whether this node may act as the controller: if not, the next member takes over at once."""
        late = self._doubt_from is not None and self._context.now > self._doubt_from
        return self.may_change and not late

    def on_tick(self, active: bytes) -> None:
        """Act if this node is the controller, a change may be due, and it may write.

        `active`: a bit per partition, lowest first, that this node leads and serves.
        """
        now, self._mine_active = self._context.now, active
        if now < self._look_at or self.writing or not self.may_change:
            return
        self._look_at = now + limits.CONTROL_INTERVAL_MS
        if self.acting() != self._context.me:
            self._cut_off_since = None
            return
        current = self._context.cluster_map
        if current is None:
            self._form()
        elif not self._is_calm(current) and self._may_write(current):
            self._repair(current)

    def _form(self) -> None:
        """Make the first map once all expected members are registered, agree, and answer."""
        members = self.members
        if not self.barrier or len(members) < members[0].expect or disagreement(members):
            return
        for member in members:
            if member.id != self._context.me and self._relay.beat_of(member.id) is None:
                return
            if member.cluster_id:
                self._context.alarm(
                    f"{member.name} belongs to a cluster already: no new one is formed with it"
                )
                return
        self._write(0, form(members, self._cluster, self._new_cluster_id))

    def _may_write(self, current: ClusterMap) -> bool:
        """Whether a majority of the nodes that vote answers, and no node holds a newer or a different map.

        If a majority of them is lost, only an operator can state that.
        """
        now = self._context.now
        nodes = [node.id for node in current.nodes if node.state != NodeState.DEAD]
        voting = {voter for part in current.partitions for voter in quorum_loss.voters_of(part)}
        settled = [node for node in nodes if node in voting]
        wanted = self._obeyed()
        lost = orders.lost_by(wanted)
        told = any(order[1] == orders.Verb.RECOVER and not self.objection(order, lost) for order in wanted)
        if not told and not quorum.won(settled, (), [n for n in settled if not self._relay.silent(n)]):
            if self._cut_off_since is None:
                self._cut_off_since = now
            elif now - self._cut_off_since > limits.CUT_OFF_MS:
                self._context.effects.reregister = len(self.members) > 1
                self._cut_off_since = now
            return False
        self._cut_off_since = None
        for node in nodes:
            if node == self._context.me or self._relay.silent(node):
                continue
            beat = self._relay.beat_of(node)
            if beat is None:
                return False
            if beat.map_version > current.version:
                return False  # that node will push its map
            if beat.map_version == current.version and beat.map_digest != self.map_digest:
                self._context.alarm(
                    f"two cluster maps have the number {current.version}: no changes are made"
                )
                return False
        return True

    def _repair(self, current: ClusterMap) -> None:
        """Write the next map, if one is due: for failures at once, for other changes in intervals."""
        now = self._context.now
        self.statements = {
            p: (said, at) for p, (said, at) in self.statements.items() if now - at <= limits.STATEMENT_MS
        }
        self._tried = {key: at for key, at in self._tried.items() if now - at <= 4 * limits.TAKE_OFFICE_MS}
        self._note_who_is_silent(current)
        urgent = any(self._relay.silent(part.primary) for part in current.partitions)
        drained = any(said.what == Said.HANDOVER for said, _ in self.statements.values())
        interval = limits.HANDOVER_INTERVAL_MS if drained else limits.MAP_WRITE_INTERVAL_MS
        if not urgent and now - self._written_at < interval:  # planning is expensive: not earlier
            self._look_at = self._written_at + interval
            return
        grace_ms = cluster_settings.setting(current, cluster_settings.GRACE_MS)
        seen = Observations(
            self.members, self._relay.suspected_by, self._unfit,
            [said for said, _ in self.statements.values()], self._tried, self._damaged, self.is_full,
            lambda node: self._silent_ms(node) >= limits.ABSENT_MS,
            lambda node: self._silent_ms(node) >= grace_ms,
            self.is_active,
            self._obeyed(),
            forgettable=self._is_long_dead(current), copy=self._copies.copy,
            apart=self._is_apart(current),
        )  # fmt: skip
        due = self._that_fits(current, seen)
        self._nothing_due, self._plan_at = due is None, now + limits.PLAN_AGAIN_MS
        if due is not None:
            self._write(current.version, due)

    def _is_calm(self, current: ClusterMap) -> bool:
        """Return whether nothing has changed since no map was due, every node is well, and no order or
        statement is pending. Then no map can become due. The check saves planning, which is slow with many
        partitions.
        """
        sight = self._sight_of(current)
        if sight is not None and sight == self._sight and self._context.now < self._plan_at:
            return self._nothing_due
        self._sight, self._nothing_due = sight, False
        return False

    def _sight_of(self, current: ClusterMap) -> list[Any] | None:
        """Return everything that the next map depends on, with the map that each node holds; None if a node
        is not well, or an order or a statement is pending."""
        if self.statements or self._tried or self._ordered:
            return None
        sight: list[Any] = [current.version, self.map_digest, self.members]
        for node in current.nodes:
            well = node.state == NodeState.ACTIVE and not self._unfit(node.id) and not self.is_full(node.id)
            suspects = self._relay.suspected_by(node.id)
            if not well or suspects is None or len(suspects) > 0:
                return None
            beat = self._relay.beat_of(node.id) if node.id != self._context.me else None
            sight.append(self._active_of(node.id))
            if beat is not None:
                sight += (beat.map_version, beat.map_digest)
        return sight

    def _that_fits(self, current: ClusterMap, seen: Observations) -> ClusterMap | None:
        """Return the next map; without newcomers if it would be too large, and then without settings too."""
        told = [order for order in seen.orders if order[1] != orders.Verb.SET]
        full, reasons = replace(seen, room=False), [""]
        for trial in (seen, full, replace(full, orders=told)):
            due = next_map(current, trial)
            reasons.append("" if due is None else too_large(current, due, self._damaged, self._size))
            if not reasons[-1]:
                break
        if reasons[1] not in ("", self.no_room):
            self._context.alarm(reasons[1])
        self.no_room = reasons[1]
        return due

    def _is_apart(self, current: ClusterMap) -> Callable[[Partition], bool]:
        """Return a function: whether a partition's primary has not heard its learner for ABSENT_MS, as long
        as this node has observed it."""
        now = self._context.now
        cut = self._relay.cut_off([(part.primary, part.learner) for part in current.partitions])
        self._apart_since = since = {pair: self._apart_since.get(pair, now) for pair in cut}
        return lambda part: now - since.get((part.primary, part.learner), now) >= limits.ABSENT_MS

    def _is_long_dead(self, current: ClusterMap) -> Callable[[NodeId], bool]:
        """Return a function: whether a node has been dead for the setting `forget_ms`, as long as this node
        has observed it."""
        now, after = self._context.now, cluster_settings.setting(current, cluster_settings.FORGET_MS)
        dead = [node.id for node in current.nodes if node.state == NodeState.DEAD]
        self._dead_since = since = {node: self._dead_since.get(node, now) for node in dead}
        return lambda node: node in since and now - since[node] >= after

    def _obeyed(self) -> list[Order]:
        """Return the operators' orders that nodes report at present. An order that is carried out is dropped:
        if it came again, it would undo later orders.
        """
        now, current = self._context.now, self._context.cluster_map
        self._ordered = {
            about: (order, at)
            for about, (order, at) in self._ordered.items()
            if now - at <= limits.STATEMENT_MS and not (current and orders.is_done(order, current))
        }
        return [order for order, _ in self._ordered.values()]

    def _note_who_is_silent(self, current: ClusterMap) -> None:
        silent = [node.id for node in current.nodes if self._relay.silent(node.id)]
        self._silent_since = {node: self._silent_since.get(node, self._context.now) for node in silent}

    def _silent_ms(self, node: NodeId) -> Millis:
        """Return for how long a node has been silent, in milliseconds, as long as this node has observed it;
        -1 if it answers."""
        since = self._silent_since.get(node)
        return -1 if since is None else self._context.now - since

    def is_active(self, number: int) -> bool:
        """Tell whether the primary of that partition says that it serves."""
        current = self._context.cluster_map
        if current is None:
            return False
        primary = current.partitions[number].primary
        active = self._active_of(primary)
        return number >> 3 < len(active) and bool(active[number >> 3] >> (number & 7) & 1)

    def _active_of(self, node: NodeId) -> bytes:
        """Return a bit for each partition that a node leads and serves, by its newest heartbeat."""
        if node == self._context.me:
            return self._mine_active
        beat = self._relay.beat_of(node)
        return beat.active if beat is not None else b""

    def _damaged(self, node: NodeId) -> bool:
        if node == self._context.me:
            return self._context.damaged
        beat = self._relay.beat_of(node)
        return beat is not None and beat.damaged

    def is_full(self, node: NodeId) -> bool:
        """Return whether a node reports, or has reported within FULL_MS, that its disk has less room than its
        reserve. A move that was rolled back has made room, and would fill the disk again.
        """
        if self._disk_of(node) in (DiskState.SHORT, DiskState.SPENT):
            self._full_at[node] = self._context.now
        return self._context.now - self._full_at.get(node, -limits.FULL_MS) < limits.FULL_MS

    def _disk_of(self, node: NodeId) -> int:
        """Return the state of a node's disk, by its newest heartbeat, direct or relayed."""
        beat = self._relay.beat_of(node) if node != self._context.me else None
        return beat.disk if beat is not None else self._context.disks.state_of(node)

    def _unfit(self, node: NodeId) -> bool:
        if self._disk_of(node) == DiskState.SILENT:
            return True
        if node == self._context.me:
            return self._context.damaged or self._context.draining
        beat = self._relay.beat_of(node)
        return beat is None or beat.damaged or beat.draining

    def _write(self, expected: int, due: ClusterMap) -> None:
        self._context.effects.map_write = MapWrite(expected, due)
        self._written_at = self._context.now
        self._doubt_from = self._sooner(limits.MAP_ANSWER_MS)
        self.writing = True
        self._context.count("map_write_tried")
