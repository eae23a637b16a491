"""Crashes at the worst moments: a trigger waits for its moment at any node, and fires once.

A random crash rarely falls between a write and its message, or inside the swap of a snapshot. Setting a
trigger is one kind of fault; it waits for what nodes write and send, and for maps that a controller writes.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.core.protocol.hot_messages import Append
from ringkeep.core.protocol.messages import Message, Promise, Release, Report, Said, SnapshotPull
from ringkeep.core.protocol.types import NodeId
from ringkeep.ports import Ending
from ringkeep.sim.faults.crashes import Crashes
from ringkeep.sim.world.machine import Died, SimMachine, Watcher
from ringkeep.sim.world.world import World

ON_WRITE: Final = ("between_write_and_send", "promise_not_synced", "inside_a_swap", "replica_deleted")
ON_SEND: Final = ("half_of_the_frames", "promise_sent", "release_sent", "swap_done")
ON_MAP: Final = ("new_primary", "joint_primary", "newcomer", "replaced_voter", "controller")
TRIGGER: Final = "trigger_"
"""Prefix of the counters of triggers that fired."""
KINDS: Final = (*ON_WRITE, *ON_SEND, *ON_MAP, "report_again")
LASTS_MS: Final = 1_500


class Triggers(Watcher):
    """All triggers of one world. Every process that they end is restarted."""

    def __init__(self, world: World, crashes: Crashes) -> None:
        self._world = world
        self._crashes = crashes
        self._set: dict[str, int] = {}  # kind -> until when it waits
        self.when_promised: dict[NodeId, Callable[[], None]] = {}
        """What is to happen when that node sends its next Promise."""
        self.when_appended: dict[tuple[NodeId, int], tuple[int, Callable[[], None]]] = {}
        """What is to happen when that node sends so many Appends with entries of that partition to a peer."""
        self.when_led: dict[int, Callable[[NodeId], bool]] = {}
        """What is to happen when that partition is given to another primary; asked again as long as it says
        so."""

    def set(self, kind: str) -> None:
        """Let this trigger wait for its moment, for a while."""
        assert kind in KINDS, kind
        self._set[kind] = self._world.events.now + LASTS_MS

    def clear(self) -> None:
        """Remove all triggers."""
        self._set.clear()
        self.when_promised.clear()
        self.when_appended.clear()
        self.when_led.clear()

    def _fires(self, kind: str) -> bool:
        until = self._set.get(kind)
        if until is None:
            return False
        del self._set[kind]
        if self._world.events.now > until:
            return False
        self._world.count(f"{TRIGGER}{kind}")
        return True

    def _die(self, node: SimMachine, kind: str) -> None:
        self._world.log(node, f"dies: {kind.replace('_', ' ')}")
        raise Died(kind)

    def on_died(self, node: SimMachine) -> None:
        self._crashes.crash(node)

    def on_stop(self, node: SimMachine, ending: Ending) -> None:
        if ending is Ending.DISK:
            self._world.events.at(self._world.events.now, partial(self._crashes.disk_failed, node))

    # --- moments --------------------------------------------------------------------------------------

    def on_write(self, node: SimMachine, ticket: int, batch: Batch) -> None:
        if not self._set:
            return
        if batch.log and self._fires("between_write_and_send"):
            self._die(node, "between_write_and_send")
        if any(key[:1] == b"P" for key in batch.meta) and self._fires("promise_not_synced"):
            self._die(node, "promise_not_synced")
        swapped = any(family == Family.DATA for family, _, _ in batch.ranges)
        rows = [value for key, value in batch.meta.items() if key[:1] == b"R"]
        if swapped and any(rows) and self._fires("inside_a_swap"):
            self._die(node, "inside_a_swap")
        if swapped and None in rows and self._fires("replica_deleted"):
            self._die(node, "replica_deleted")

    def on_send(self, node: SimMachine, messages: list[Message]) -> None:
        """If a trigger fires here, the frame is the last that the node sends."""
        if self.when_promised and any(type(message) is Promise for message in messages):
            promised = self.when_promised.pop(node.id, None)
            if promised is not None:
                promised()
        if self.when_appended:
            self._count_appends(node, messages)
        if not self._set:
            return
        if self._world.random.random() < 0.2 and self._fires("half_of_the_frames"):
            self._die(node, "half_of_the_frames")
        for message in messages:
            kind = type(message)
            if kind is Promise and self._fires("promise_sent"):
                self._soon(node, "promise_sent")
            elif kind is Release and self._fires("release_sent"):
                self._soon(node, "release_sent")
            elif kind is SnapshotPull and message.done and self._fires("swap_done"):  # type: ignore[union-attr]  # the kind was looked at
                self._soon(node, "swap_done")
            elif kind is Report and self._changes(message) and self._fires("report_again"):
                self._say_again(node, message)

    def _count_appends(self, node: SimMachine, messages: list[Message]) -> None:
        for message in messages:
            if type(message) is not Append or not message.entries:
                continue
            name = node.id, int(message.partition)
            left, call = self.when_appended.get(name, (0, None))
            if call is None:
                continue
            if left > 1:
                self.when_appended[name] = left - 1, call
            else:
                del self.when_appended[name]
                call()

    def _soon(self, node: SimMachine, kind: str) -> None:
        """End a node just after its turn: its messages are on their way, and nothing is known to be
        durable."""
        self._world.log(node, f"dies: {kind.replace('_', ' ')}")
        self._world.events.at(self._world.events.now, partial(self._crashes.crash, node))

    def _changes(self, message: Message) -> bool:
        """Return whether a report completes a step of a change of replicas."""
        assert isinstance(message, Report)
        return any(what in (Said.CAUGHT_UP, Said.SETTLED) for _, _, _, what, _ in message.statements)

    def _say_again(self, node: SimMachine, message: Message) -> None:
        """Deliver a report to all nodes much later, as from a connection that was stuck."""
        world, life = self._world, (node.id, node.incarnation)

        def arrive() -> None:
            for other in list(world.nodes.values()):
                if other.alive and other.id != life[0]:
                    other.deliver(partial(other.driver.received, *life, [message]))

        for _ in range(8):
            world.events.after(world.random.randint(100, 8_000), arrive)

    def on_map(self, before: ClusterMap | None, after: ClusterMap) -> None:
        """Perhaps end a node to which the new map gives something, before it learns of it."""
        if before is None:
            return
        for number, led in list(self.when_led.items()):
            new = after.partitions[number]
            if new.epoch != before.partitions[number].epoch and not led(new.primary):
                self.when_led.pop(number, None)
        if not self._set:
            return
        for old, new in zip(before.partitions, after.partitions, strict=True):
            victims = {
                "new_primary": new.primary if new.epoch != old.epoch else None,
                "joint_primary": new.primary if new.old_voters and not old.old_voters else None,
                "newcomer": next((v for v in new.voters if v not in old.voters), new.learner),
                "replaced_voter": next((v for v in old.voters if v not in new.voters), None),
            }
            for kind, victim in victims.items():
                node = self._world.nodes.get(victim) if victim is not None else None
                if node is not None and kind in self._set and self._fires(kind):
                    self._world.log(node, f"is about to die: {kind.replace('_', ' ')}")
                    wait = self._world.random.randint(0, 60)
                    self._world.events.after(wait, partial(self._crashes.crash, node))
        if "controller" in self._set and self._fires("controller"):
            members = self._world.service.members()
            node = self._world.nodes.get(members[0].id) if members else None
            if node is not None:
                self._world.log(node, "is about to die: controller")
                self._world.events.after(
                    self._world.random.randint(0, 20), partial(self._crashes.crash, node)
                )
