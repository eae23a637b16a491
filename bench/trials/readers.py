"""Readers of listings, each in a process of its own: they stream all keys again and again, through one node
after the other, and judge what they get.
"""

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from harness.cluster import Trouble
from harness.load import Endpoint
from trials.judge import Faults, Judge, key_of
from trials.lines import EndedEarly, stream
from trials.stock import Stock

PAUSE_S: Final = 0.1  # after a node that gave nothing
STUCK_S: Final = 120.0  # without a key: the pass is given up
MARK_S: Final = 0.25


@dataclass(slots=True)
class Pass:
    """One pass over all keys. Times of the monotonic clock. `marks`: (when, keys told since the mark before).
    `early`: why streams ended before the pass was over, each with how often. `through`: ports of the nodes.
    """

    reader: int
    began: float
    ended: float = 0.0
    told: int = 0
    faults: Faults = field(default_factory=Faults)
    marks: list[tuple[float, int]] = field(default_factory=list)
    early: Counter[str] = field(default_factory=Counter)
    through: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Task:
    """What readers do. `passing`: keys that may be there as well. `least_bytes`: of a line."""

    stock: Stock
    query: str = ""
    passing: frozenset[bytes] = frozenset()
    least_bytes: int = 0


def read_once(endpoints: Sequence[Endpoint], first: int, reader: int, task: Task, stock: list[bytes]) -> Pass:
    """Read all keys once, beginning at a node; judge them. Raises Trouble if it gets nowhere."""
    one, judge = Pass(reader, time.monotonic()), Judge(stock, task.passing)
    marked, progress = (one.began, 0), one.began
    number = first
    while True:
        endpoint = endpoints[number % len(endpoints)]
        before = judge.told
        try:
            for lines in stream(endpoint, task.query, judge.last):
                if task.least_bytes and min(map(len, lines)) < task.least_bytes:
                    raise Trouble(f"a line has {min(map(len, lines))} bytes only")
                judge.take(map(key_of, lines))
                progress = now = time.monotonic()
                if now - marked[0] > MARK_S:
                    one.marks.append((now, judge.told - marked[1]))
                    marked = now, judge.told
            one.through.append(endpoint.port)
            break
        except EndedEarly as early:
            one.early[str(early)] += 1
        number += 1
        if judge.told > before:
            one.through.append(endpoint.port)
        else:
            time.sleep(PAUSE_S)
        if time.monotonic() - progress > STUCK_S:
            raise Trouble(f"no key for {STUCK_S:.0f} s after {judge.last!r}: {dict(one.early)}")
    one.ended, one.told, one.faults = time.monotonic(), judge.told, judge.end()
    one.marks.append((one.ended, judge.told - marked[1]))
    return one


class Readers:
    """So many, until `stop`: each ends the pass that it has begun. `passes`: those that are over."""

    def __init__(self, endpoints: list[Endpoint], count: int, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.passes: list[Pass] = []
        self.count = count
        self._over = context.Event()
        self._pipes, self._processes = [], []
        for number in range(count):
            pipe, other = context.Pipe(duplex=False)
            job = endpoints, number, task, self._over, other
            self._processes.append(context.Process(target=_run, args=job, daemon=True))
            self._processes[-1].start()
            other.close()  # so that its end is noticed here
            self._pipes.append(pipe)

    def look(self) -> None:
        """Take what passes are over. Raises Trouble if a reader failed."""
        for number, pipe in enumerate(self._pipes):
            while pipe.poll():
                self._take(number, pipe.recv())

    def since(self, when: float) -> bool:
        """Whether each reader has ended a pass that it began after that."""
        self.look()
        return {each.reader for each in self.passes if each.began >= when} == set(range(self.count))

    def stop(self) -> None:
        """Let each end its pass. Raises Trouble if one failed."""
        self._over.set()
        for number, pipe in enumerate(self._pipes):
            try:
                while True:
                    self._take(number, pipe.recv())
            except EOFError:
                continue
        for process in self._processes:
            process.join()

    def _take(self, number: int, found: Pass | str) -> None:
        if isinstance(found, str):
            raise Trouble(f"reader {number}: {found}")
        self.passes.append(found)


def _run(endpoints: list[Endpoint], number: int, task: Task, over: Any, results: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    stock, first = task.stock.keys(), number
    try:
        while not over.is_set():
            results.send(read_once(endpoints, first, number, task, stock))
            first += 1
    except Trouble as trouble:
        results.send(str(trouble))


def rate(passes: list[Pass], begin: float, end: float) -> float:
    """Return the keys per second that all readers together were told in that time."""
    keys = sum(keys for each in passes for when, keys in each.marks if begin <= when < end)
    return keys / max(end - begin, 1e-9)
