"""A node in memory for the HTTP tests: one partition, true semantics, and faults on request.

The cluster that it pretends to be in is `tests/support/http/fake_cluster.py`.

`tests/http/test_service.py` holds what it promises; the real node passes the same questions.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any, Literal

from tests.support.http.fake_cluster import FakeCluster
from tests.support.http.fake_feeds import FakeFeeds

from ringkeep.core.execution.batches import FAILED
from ringkeep.core.protocol.batch import (
    CHECK,
    READ_ANEW,
    Outcome,
    decode_outcomes,
    decode_steps,
    encode_outcomes,
)
from ringkeep.core.protocol.change import ChangeKind
from ringkeep.core.protocol.client_requests import (
    ABSENT,
    ANY,
    PRESENT,
    Item,
    Kind,
    ListRequest,
    Page,
    ReadGroup,
    Request,
    Result,
    Status,
)
from ringkeep.core.protocol.feed import Event, EventKind, FeedRequest
from ringkeep.core.protocol.hot_messages import Forward
from ringkeep.core.protocol.limits import LISTED_KEYS, PAGE_BYTES, VALUE_BYTES
from ringkeep.core.protocol.record import tail_of, value_at
from ringkeep.core.protocol.types import Epoch, Index, PartitionId
from ringkeep.core.state.operations import Standing, evaluate, has_result
from ringkeep.histogram import Histogram
from ringkeep.http.service import Sample

_EVENTS = {
    int(ChangeKind.PUT): EventKind.PUT, int(ChangeKind.DELETE): EventKind.DELETE,
    int(ChangeKind.TOUCH): EventKind.TOUCH,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored under a key."""

    value: bytes
    content_type: bytes
    version: int
    deadline: int = 0  # in milliseconds of `now_ms`; 0: it lives for ever


