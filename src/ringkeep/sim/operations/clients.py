"""Simulated clients that try the operations on one key, and records that expire, in worlds of their own.

Most times to live are so short that records expire all the time, also while there is no primary. What they
saw is judged by `witness`.
"""

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Final

from ringkeep.core.cluster.feature_level import OPERATIONS, feature_level
from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.batch import CHECK, Step, decode_outcomes, encode_steps
from ringkeep.core.protocol.bounds import IN_USE
from ringkeep.core.protocol.client_requests import (
    ABSENT,
    ANY,
    KEEP,
    PRESENT,
    Kind,
    ReadGroup,
    Request,
    Result,
    Status,
)
from ringkeep.core.protocol.types import Millis, origin_of
from ringkeep.core.state.operations import pack_numbers
from ringkeep.sim.attempts import REJECTED, THINK_MS, TIMEOUT_MS, Attempt, Attempts
from ringkeep.sim.listings.listers import Shown
from ringkeep.sim.operations.calls import Call
from ringkeep.sim.operations.chained import Chained
from ringkeep.sim.operations.sweeps import Sweep
from ringkeep.sim.world.environment import has_listers
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

CLIENTS: Final = 6
CALLS: Final = 400
CALM_CALLS: Final = 60
"""So many calls once all faults are over: each of them must succeed."""
HOT: Final = 3
CROWD: Final = 12
"""Keys in each partition: those that clients contend for, and others, of which many are due at once."""
NAMED: Final = 0.35
"""The share of writes that carry an idempotency key."""
GROUPS: Final = 0.08
"""The share of calls that are reads of several keys, in one request."""
CHAINS: Final = 0.06
SWEEPS: Final = 0.02
"""The share of calls that are several in one request, and that delete a range of keys, in worlds of their
own."""
LARGE: Final = 0.02
LARGE_BYTES: Final = 70_000
"""Of a value that has a row of its own under any bounds, and is no result that is kept under a key."""
_KINDS: Final = (
    *[Kind.GET] * 6, *[Kind.PUT] * 4, *[Kind.ADD] * 3, *[Kind.APPEND] * 2, *[Kind.SWAP] * 2,
    *[Kind.TOUCH] * 2, Kind.TAKE, Kind.DELETE, Kind.PERSIST, *[Kind.BATCH] * 3,
)  # fmt: skip
_SHORT_MS: Final = (20, 50, 200, 200, 1_000, 3_000)
_LONG_MS: Final = 600_000
_STEPS: Final = (CHECK, *(kind for kind in _KINDS if kind != Kind.BATCH))
_TTLS: Final = (*_SHORT_MS, *_SHORT_MS, KEEP, KEEP, 0, 0, 0, 0, 0, 0)
_NEW_TTLS: Final = (*_SHORT_MS, KEEP)
_TYPES: Final = (b"", b"text/plain", b"a/b")
_MOST: Final = 2**63 - 1
ROOM: Final = (
    "parked_requests", "parked_bytes", "uncommitted_entries", "uncommitted_bytes", "pinned_log_bytes",
)  # fmt: skip
"""The bounds beyond which a request is refused as too many."""


class _Attempt(Attempt):
    __slots__ = ("call", "then")

    def __init__(self, call: Call, then: Callable[[], None]) -> None:
        """`then` is called once it is over."""
        super().__init__(call.name, call.start_ms)
        self.call = call
        self.then = then


