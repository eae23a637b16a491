"""What the simulator's faults leave behind, and what it takes for trouble between two nodes."""

from types import SimpleNamespace
from typing import Any

from tests.support.core.parts import A, B, C, D, a_map, a_part

from ringkeep.sim.checks.failover_reasons import HEALS_MS, FailoverReasons
from ringkeep.sim.checks.invariants import Invariants
from ringkeep.sim.clients import Clients
from ringkeep.sim.faults.schedule import FaultSchedule
from ringkeep.sim.world.world import World


def test_no_store_refuses_writes_once_the_faults_are_over() -> None:
    """A store that writes nothing just now would refuse the next writes whenever they come."""
    world = World(1)
    world.start()
    faults = FaultSchedule(world, Clients(world, 0, 0, 1, []), Invariants(world))
    stores = [node.engine for node in world.nodes.values()]
    for store in stores:
        store.stall_next(20)
    faults.stop()
    assert not any(store.stalled() for store in stores)


def test_who_joins_has_a_while_until_it_is_heard() -> None:
    def machine(suspects: Any) -> Any:
        detector = SimpleNamespace(suspected=lambda: [suspects], peers={A: None, D: None})
        return SimpleNamespace(
            name="", alive=True, absent_until=0, network=SimpleNamespace(wants=lambda peer: True),
            driver=SimpleNamespace(at_rest=True, serving=True, node=SimpleNamespace(detector=detector)),
        )  # fmt: skip

    a, d = machine(D), machine(A)
    a.id, d.id = A, D
    world: Any = SimpleNamespace(
        nodes={A: a, D: d},
        events=SimpleNamespace(now=10_000),
        blocked=lambda one, other: False,
        cut_until={},
        slow_until=0,
    )
    reasons = FailoverReasons(world)
    before = a_map(a_part(A), nodes=(A, B, C))
    reasons.on_map(None, before)
    world.events.now += HEALS_MS
    reasons.on_map(before, a_map(a_part(A), nodes=(A, B, C, D), version=8))
    assert reasons.lingering() == ""
    world.events.now += HEALS_MS
    assert "nothing is wrong between them" in reasons.lingering()