class FakeService:
    """One node that holds and answers everything itself.

    `delay_s` holds every answer back; `forced` replaces results, `forced_pages` pages of keys, one after the
    other; None among them: a true one.
    """

    def __init__(self, name: str = "node-1") -> None:
        self.name = name
        self.records: dict[bytes, Record] = {}
        self.index = 0
        self._within = 0  # the version of all that the batch makes which is being applied
        self.seen: dict[tuple[bytes, bytes], tuple[bytes, Result]] = {}
        self.submitted: list[Request] = []
        self.remember = True  # requests, for tests to look at
        self.delay_s = 0.0
        self.mute = False  # never answers before the request's deadline
        self.forced: Result | None = None
        self.forced_pages: list[Page | None] = []
        self.listed: list[ListRequest] = []
        self.feeds = FakeFeeds()
        self.reason: str | None = None
        self.waits_for: list[str] = []
        self.raises: Exception | None = None
        self.steered = FakeCluster(name)
        self.orders: list[tuple[str, str, int]] = []
        self.syncs = Histogram()
        self.planned: list[tuple[str, str, str, int]] = []

    # --- data -----------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Answer at once, later, or at the deadline."""
        if self.raises is not None:
            raise self.raises
        if self.remember:
            self.submitted.append(request)
        if self.mute:
            status = Status.UNAVAILABLE if request.kind is Kind.GET else Status.UNKNOWN
            self._later(request.timeout_ms / 1_000, lambda: request.done(Result(status, primary=self.name)))
        elif self.delay_s:
            self._later(self.delay_s, lambda: request.done(self.execute(request)))
        else:
            request.done(self.execute(request))

    def submit_reads(self, group: ReadGroup) -> None:
        """Answer as so many single reads would be answered."""
        results: list[Result | None] = [None] * len(group.keys)

        def answered(place: int, result: Result) -> None:
            results[place] = result
            if None not in results:
                group.done([each for each in results if each is not None])

        for place, key in enumerate(group.keys):
            self.submit(Request(Kind.GET, key, timeout_ms=group.timeout_ms, done=partial(answered, place)))

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, call)

    def execute(self, request: Request) -> Result:
        """Return the result of one request, applied now."""
        if self.forced is not None:
            return replace(self.forced, primary=self.name)
        name = (request.key, request.idempotency)
        if request.idempotency and name in self.seen:
            fingerprint, result = self.seen[name]
            if fingerprint != request.fingerprint:
                return Result(Status.KEY_REUSED, primary=self.name)
            return replace(result)
        result = self._batch(request) if request.kind is Kind.BATCH else self._evaluate(request)
        result.primary = self.name
        if request.idempotency and result.status is not Status.UNAVAILABLE:
            kept = replace(result)
            if request.kind is Kind.BATCH:  # a retry reads anew
                kept.value = encode_outcomes([
                    Outcome(READ_ANEW) if each.status == Status.FOUND else each
                    for each in decode_outcomes(result.value)
                ])  # fmt: skip
            self.seen[name] = (request.fingerprint, kept)
        return result

    def _batch(self, request: Request) -> Result:
        """Do all steps of a batch, or none."""
        steps, goes_on = decode_steps(request.value)
        records, index, told = dict(self.records), self.index, 0
        changes = list(self.feeds.changes)
        outcomes: list[Outcome] = []
        failed: Status | None = None
        self._within = index + 1
        for step in steps:
            single = Request(
                Kind.GET if step.kind == CHECK else Kind(step.kind), step.key, step.value, step.content_type,
                step.condition, request.idempotency, request.fingerprint, ttl_ms=step.ttl_ms,
            )  # fmt: skip
            result = self._evaluate(single)
            told += len(result.value)
            if told > VALUE_BYTES:
                result = Result(Status.TOO_LARGE)
            outcomes.append(Outcome(
                result.status, result.version, result.ttl_ms, result.value, result.content_type
            ))  # fmt: skip
            if told > VALUE_BYTES or (result.status in FAILED and (step.kind == CHECK or not goes_on)):
                failed = result.status
                break
        self._within = 0
        if failed is not None:
            self.records, self.index, self.feeds.changes = records, index, changes
        version = self.index if self.index != index else 0
        return Result(failed or Status.DONE, version, encode_outcomes(outcomes))

    def now_ms(self) -> int:
        """The clock by which records expire."""
        return int(time.monotonic() * 1_000)

    def _evaluate(self, request: Request) -> Result:
        record, now = self.records.get(request.key), self.now_ms()
        if record is not None and 0 < record.deadline <= now:
            del self.records[request.key]
            self.index = self._within or self.index + 1
            self._note(request.key, EventKind.EXPIRE)
            record = None
        present = record.version if record else 0
        held = {ANY: True, ABSENT: record is None, PRESENT: record is not None}
        if not held.get(request.condition, request.condition == present):
            return Result(Status.CONDITION_FAILED, present)
        if request.kind is Kind.GET:
            if request.at_least > self.index:
                return Result(Status.UNAVAILABLE, detail="the version was not reached")
            if record is None:
                return Result(Status.NOT_FOUND, age_ms=1_200 * request.stale)
            return Result(
                Status.FOUND, record.version, record.value, record.content_type, age_ms=1_200 * request.stale,
                ttl_ms=record.deadline and record.deadline - now,
            )  # fmt: skip
        return self._apply(request, record, now)

    def _apply(self, request: Request, record: Record | None, now: int) -> Result:
        """Do what the core's own table of operations says."""
        tail = tail_of(record.content_type, record.value) if record else None
        message = Forward(
            0, PartitionId(0), Epoch(0), 0, request.kind, 0, b"", 0, 0, request.key, request.value,
            request.content_type, request.idempotency, request.fingerprint, request.ttl_ms,
        )  # fmt: skip
        effect = evaluate(Standing(tail, record.deadline if record else 0), message, now)
        if not effect.kind:
            return Result(effect.status, record.version if record else 0)
        self.index = self._within or self.index + 1
        if effect.kind == ChangeKind.DELETE:
            del self.records[request.key]
        elif effect.kind == ChangeKind.TOUCH:
            assert record is not None
            self.records[request.key] = replace(record, version=self.index, deadline=effect.deadline)
        else:
            at = value_at(effect.tail)
            self.records[request.key] = Record(
                effect.tail[at:], effect.tail[1:at], self.index, effect.deadline
            )
        ttl_ms = max(effect.deadline - now, 1) if effect.deadline else 0
        self._note(request.key, _EVENTS[effect.kind], effect.tail, ttl_ms)
        result = Result(effect.status, self.index)
        if has_result(request.kind, effect.status):
            at = value_at(effect.result)
            result.value, result.content_type = effect.result[at:], effect.result[1:at]
        return result

    def _note(self, key: bytes, kind: EventKind, tail: bytes = b"\0", ttl_ms: int = 0) -> None:
        """Remember a change; one of the same batch and key before it is not told."""
        at = value_at(tail) if kind is EventKind.PUT else 0
        content_type, value = (tail[1:at], tail[at:]) if at else (b"", b"")
        self.feeds.changes = [
            each for each in self.feeds.changes if each.version != self.index or each.key != key
        ]
        event = Event(PartitionId(0), Index(self.index), kind, key, content_type, value, ttl_ms)
        self.feeds.changes.append(event)

    def submit_feed(self, request: FeedRequest) -> Status | None:
        """Begin a feed."""
        return self.feeds.submit(request)

    def pull_feed(self, request: FeedRequest, size: int) -> None:
        """Grant more."""
        self.feeds.pull(request, size)

    def close_feed(self, request: FeedRequest) -> None:
        """End a feed."""
        self.feeds.close(request)

    def partitioning(self) -> tuple[str, int]:
        """Return a cluster of one partition."""
        return str(self.steered.cluster()["cluster_id"]), 1

    def submit_listing(self, request: ListRequest) -> None:
        """Answer later, at once or at the deadline."""
        if self.remember:
            self.listed.append(request)
        if self.mute:
            page = Page(Status.UNAVAILABLE, detail="nobody answers")
            self._later(request.timeout_ms / 1_000, lambda: request.done(page))
        else:
            self._later(self.delay_s, lambda: request.done(self.page(request)))

    def page(self, request: ListRequest) -> Page:
        """Return the page of a request, as things stand now."""
        if request.positions:
            return Page(Status.FOUND, positions=(self.index,))
        forced = self.forced_pages.pop(0) if self.forced_pages else None
        if forced is not None:
            return forced
        found = [
            (key, record)
            for key, record in sorted(self.records.items())
            if request.begin <= key and (not request.end or key < request.end)
            if not request.until or record.version <= request.until[0]
        ]
        if request.count:
            return Page(Status.FOUND, count=len(found))
        room = min(request.limit, LISTED_KEYS)
        if request.values:
            sizes = accumulate(len(record.value) for _, record in found)
            room = min(room, 1 + sum(1 for size in sizes if size < PAGE_BYTES))
        items = [
            Item(key, each.version, 0, *((each.content_type, each.value) if request.values else ()))
            for key, each in found[:room]
        ]
        return Page(Status.FOUND, items, found[room][0] if room < len(found) else b"", len(items))

    # --- the rest -------------------------------------------------------------------------------------

    def serving(self) -> str | None:
        """Return the reason not to serve, as the test set it."""
        return self.reason

    def cluster(self) -> dict[str, Any]:
        """Return a cluster of a few members, of which only this one is real."""
        return self.steered.cluster()

    def partitions(self) -> dict[str, Any]:
        """Return one partition."""
        partition = {
            "partition": 0,
            "epoch": 1,
            "primary": self.name,
            "voters": self.steered.voters,
            "old_voters": [],
            "learners": [],
            "commit": self.index,
            "state": "active",
        }
        return {"partitions": [partition]}

    def where(self, key: bytes) -> dict[str, Any]:
        """Return where a key is: here."""
        return {"slot": len(key), "partition": 0, "primary": self.name, "replicas": self.steered.voters}

    def moves(self) -> dict[str, Any]:
        """Return what the test put there."""
        return self.steered.moves()

    def plan(self, action: Literal["join", "leave"], name: str, zone: str, weight: int) -> dict[str, Any]:
        """Return a plan."""
        self.planned.append((action, name, zone, weight))
        return self.steered.plan(action, name)

    def steer(self, verb: str, name: str, weight: int = 0) -> dict[str, Any]:
        """Carry an order out."""
        self.orders.append((verb, name, weight))
        return self.steered.steer(verb, name, weight)

    def hold_moves(self, verb: Literal["pause", "resume", "cancel"]) -> dict[str, Any]:
        """Hold moves."""
        return self.steered.hold(verb)

    def change_settings(self, wanted: Mapping[str, int]) -> dict[str, Any]:
        """Change settings."""
        return self.steered.change(wanted)

    def recover_partitions(self, partitions: Sequence[int], lost: Sequence[str]) -> dict[str, Any]:
        """Recover what the test lost."""
        return self.steered.recover(partitions, lost)

    def map_copy(self) -> dict[str, Any]:
        """Return a copy."""
        return self.steered.map_copy()

    def ready(self) -> tuple[bool, list[str]]:
        """Return what the test set."""
        return not self.waits_for, self.waits_for

    def version(self) -> dict[str, Any]:
        """Return a version."""
        return {"version": "0.1.0", "protocol": 1, "name": self.name}

    def times(self) -> Iterable[tuple[str, str, Histogram]]:
        """Return one histogram."""
        return [("sync_seconds", "Syncs.", self.syncs)]

    def metrics(self) -> Iterable[Sample]:
        """Return one metric of each kind."""
        yield Sample("writes", "counter", "Writes applied.", {(): self.index})
        yield Sample("replicas", "gauge", "Replicas by role.", {(("role", "primary"),): 1.0})
