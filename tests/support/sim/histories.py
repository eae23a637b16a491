"""Histories for the checker: written by hand, and made by clients of simulated registers.

The made ones are linearizable by construction: each operation takes effect on a plain register at one moment
between its start and its end.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from ringkeep.core.protocol.client_requests import PRESENT
from ringkeep.sim.histories.history import UNTOLD, Operation

KEY = b"k"


def op(
    start: int,
    end: int | None,
    kind: str,
    value: bytes | None = None,
    *,
    version: int = 0,
    read: bytes | None = None,
    expected: int | None = None,
    outcome: str = "",
) -> Operation:
    """An operation whose outcome follows from what was answered, unless it is said."""
    if not outcome:
        found = version > 0 or read is not None or (kind == "put" and end is not None)
        outcome = "unknown" if end is None else "ok" if found else "failed"
    return Operation(start, kind, KEY, value, expected, start, end, outcome, version, read)


def put(start: int, end: int | None, value: bytes, version: int = 0, outcome: str = "") -> Operation:
    return op(start, end, "put", value, version=version, outcome=outcome)


def cas(
    start: int, end: int | None, value: bytes, expected: int, version: int, outcome: str = ""
) -> Operation:
    return op(start, end, "cas", value, version=version, expected=expected, outcome=outcome)


def get(start: int, end: int, read: bytes | None = None, version: int = 0) -> Operation:
    return op(start, end, "get", version=version, read=read)


def delete(
    start: int, end: int | None, version: int = 0, outcome: str = "", expected: int | None = None
) -> Operation:
    return op(start, end, "delete", version=version, outcome=outcome, expected=expected)


def untold(history: Iterable[Operation]) -> list[Operation]:
    """The same, as told by a store that gives away no version of anything. Conditions stay."""
    return [
        replace(each, version=UNTOLD if each.outcome == "failed" and each.expected is not None else 0)
        for each in history
    ]


# --- made by clients ------------------------------------------------------------------------------------


@dataclass
class Load:
    """What clients do. Shares are of all operations; times in microseconds or whatever the reader likes."""

    count: int
    clients: int = 32
    keys: int = 1_000
    skew: float = 0.0  # 0: all keys alike; above: the first keys are asked for more (exponent of Zipf's law)
    unknown: float = 0.04
    rejected: float = 0.03
    values: int = 0  # 0: every write has a value of its own; else so many values in all
    told: float = 1.0  # of the deletes: those whose answer tells the version
    latency: int = 1_000  # the most until an effect, and again until the answer
    pause: int = 200


def made(load: Load, seed: int) -> list[Operation]:
    """Run the clients; the history is in the order of starts."""
    return _Run(load, random.Random(seed)).go()


@dataclass
class _Register:
    value: bytes | None = None
    version: int = 0


class _Run:
    """Moments in time, in order: a client starts an operation, or one takes effect."""

    def __init__(self, load: Load, rng: random.Random) -> None:
        self.load, self.rng = load, rng
        self.registers = [_Register() for _ in range(load.keys)]
        self.known: dict[tuple[int, int], int] = {}  # (client, key) → the version that it saw last
        self.index = 0  # of the log: versions have gaps, as with many keys in one partition
        self.history: list[Operation] = []
        self.weights = [(number + 1) ** -load.skew for number in range(load.keys)]

    def go(self) -> list[Operation]:
        load, rng = self.load, self.rng
        chosen = rng.choices(range(load.keys), self.weights, k=load.count)
        agenda = [(rng.randrange(load.pause + 1), client, -1) for client in range(load.clients)]
        heapify(agenda)
        while agenda:
            now, client, number = heappop(agenda)
            if number >= 0:
                self.take_effect(self.history[number], chosen[number])
                continue
            number = len(self.history)
            if number == load.count:
                continue
            moment, free = self.start(client, chosen[number], now)
            heappush(agenda, (moment, client, number))
            heappush(agenda, (free + 1 + rng.randrange(load.pause + 1), client, -1))
        return self.history

    def start(self, client: int, key: int, now: int) -> tuple[int, int]:
        """Add an operation; return when it takes effect, and when its client is free again."""
        load, rng = self.load, self.rng
        kind = rng.choices(("get", "put", "delete", "cas"), (45, 30, 8, 17))[0]
        number = len(self.history)
        value = expected = None
        if kind in ("put", "cas"):
            value = b"v%d" % (number if not load.values else rng.randrange(load.values))
        known = self.known.get((client, key), 0)
        if kind == "cas":
            current = self.registers[key].version if rng.random() < 0.5 else known
            expected = rng.choices((current, 0, PRESENT), (8, 1, 1))[0]
        elif kind == "delete" and rng.random() < 0.3:
            expected = known or PRESENT
        moment = now + rng.randint(0, load.latency)
        end = moment + rng.randint(0, load.latency)
        self.history.append(Operation(client, kind, b"key-%d" % key, value, expected, now, end, ""))
        chance = rng.random()
        operation = self.history[-1]
        if chance < load.rejected:
            operation.outcome = "rejected"
        elif chance < load.rejected + load.unknown:
            operation.outcome = "unknown"
            operation.end = rng.choice((None, end))
            moment += rng.choice((0, rng.randint(0, 50 * load.latency)))  # it may still be on its way
        return moment, end

    def take_effect(self, operation: Operation, key: int) -> None:
        if operation.outcome == "rejected" or (operation.outcome == "unknown" and self.rng.random() < 0.5):
            return
        self.index += self.rng.choice((1, 1, 1, 5))
        register = self.registers[key]
        kind, expected = operation.kind, operation.expected
        held = register.value is not None if kind == "delete" else kind != "get"
        if expected is not None and expected <= 0:
            held = held and (register.value is not None) == (expected == PRESENT)
        elif expected is not None:
            held = held and register.version == expected
        if held:
            register.value = operation.value
            register.version = self.index if operation.value is not None else 0
        if operation.outcome == "unknown":
            return
        operation.outcome = "ok" if held or (kind == "get" and register.value is not None) else "failed"
        operation.version = self.index if held else register.version
        if kind == "get":
            operation.read = register.value
        elif kind == "delete" and held and self.rng.random() >= self.load.told:
            operation.version = 0
        self.known[operation.client, key] = 0 if kind == "delete" and held else operation.version


def with_a_stale_read(history: list[Operation], at: int) -> tuple[list[Operation], bytes]:
    """The same but for one read, the first from number `at` on where an older value is wrong for certain.

    Returns the key, too. Values must differ.
    """
    for number in range(at, len(history)):
        read = history[number]
        if read.kind != "get" or read.outcome != "ok":
            continue
        writes = [
            each
            for each in history
            if each.key == read.key and each.writes and each.outcome == "ok" and each.value is not None
        ]
        later = [each for each in writes if each.end is not None and each.end < read.start]
        last = max(later, key=lambda each: each.start, default=None)
        before = [
            each for each in later if last is not None and each.end is not None and each.end < last.start
        ]
        if last is not None and before:
            old = max(before, key=lambda each: each.start)
            stale = replace(read, read=old.value, version=old.version)
            return [*history[:number], stale, *history[number + 1 :]], read.key
    raise AssertionError("no read to make stale")
