"""Runs all checks of one world, in the order in which they must see an event."""

from ringkeep.core.protocol.cluster_map import ClusterMap
from ringkeep.core.protocol.effects import Batch
from ringkeep.core.protocol.messages import Message
from ringkeep.ports import Ending
from ringkeep.sim.checks.bytes_in_flight import BytesInFlight
from ringkeep.sim.checks.disk_rules import DiskRules
from ringkeep.sim.checks.failover_reasons import FailoverReasons
from ringkeep.sim.checks.health_claims import HealthClaims
from ringkeep.sim.checks.invariants import Invariants
from ringkeep.sim.checks.map_rules import illegal
from ringkeep.sim.errors import Violated
from ringkeep.sim.world.machine import SIM_TICK_MS, SimMachine, Watcher
from ringkeep.sim.world.world import World

LOOK_MS = 250


class Checks(Watcher):
    """Raises Violated as soon as a check fails."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.invariants = Invariants(world)
        self._claims = HealthClaims(world, self.invariants)
        self._reasons = FailoverReasons(world)
        self._in_flight = BytesInFlight(world)
        self._disk_rules: dict[str, DiskRules] = {}  # by the name of the machine
        world.watchers.append(self)

    def on_begin(self) -> None:
        self._world.events.after(0, self._claims.look)
        self._look_for_lingering()

    def _look_for_lingering(self) -> None:
        """Check that ended faults are soon no longer suspected, and acknowledged bytes soon no longer
        counted."""
        self._world.events.after(LOOK_MS, self._look_for_lingering)
        text = self._reasons.lingering() or self._in_flight.left_over()
        if text:
            raise Violated(f"{self._world.events.now} {text}")

    def on_start(self, node: SimMachine) -> None:
        self._disk_rules[node.name] = DiskRules(node)
        self.invariants.on_start(node)

    def on_write(self, node: SimMachine, ticket: int, batch: Batch) -> None:
        self.invariants.on_write(node, ticket, batch)
        self._disk_rules[node.name].on_write(batch)

    def on_send(self, node: SimMachine, messages: list[Message]) -> None:
        self.invariants.on_send(node, messages)

    def on_durable(self, node: SimMachine, ticket: int) -> None:
        self.invariants.on_durable(node, ticket)

    def on_tick(self, node: SimMachine) -> None:
        self._disk_rules[node.name].on_tick(SIM_TICK_MS)

    def after_turn(self, node: SimMachine) -> None:
        self.invariants.after_turn(node)
        self._disk_rules[node.name].after_turn()

    def on_died(self, node: SimMachine) -> None:
        self.invariants.after_turn(node)  # the turn's decisions count, though its messages may never be sent

    def on_stop(self, node: SimMachine, ending: Ending) -> None:
        cluster_map = self._world.map
        has_left = cluster_map is not None and cluster_map.node(node.id) is None
        if ending is Ending.REFUSED and not has_left:
            raise Violated(f"{self._world.events.now} {node.name} was refused: {node.life.stopped}")

    def on_lost(self, node: SimMachine) -> None:
        self.invariants.forget_promises(node)
        self.invariants.check_held()

    def on_damage_found(self, node: SimMachine) -> None:
        self.invariants.on_old_copy(node, ())

    def on_proposal(self, node: SimMachine) -> None:
        self._reasons.on_proposal(node)

    def on_map(self, before: ClusterMap | None, after: ClusterMap) -> None:
        now = self._world.events.now
        if before is None:
            self._reasons.on_map(before, after)
            missing = self._world.expect - len(after.nodes)
            assert not missing, (
                f"the barrier is open, and {missing} of {self._world.expect} nodes are not there"
            )
            return
        reason = illegal(before, after)
        if reason:
            raise Violated(f"{now} map {after.version}: 7. {reason}")
        self._reasons.on_map(before, after)
        reason = self._reasons.unfounded(before, after)
        assert not reason, f"{now} map {after.version}: {reason}"
        self.invariants.check_step(before, after)
        self.invariants.check_recoveries(before, after)
        self.invariants.check_held()
