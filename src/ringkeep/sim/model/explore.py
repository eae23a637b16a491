"""Breadth-first search through all states: each once, so that the path to a violation is the shortest."""

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from ringkeep.sim.errors import Violated
from ringkeep.sim.model.bounds import ModelBounds
from ringkeep.sim.model.layout import State
from ringkeep.sim.model.moves import BY_ITSELF, Move
from ringkeep.sim.model.numbers import Numbers
from ringkeep.sim.model.world import ModelWorld


@dataclass(slots=True)
class Exploration:
    """What an exploration found. `depths`: how many new states at each distance from the first one.

    `moves`: how many were tried; those that did not lead to new states led to known ones. `rests`: the number
    of states in which nothing happens by itself any more. `seconds`: of processor time. `violation`: the
    violation in the last state of `story`; "" if there is none.
    """

    bounds: ModelBounds
    depths: list[int] = field(default_factory=list)
    moves: int = 0
    rests: int = 0
    seconds: float = 0.0
    exhausted: bool = False
    violation: str = ""
    story: list[Move] = field(default_factory=list)

    @property
    def states(self) -> int:
        return sum(self.depths)


class Explorer:
    """One exploration. Of each state only a digest is kept, and the move that first led to it."""

    def __init__(self, bounds: ModelBounds, reduced: bool = True) -> None:
        self.world = ModelWorld(bounds, reduced)
        self.report = Exploration(bounds)
        self._met: set[bytes] = set()
        self._moves: Numbers[Move] = Numbers()
        self._parents: list[array[int]] = []
        self._taken: list[array[int]] = []

    def run(
        self, depth: int | None = None, states: int | None = None, told: Callable[[str], None] | None = None
    ) -> Exploration:
        """Explore until nothing new is found, a violation is, or so many levels or states were seen."""
        report, begin = self.report, time.process_time()
        try:
            level = [self.world.begin()]
            self._note_new(level[0])
        except Violated as error:
            report.violation = f"before the first move: {error}"
            return report
        self._parents.append(array("I", [0]))
        self._taken.append(array("I", [0]))
        report.depths.append(1)
        while level and not report.violation:
            if depth is not None and len(report.depths) > depth:
                break
            if states is not None and report.states >= states:
                break
            level = self._next(level)
            report.seconds = time.process_time() - begin
            if level:
                report.depths.append(len(level))
                if told is not None:
                    told(self._line(len(level)))
        report.exhausted = not level and not report.violation
        return report

    def _next(self, level: list[State]) -> list[State]:
        """Try every move from every state of one level; return the states that are new.

        Most known states were reached just before: they are recognised without their digest.
        """
        world, report = self.world, self.report
        found: list[State] = []
        near = set(level)
        parents, taken = array("I"), array("I")
        for at, state in enumerate(level):
            moves, move = world.moves(state), None
            try:
                if not any(move[0] in BY_ITSELF for move in moves):
                    report.rests += 1
                    world.check_rest(state)
                for move in moves:
                    report.moves += 1
                    reached = world.step(state, move)
                    if reached in near:
                        continue
                    near.add(reached)
                    if self._note_new(reached):
                        found.append(reached)
                        parents.append(at)
                        taken.append(self._moves.of(move))
            except Violated as error:
                report.violation = str(error)
                report.story = [*self._way_to(at), *([move] if move is not None else [])]
                return []
        self._parents.append(parents)
        self._taken.append(taken)
        return found

    def _note_new(self, state: State) -> bool:
        """Return whether a state is new; if so, check it, and remember its digest."""
        key = self.world.key(state)
        if key in self._met:
            return False
        self._met.add(key)
        self.world.check(state)
        return True

    def _way_to(self, at: int) -> list[Move]:
        """Return the moves that led to a state of the newest complete level."""
        moves: list[Move] = []
        for parents, taken in zip(self._parents[:0:-1], self._taken[:0:-1], strict=True):
            moves.append(self._moves.things[taken[at]])
            at = parents[at]
        return moves[::-1]

    def _line(self, new: int) -> str:
        report, local = self.report, self.world.locals.transitions
        return (
            f"depth {len(report.depths) - 1:>3}: {new:>9,} new, {report.states:>10,} states, "
            f"{report.moves:>11,} moves, {local:>8,} of one node, {report.seconds:7.1f} s"
        )
