"""A client's request and its result.

The coordinator makes one `Request` per operation, whichever interface it came through, and calls
`done` exactly once. Neither knows of HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from ringkeep.core.protocol.types import Epoch, Millis, PartitionId


class Kind(IntEnum):
    """The operations of a client."""

    GET = 1
    PUT = 2
    DELETE = 3
    ADD = 4  # `value`: `operations.pack_numbers`
    APPEND = 5
    SWAP = 6  # PUT, whose answer has the record that it replaced
    TAKE = 7  # DELETE, whose answer has the record that it deleted
    TOUCH = 8  # gives the record another ttl
    PERSIST = 9  # takes the record's ttl away
    BATCH = 10  # several of these on keys of one partition, all or none; `value`: `batch.encode_steps`


KEEP: Final = -1
"""As `ttl_ms`: what is left of the record's time to live is kept."""


ANY: Final = 0
"""No condition."""
ABSENT: Final = -1
"""Only if the key does not exist (`If-None-Match: *`)."""
PRESENT: Final = -2
"""Only if the key exists (`If-Match: *`)."""


class Status(IntEnum):
    """How a request ended. Every one but UNKNOWN is definite."""

    FOUND = 1  # GET: `value`, `content_type`, `version`
    CREATED = 2  # PUT of a key that did not exist
    REPLACED = 3  # PUT of a key that existed
    DELETED = 4  # DELETE of a key that existed
    NOT_FOUND = 5  # GET or DELETE of a key that does not exist; nothing was written
    CONDITION_FAILED = 6  # `version` is the present one, 0 when the key does not exist
    KEY_REUSED = 7  # the idempotency key stands for another request
    BUSY = 8  # this node is full; decided before anything was appended
    UNAVAILABLE = 9  # not executed by the deadline, and never will be
    NO_SPACE = 10  # less free disk than the reserve; decided before anything was appended
    UNKNOWN = 11  # appended, or perhaps appended; the outcome is not known
    DEFECT = 12  # a bug; `detail` says what is known
    WRONG_TYPE = 13  # the value is no number of 64 bits, or would not be; `version` is the present one
    TOO_LARGE = 14  # the value would be too large, or the result cannot be kept; `version` likewise
    DONE = 15  # BATCH: `value` holds the outcomes of its steps, as after a failure (`batch.decode_outcomes`)


WROTE: Final = frozenset({Status.CREATED, Status.REPLACED, Status.DELETED, Status.DONE})


# As in `hot_messages`, what is made for each request has an `__init__` that is compiled.


def _nobody(result: "Result") -> None:
    """Take a result that nobody waits for."""


@dataclass(slots=True, init=False)
class Result:
    """The one answer to one request.

    `version`: the entry's index after a write, the record's version after a read, the present version
    after a failed condition. `primary` is the name of the node that leads the key's partition. `detail` is
    for people. `age_ms` is set for stale reads only. `value`, `content_type` also hold what an ADD, APPEND,
    SWAP or TAKE answers. `ttl_ms`: how long a record that was read still lives, 0 for ever.
    """

    status: Status
    version: int
    value: bytes
    content_type: bytes
    primary: str
    detail: str
    age_ms: Millis
    ttl_ms: Millis

    def __init__(
        self, status: Status, version: int = 0, value: bytes = b"", content_type: bytes = b"",
        primary: str = "", detail: str = "", age_ms: Millis = 0, ttl_ms: Millis = 0,
    ) -> None:  # fmt: skip
        self.status = status
        self.version = version
        self.value = value
        self.content_type = content_type
        self.primary = primary
        self.detail = detail
        self.age_ms = age_ms
        self.ttl_ms = ttl_ms


@dataclass(slots=True, init=False, eq=False)
class Request:
    """One client operation at its coordinator.

    `condition`: ANY, ABSENT, PRESENT or a version (> 0) that the key must have.
    `ttl_ms`: how long the record is to live, 0 for ever, or KEEP.
    `inside`: the node itself asks: `done` is called within a turn.
    `idempotency`: the client's own key, b"" for none. `fingerprint`: digest of method, body and condition,
    set when `idempotency` is. `timeout_ms` is relative to the submission. `done` is called once, from the
    loop. Everything below `done` belongs to the coordinator.
    """

    kind: Kind
    key: bytes
    value: bytes
    content_type: bytes
    condition: int
    idempotency: bytes
    fingerprint: bytes
    timeout_ms: Millis
    stale: bool
    at_least: int
    ttl_ms: Millis
    inside: bool
    done: Callable[[Result], None]

    partition: PartitionId
    deadline: Millis
    tag: int
    counter: int
    open_copies: dict[int, Epoch]  # tag of each unsettled copy, ascending
    finished: bool

    def __init__(
        self, kind: Kind, key: bytes, value: bytes = b"", content_type: bytes = b"", condition: int = ANY,
        idempotency: bytes = b"", fingerprint: bytes = b"", timeout_ms: Millis = 5_000, stale: bool = False,
        at_least: int = 0, ttl_ms: Millis = 0, inside: bool = False,
        done: Callable[[Result], None] = _nobody,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.key = key
        self.value = value
        self.content_type = content_type
        self.condition = condition
        self.idempotency = idempotency
        self.fingerprint = fingerprint
        self.timeout_ms = timeout_ms
        self.stale = stale
        self.at_least = at_least
        self.ttl_ms = ttl_ms
        self.inside = inside
        self.done = done
        self.partition = PartitionId(0)
        self.deadline = self.tag = self.counter = 0
        self.open_copies = {}
        self.finished = False


class Item(NamedTuple):
    """One key of a listing. `ttl_ms`: how long it still lives, 0 for ever. `content_type` and `value` are
    empty unless they were wanted.
    """

    key: bytes
    version: int
    ttl_ms: Millis
    content_type: bytes = b""
    value: bytes = b""


@dataclass(slots=True)
class Page:
    """A part of a listing: the next keys in byte order, over all partitions.

    `status`: FOUND, or why there is no page. `next`: the listing continues from here; b"": that was all.
    `count`: of keys; they are not in `items` if only counted. `positions`: of each partition the version that
    it had reached, if they were wanted.
    """

    status: Status
    items: list[Item] = field(default_factory=list)
    next: bytes = b""
    count: int = 0
    detail: str = ""
    positions: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class ReadGroup:
    """Read these keys, each as a GET would. `done` is called once, from the loop, with a result for each."""

    keys: list[bytes]
    timeout_ms: Millis = 5_000
    done: Callable[[list[Result]], None] = lambda results: None


@dataclass(slots=True, eq=False)
class ListRequest:
    """Ask for a page: the keys from `begin` on, and before `end` (b"": no end).

    `limit`: how many at most. `values`: with their values; the page then ends after some MiB of them, but has
    one key at least. `count`: only count them, without a limit. `positions`: no keys, but the version that
    each partition has reached after the request was made. `until`: leave out what is newer than these
    positions. `done` is called once, from the loop.
    """

    begin: bytes = b""
    end: bytes = b""
    limit: int = 1_000
    values: bool = False
    count: bool = False
    timeout_ms: Millis = 5_000
    positions: bool = False
    until: tuple[int, ...] = ()
    done: Callable[[Page], None] = lambda page: None