class OperationClients(Attempts[_Attempt]):
    """All these clients of one world, and their calls, by start. `calm_from`: the event number from which on
    the cluster is calm, 0 before. `shown`: what those were shown that deleted ranges."""

    def __init__(self, world: World, calls: int) -> None:
        super().__init__(world)
        self.calm_from = 0
        self.calls: list[Call] = []
        self.shown: list[Shown] = []
        self._hot = _keys(world.partitions, HOT)
        self.keys = _keys(world.partitions, HOT + CROWD)
        self._left = calls
        self._busy = 0
        self._written = 0
        self._versions: dict[bytes, int] = {}
        if calls:
            self._begin()

    def _begin(self) -> None:
        for client in range(CLIENTS):
            self._world.events.after(self._world.draw(0, THINK_MS), partial(self._next, client))

    def go_on_calmly(self) -> None:
        """Start some more calls, in a cluster that is healthy and stays so."""
        assert self._world.map is not None
        if feature_level(self._world.map) < OPERATIONS:  # the run was cut short
            return
        self._left, self.calm_from = CALM_CALLS, self._stamp()
        self._begin()

    @property
    def finished(self) -> bool:
        """Whether every call was started and has ended."""
        return self._left <= 0 and self._busy == 0

    def stop(self) -> None:
        """Start no further call."""
        self._left = 0

    def _next(self, client: int) -> None:
        if self._left <= 0:
            return
        draw = self._world.random.random()
        if draw < GROUPS:
            calls = self._draw_reads(client)
            taken = self._read_together(client, calls)
        elif draw < GROUPS + SWEEPS and has_listers(self._world.seed):
            calls, taken = [], True
            Sweep(self._world, partial(self._delete, client), self.shown.append, partial(self._over, client))
        elif draw < GROUPS + SWEEPS + CHAINS and has_listers(self._world.seed):
            calls = self._draw_chain(client)
            taken = self._send_chain(client, calls)
        else:
            calls = [self._draw(client)]
            taken = self._try(_Attempt(calls[0], partial(self._over, client)))
        if not taken:
            self._pause(client)
            return
        assert self._world.map is not None
        if feature_level(self._world.map) >= OPERATIONS:  # before that most calls are refused
            self._left -= 1
        self._busy += 1
        self.calls += calls

    def _delete(self, client: int, key: bytes, version: int, then: Callable[[], None]) -> None:
        """Delete a key if it has this version."""
        start = self._stamp()
        call = Call(
            client, Kind.DELETE, key, b"", b"", version, 0, False, 0, b"call-%d" % start, start,
            self._world.events.now,
        )  # fmt: skip
        self.calls.append(call)

        def begin() -> None:
            if not self._try(_Attempt(call, then)):
                self._world.events.after(self._world.draw(1, THINK_MS), begin)

        begin()

    # --- several in one request -----------------------------------------------------------------------

    def _draw_chain(self, client: int) -> list[Call]:
        """Draw calls on one key or two."""
        random = self._world.random
        keys = random.sample(self._hot, random.randint(1, 2))
        calls: list[Call] = []
        while len(calls) < random.randint(2, 6):
            call = self._draw(client)
            if call.kind != Kind.BATCH and not call.stale:
                call.key, call.at_least = random.choice(keys), 0
                calls.append(call)
        return calls

    def _send_chain(self, client: int, calls: list[Call]) -> bool:
        """Send them through one node. One that dies may have carried out some of them."""
        world, waiting = self._world, [True]
        node = world.random.choice(list(world.nodes.values()))
        if not node.alive or not node.driver.serving or world.events.now < node.paused_until:
            return False

        def over() -> None:
            if waiting:
                waiting.clear()
                world.count("chain_over")
                self._over(client)

        def heard(call: Call, result: Result) -> None:
            self._check_calm(call, result)
            if result.version:
                self._versions[call.key] = result.version

        world.events.after(3 * TIMEOUT_MS, over)
        asked = [(call, self._asked(call)) for call in calls]
        Chained(world, node, asked, heard, over)
        return True

    # --- reads of many keys ---------------------------------------------------------------------------

    def _draw_reads(self, client: int) -> list[Call]:
        """Draw reads that are asked for in one request; to the witness each is a read of its own."""
        random = self._world.random
        keys = [random.choice((*self._hot, *self.keys)) for _ in range(random.randint(1, 8))]
        now = self._world.events.now
        return [
            Call(client, Kind.GET, key, b"", b"", 0, 0, False, 0, b"", self._stamp(), now) for key in keys
        ]

    def _read_together(self, client: int, calls: list[Call]) -> bool:
        """Ask a node for all of them. One that dies never answers: then nothing was seen."""
        world, waiting = self._world, [calls]
        node = world.random.choice(list(world.nodes.values()))

        def over(results: list[Result]) -> None:
            if not waiting:
                return
            waiting.clear()
            for call, result in zip(calls, results, strict=False):
                call.end, call.end_ms, call.result = self._stamp(), world.events.now, result
                self._check_calm(call, result)
                world.log(node, f"together: {call} on {call.key!r}")
            world.count("read_together", len(results))
            self._over(client)

        group = ReadGroup([call.key for call in calls], TIMEOUT_MS, over)
        if not world.submit_reads(node, group):
            return False
        world.events.after(3 * TIMEOUT_MS, lambda: over([]))
        return True

    # --- what is asked --------------------------------------------------------------------------------

    def _draw(self, client: int) -> Call:
        random = self._world.random
        key, kind = random.choice(self._hot), random.choice(_KINDS)
        if random.random() < 0.3:
            key, kind = random.choice(self.keys), random.choice((kind, Kind.PUT))
        known = self._versions.get(key, 0)
        reads = kind == Kind.GET
        stale = reads and random.random() < 0.4
        start = self._stamp()
        call = Call(
            client, kind, key, b"", b"", 0, 0, stale, known if reads and random.random() < 0.2 else 0,
            b"call-%d" % start if not reads and random.random() < NAMED else b"",
            start, self._world.events.now,
        )  # fmt: skip
        if kind == Kind.BATCH:
            self._draw_steps(call)
        else:
            step = self._step(kind, key)
            call.value, call.content_type = step.value, step.content_type
            call.condition, call.ttl_ms = 0 if reads else step.condition, step.ttl_ms
        return call

    def _draw_steps(self, call: Call) -> None:
        """Draw a batch on keys of the partition of `call.key`, one of them often twice."""
        random, partitions = self._world.random, self._world.partitions
        number = partition_of(call.key, partitions)
        keys = [key for key in self._hot if partition_of(key, partitions) == number]
        for at in range(random.randint(1, 4)):
            key = random.choice(keys) if at else call.key
            call.steps.append(self._step(random.choice(_STEPS), key))
        call.goes_on = random.random() < 0.3
        call.value = encode_steps(call.steps, call.goes_on)

    def _step(self, kind: int, key: bytes) -> Step:
        random = self._world.random
        known = self._versions.get(key, 0)
        writes = kind not in (Kind.GET, CHECK)
        condition = random.choice((ANY, ANY, ANY, ABSENT, PRESENT, known or ANY))
        content_type = random.choice(_TYPES) if writes else b""
        return Step(kind, key, self._value(kind), content_type, condition, self._ttl(kind))

    def _value(self, kind: int) -> bytes:
        random = self._world.random
        self._written += 1
        if kind == Kind.ADD:
            by = _MOST if random.random() < 0.03 else random.randint(-9, 9)
            return pack_numbers(by, random.choice((0, 0, 100)))
        if kind == Kind.APPEND:
            return b"0" * LARGE_BYTES if random.random() < LARGE else b"%d" % (self._written % 10)
        if kind in (Kind.PUT, Kind.SWAP):
            if random.random() < LARGE:
                return b"%d" % self._written * (LARGE_BYTES // 4)
            return b"%d" % self._written if random.random() < 0.7 else b"w%d" % self._written
        return b""

    def _ttl(self, kind: int) -> Millis:
        random = self._world.random
        if kind in (CHECK, Kind.GET, Kind.DELETE, Kind.TAKE, Kind.PERSIST):
            return 0
        if random.random() < 0.01:
            return _LONG_MS
        return random.choice(_NEW_TTLS if kind == Kind.TOUCH else _TTLS)

    def _request(self, attempt: _Attempt, node: SimMachine) -> Request:
        request = self._asked(attempt.call)
        attempt.call.tries.append((origin_of(node.id, node.incarnation), request))
        return request

    def _asked(self, call: Call) -> Request:
        """Return the request of a call."""
        request = Request(
            call.kind, call.key, call.value, call.content_type, call.condition, timeout_ms=TIMEOUT_MS,
            stale=call.stale, at_least=call.at_least, ttl_ms=call.ttl_ms,
        )  # fmt: skip
        if call.name:
            said = f"{call.kind} {call.content_type!r} {call.condition} {call.ttl_ms} ".encode() + call.value
            request.fingerprint = blake2b(said, digest_size=16).digest()
            request.idempotency = call.name
        return request

    # --- what is answered -----------------------------------------------------------------------------

    def _heard(self, attempt: _Attempt, node: SimMachine, result: Result, *, final: bool) -> None:
        call = attempt.call
        if final:
            call.end, call.end_ms, call.result = self._stamp(), self._world.events.now, result
            self._world.count("operation_rejected" if result.status in REJECTED else "operation_answered")
            self._check_calm(call, result)
            if attempt.unsure and result.value and call.kind != Kind.GET:
                self._world.count("result_answered_again")
            if call.steps and result.status == Status.DONE:
                told = zip(call.steps, decode_outcomes(result.value), strict=True)
                self._versions.update((step.key, each.version) for step, each in told)
                self._world.count("batch_done")
            elif result.version and not call.steps:
                self._versions[call.key] = result.version
        self._world.log(node, f"{call} on {call.key!r}")

    def _check_calm(self, call: Call, result: Result) -> None:
        """A calm cluster serves. Primaries are still handed over in it: where few requests may wait, some are
        refused meanwhile. Where a turn applies little, backups come late to a version."""
        excused = result.status == Status.BUSY and self._is_low(*ROOM)
        if call.stale and call.at_least and result.status == Status.UNAVAILABLE:
            excused = self._is_low("turn_bytes")
        refused = result.status in REJECTED and not excused
        assert not (self.calm_from and refused), f"in a calm cluster: {call}"

    def _is_low(self, *bounds: str) -> bool:
        """Return whether one of these bounds is drawn low in this world."""
        return any(getattr(self._world.bounds, name) < getattr(IN_USE, name) for name in bounds)

    def _end(self, attempt: _Attempt) -> None:
        assert attempt.call.result or not self.calm_from, f"no answer in a calm cluster: {attempt.call}"
        attempt.then()

    def _over(self, client: int) -> None:
        self._busy -= 1
        self._pause(client)

    def _pause(self, client: int) -> None:
        self._world.events.after(self._world.draw(0, THINK_MS), partial(self._next, client))


def _keys(partitions: int, each: int) -> list[bytes]:
    """Return so many keys of each partition, none of which the other clients use."""
    left = dict.fromkeys(range(partitions), each)
    keys, number = [], 0
    while any(left.values()):
        key = b"op%d" % number
        number += 1
        partition = partition_of(key, partitions)
        if left[partition]:
            left[partition] -= 1
            keys.append(key)
    return keys
