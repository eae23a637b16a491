"""One seed: a world, faults, clients, and the verdict."""

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ringkeep.core.protocol.types import Index
from ringkeep.sim.checks.accepted_losses import forgive, repeated
from ringkeep.sim.checks.all_checks import Checks
from ringkeep.sim.clients import Clients
from ringkeep.sim.faults.disk_losses import DiskLosses
from ringkeep.sim.faults.schedule import FaultSchedule
from ringkeep.sim.feeds.readers import READERS, Readers, has_readers
from ringkeep.sim.feeds.verdict import judge_readers
from ringkeep.sim.histories.checker import check
from ringkeep.sim.histories.history import Operation
from ringkeep.sim.listings.listers import LISTERS, Listers
from ringkeep.sim.listings.verdict import judge_listings
from ringkeep.sim.operations.clients import CALLS, OperationClients
from ringkeep.sim.operations.verdict import judge
from ringkeep.sim.trials.disk_failure import DiskFailure
from ringkeep.sim.trials.lasting_cut import LastingCut
from ringkeep.sim.trials.lasting_stall import LastingStall
from ringkeep.sim.world.environment import has_full_rooms, has_listers, has_operations, has_stragglers
from ringkeep.sim.world.world import World

CLIENTS = 8
KEYS = 5
OPERATIONS = 500
FAULT_KINDS = 3
"""A world runs until so many kinds of fault have occurred and a primary was replaced."""
LONG_MS = 60_000
REST_MS = 500
DISK_FAILS_EVERY = 4
"""In one of so many seeds a disk fails at the end, in a healthy cluster; in another, a store stalls."""
CALM_MS = 30_000
"""Within this time after the last fault the cluster must be healthy again, without help."""
LOOK_EVERY = 10
"""How many events pass between two checks of the whole cluster's health, which are expensive."""
NO_LIMIT = 1 << 60


@dataclass(slots=True)
class SeedOutcome:
    """The outcome of one seed. `failure` is "" if every check passed. `counters`: of the world and of every
    core."""

    seed: int
    failure: str = ""
    operations: int = 0
    steps: int = 0
    counters: Counter[str] = field(default_factory=Counter)


def size_of(seed: int) -> tuple[int, int]:
    """Return with how many nodes and partitions this seed's world begins."""
    return (5, 3) if seed % 4 == 0 or has_stragglers(seed) or has_full_rooms(seed) else (3, 2)


def run_seed(
    seed: int,
    steps: int = NO_LIMIT,
    trace: Callable[[str], None] | None = None,
    history: list[Operation] | None = None,
) -> SeedOutcome:
    """Run one world. Deterministic: the same seed and code give the same outcome.

    `trace`: called with each line of the trace. `history`: receives the clients' operations.
    """
    nodes, partitions = size_of(seed)
    world = World(seed, nodes, partitions, trace=trace)
    outcome = SeedOutcome(seed)
    try:
        _run(world, outcome, steps, [] if history is None else history)
    except AssertionError as error:
        outcome.failure = str(error) or f"an assertion of the code failed\n{traceback.format_exc()}"
    except Exception:
        outcome.failure = f"a defect\n{traceback.format_exc()}"
    outcome.steps = world.events.count
    _note_counters(world, outcome)
    return outcome


def _run(world: World, outcome: SeedOutcome, steps: int, history: list[Operation]) -> None:
    invariants = Checks(world).invariants
    world.start()
    clients = Clients(world, CLIENTS, OPERATIONS, KEYS, history)
    callers = OperationClients(world, CALLS if has_operations(world.seed) else 0)
    readers = Readers(world, READERS if has_readers(world.seed) else 0)
    listers = Listers(world, LISTERS if has_listers(world.seed) else 0)
    faults = FaultSchedule(world, clients, invariants)
    losses = DiskLosses(world)

    def over() -> bool:
        enough = (
            losses.struck
            and (not world.older_at_first or faults.updates.done)
            and len(faults.struck) >= FAULT_KINDS
            and world.counters["epochs"] > world.partitions
        )
        return (finished() and enough) or world.events.count > steps

    def finished() -> bool:
        return clients.finished and callers.finished

    world.events.run_until(lambda: finished() or world.events.count > steps, LONG_MS)
    if not over():
        faults.all_kinds()
        world.events.run_until(over, world.events.now + LONG_MS)
    faults.stop()
    clients.stop()
    callers.stop()
    _recover(world, finished)
    _try_lasting_faults(world, faults, finished)
    if has_operations(world.seed):
        callers.go_on_calmly()
        done = world.events.run_until(lambda: callers.finished, world.events.now + CALM_MS)
        assert done, "calls of a calm cluster do not end"
    listers.go_on_calmly()
    listed = world.events.run_until(lambda: listers.finished, world.events.now + CALM_MS)
    assert listed, "listings of a calm cluster do not end"
    readers.stay()
    ends = {partition: Index(log.last) for partition, log in invariants.committed.items()}
    read = world.events.run_until(lambda: readers.at_end(ends), world.events.now + CALM_MS)
    assert read, f"readers of a calm cluster do not come to the end of the logs: {ends}"
    rest = world.events.now + REST_MS
    rested = world.events.run_until(lambda: world.events.now >= rest and world.at_rest, rest + CALM_MS)
    assert rested, "the replicas of a partition do not come to agree"
    invariants.check_agreement()
    if has_operations(world.seed):
        judge(world, invariants.committed, callers)
    if listers.all:
        shown = [each for lister in listers.all for each in lister.shown]
        judge_listings(invariants.committed, [*shown, *callers.shown])
    judge_readers(world, invariants.committed, readers)
    tidy = world.events.run_until(lambda: world.tidy, world.events.now + CALM_MS)
    assert tidy, "requests of departed coordinators are kept for ever"
    again = repeated(history, invariants.accepted, world.partitions)
    assert not again, again
    forgive(history, invariants.accepted, world.partitions)
    violation = check(history)
    assert violation is None, f"not linearizable\n{violation}"
    outcome.operations = len(history)


def _try_lasting_faults(world: World, faults: FaultSchedule, finished: Callable[[], bool]) -> None:
    """One fault after the other, in a cluster that is well: each lasts, and has bounds of its own."""
    cut = LastingCut(world, faults)
    cut.endure()
    cut.end()
    _recover(world, finished)
    if world.seed % DISK_FAILS_EVERY == 1:
        DiskFailure(world).run()
        _recover(world, finished)
    if world.seed % DISK_FAILS_EVERY == 3:
        LastingStall(world).run()
        _recover(world, finished)


def _recover(world: World, finished: Callable[[], bool]) -> None:
    looked = [0]

    def well() -> bool:
        looked[0] += 1
        return finished() and looked[0] % LOOK_EVERY == 0 and world.healthy()

    calm = world.events.run_until(well, world.events.now + CALM_MS)
    assert calm, "not healthy again in time after the last fault"


def _note_counters(world: World, outcome: SeedOutcome) -> None:
    outcome.counters.update(world.counters)
    for node in world.nodes.values():
        if node.alive:  # those of ended lives are the world's already
            outcome.counters.update(node.driver.node.context.counters)
