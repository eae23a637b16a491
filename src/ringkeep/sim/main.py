"""One seed: a world, faults, clients, and the verdict."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ringkeep.sim.checker import check
from ringkeep.sim.clients import Clients
from ringkeep.sim.faults import Faults
from ringkeep.sim.world import World

CLIENTS = 6
KEYS = 4
OPERATIONS = 120
REST_MS = 500
CALM_MS = 30_000
"""Within so long after the last fault the cluster must be healthy again, with nobody's help."""


@dataclass(slots=True)
class Outcome:
    """What one seed showed. `failure` is "" when all was well. `counters`: of the world and of every core."""

    seed: int
    failure: str = ""
    operations: int = 0
    steps: int = 0
    counters: dict[str, int] = field(default_factory=dict)


def run_seed(seed: int, steps: int = 1 << 60, trace: Callable[[str], None] | None = None) -> Outcome:
    """Run one world. Deterministic: the same seed and code give the same outcome."""
    nodes, partitions = (3, 2) if seed % 4 else (5, 3)
    world = World(seed, nodes, partitions, trace=trace)
    outcome = Outcome(seed)
    try:
        world.start()
        clients = Clients(world, CLIENTS, OPERATIONS, KEYS)
        faults = Faults(world)
        world.events.run_until(lambda: clients.finished or world.events.count > steps, 600_000)
        faults.stop()
        deadline = world.events.now + CALM_MS
        calm = world.events.run_until(lambda: clients.finished and world.healthy(), deadline)
        assert calm, "not healthy again in time after the last fault"
        rest = world.events.now + REST_MS
        world.events.run_until(lambda: world.events.now >= rest and world.at_rest, rest + CALM_MS)
        world.invariants.check_agreement()
        _note_counters(world, outcome)
        violation = check(clients.history)
        assert violation is None, f"not linearizable\n{violation}"
        outcome.operations = len(clients.history)
    except AssertionError as error:
        outcome.failure = f"seed {seed}: {error}"
    outcome.steps = world.events.count
    return outcome


def _note_counters(world: World, outcome: Outcome) -> None:
    outcome.counters = dict(world.counters)
    for node in world.nodes.values():
        for name, count in node.driver.node.context.counters.items():
            outcome.counters[name] = outcome.counters.get(name, 0) + count


def run(seed: int, steps: int, trace: bool) -> int:
    """Run one seed for the command line; print the verdict, and return the exit code."""
    outcome = run_seed(seed, steps, print if trace else None)
    if outcome.failure:
        print(f"FAILED {outcome.failure}")
        print(f"again with: ringkeep simulate --seed {seed} --trace")
        return 1
    print(f"seed {seed}: {outcome.operations} operations, {outcome.steps} steps, all invariants held")
    return 0
