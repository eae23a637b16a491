"""Waits until the cluster has carried out an order; shows the progress, and what holds it up.

The condition decides what "done" means. Interrupting the wait does not cancel the order.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ringkeep.cli.cluster.cluster_poller import ClusterPoller
from ringkeep.cli.cluster.responses import Json, items, number
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.progress_line import ProgressLine
from ringkeep.cli.terminal.units import duration, size
from ringkeep.exit_codes import INTERRUPTED

POLL_S: Final = 0.5
STUCK_S: Final = 5.0
"""When nothing has changed for so long, the reason is printed, once."""


@dataclass(frozen=True, slots=True)
class Look:
    """The progress at one moment. `done` is None until it is over, then what was done, for people.

    `left` is what remains, counted down ("12 replicas"); `transfer` the bytes that remain, and the bytes per
    second; `reasons` say what may hold it up.
    """

    done: str | None
    left: str = ""
    transfer: tuple[float, float] = (0, 0)
    reasons: tuple[str, ...] = ()


Goal = Callable[[Json], Look]
"""Evaluates `/v1/cluster`. Raises Failure if the condition will never hold."""


def wait(poller: ClusterPoller, goal: Goal, how_to_go_on: str) -> str:
    """Return what was done, once it is.

    Raises Failure: the condition's own, 4 if no node answers any more, 130 with `how_to_go_on` after Ctrl-C.
    """
    stuck = Stuck()
    with ProgressLine() as progress:
        try:
            while True:
                cluster = poller.look()
                if cluster is None:
                    progress.show("waiting for a node that answers and is up to date")
                else:
                    look = goal(cluster)
                    if look.done is not None:
                        return look.done
                    progress.show(_line(look))
                    if report := stuck.report((look.left, look.transfer[0]), look.reasons):
                        progress.say(report)
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            raise Failure(f"stopped waiting; {how_to_go_on}", INTERRUPTED) from None


def frozen(cluster: Json) -> list[str]:
    """Return why the controller cannot change anything at present, [] if it can."""
    if cluster.get("zookeeper") not in (None, "connected"):
        return ["ZooKeeper is unreachable; the cluster changes nothing until it is back"]
    alarm = cluster.get("alarm")
    return [str(alarm)] if alarm else []


def held_up(cluster: Json, moves: Json, about: str = "") -> tuple[str, ...]:
    """Return why the moves of a node (of any, for "") may make no progress, each reason once."""
    reasons = frozen(cluster)
    state = moves.get("state")
    if state in ("paused", "cancelled"):
        reasons.append(f"moves are {state} (ringkeep moves resume)")
    # A planned move usually waits for its turn; that is worth reporting only when no move is running.
    for move in _moves_of(moves, "running", about) or _moves_of(moves, "planned", about):
        reasons += reasons_of(move)
    return tuple(dict.fromkeys(reasons))


def reasons_of(move: Json) -> list[str]:
    """Return what one move waits for."""
    waits = move.get("waits_for")
    return [str(each) for each in (waits if isinstance(waits, list) else [waits]) if each]


def transfer(moves: Json, about: str) -> tuple[float, float]:
    """Return how many bytes of a node are still to be moved, and the bytes per second."""
    mine = [each for name in ("running", "planned") for each in _moves_of(moves, name, about)]
    left = sum(max(number(each, "bytes") - number(each, "bytes_done"), 0) for each in mine)
    return left, sum(number(each, "rate") for each in mine)


def _moves_of(moves: Json, name: str, about: str) -> list[Json]:
    return [each for each in items(moves, name) if not about or about in (each.get("from"), each.get("to"))]


def _line(look: Look) -> str:
    """Return the progress in one line: what is left, the rate, the expected time, the reasons."""
    remaining, rate = look.transfer
    parts = [f"{look.left} left"] if look.left else []
    if remaining:
        parts.append(size(remaining))
    if rate:
        parts += [f"{size(rate)}/s", f"about {duration(remaining / rate)}"]
    return ", ".join(parts) + (f" – {'; '.join(look.reasons)}" if look.reasons else "")


class Stuck:
    """Notices that nothing has changed for STUCK_S, and reports why, once for each reason."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._measure: object = None
        self._said: set[str] = set()

    def report(self, measure: object, reasons: Iterable[str]) -> str:
        """Return what to print, "" for nothing. `measure` changes as long as there is progress."""
        now = time.monotonic()
        if measure != self._measure:
            self._measure, self._since = measure, now
        fresh = [reason for reason in reasons if reason not in self._said]
        if not fresh or now - self._since < STUCK_S:
            return ""
        self._said.update(fresh)
        return f"no progress: {'; '.join(fresh)}"
