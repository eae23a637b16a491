"""The time in which faults strike: it ends when all of them have been undone."""

from collections.abc import Callable

from ringkeep.sim.world.world import World


class FaultPeriod:
    """`over`: everything was healed, and nothing may strike any more."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.over = False

    def later(self, low: int, high: int, call: Callable[[], None]) -> None:
        """Do the second half of a fault, unless the period is over by then."""

        def strike_again() -> None:
            if not self.over:
                call()

        self._world.events.after(self._world.random.randint(low, high), strike_again)
