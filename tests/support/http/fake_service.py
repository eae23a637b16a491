"""A node in memory for the HTTP tests: one partition, true semantics, and faults on request.

The cluster that it pretends to be in is `tests/support/http/fake_cluster.py`.

`tests/http/test_service.py` holds what it promises; the real node passes the same questions.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

from tests.support.http.fake_cluster import FakeCluster

from ringkeep.core.protocol.client_requests import (
    ABSENT,
    ANY,
    PRESENT,
    WROTE,
    Item,
    Kind,
    ListRequest,
    Page,
    Request,
    Result,
    Status,
)
from ringkeep.core.protocol.limits import LISTED_KEYS, PAGE_BYTES
from ringkeep.histogram import Histogram
from ringkeep.http.service import Sample


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored under a key."""

    value: bytes
    content_type: bytes
    version: int


class FakeService:
    """One node that holds and answers everything itself.

    `delay_s` holds every answer back; `forced` replaces results, `forced_pages` pages, one after the other;
    None among them: a true one.
    """

    def __init__(self, name: str = "node-1") -> None:
        self.name = name
        self.records: dict[bytes, Record] = {}
        self.index = 0
        self.seen: dict[tuple[bytes, bytes], tuple[bytes, Result]] = {}
        self.submitted: list[Request] = []
        self.remember = True  # requests, for tests to look at
        self.delay_s = 0.0
        self.mute = False  # never answers before the request's deadline
        self.forced: Result | None = None
        self.forced_pages: list[Page | None] = []
        self.listed: list[ListRequest] = []
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
        result = self._evaluate(request)
        result.primary = self.name
        if request.idempotency and (result.status in WROTE or result.status is Status.CONDITION_FAILED):
            self.seen[name] = (request.fingerprint, replace(result))
        return result

    def _evaluate(self, request: Request) -> Result:
        record = self.records.get(request.key)
        present = record.version if record else 0
        if request.kind is Kind.GET:
            if request.at_least > self.index:
                return Result(Status.UNAVAILABLE, detail="the version was not reached")
            if record is None:
                return Result(Status.NOT_FOUND, age_ms=1_200 * request.stale)
            return Result(
                Status.FOUND, record.version, record.value, record.content_type, age_ms=1_200 * request.stale
            )
        held = {ANY: True, ABSENT: record is None, PRESENT: record is not None}
        if not held.get(request.condition, request.condition == present):
            return Result(Status.CONDITION_FAILED, present)
        if request.kind is Kind.DELETE:
            if record is None:
                return Result(Status.NOT_FOUND)
            self.index += 1
            del self.records[request.key]
            return Result(Status.DELETED, self.index)
        self.index += 1
        self.records[request.key] = Record(request.value, request.content_type, self.index)
        return Result(Status.REPLACED if record else Status.CREATED, self.index)

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
        forced = self.forced_pages.pop(0) if self.forced_pages else None
        if forced is not None:
            return forced
        if request.positions:
            return Page(Status.FOUND, positions=(self.index,))
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
