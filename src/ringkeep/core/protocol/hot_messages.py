"""The messages of the data path: flat lists, one message per peer and turn, not an object per request.

Apart from `messages`, because these are compiled. They are made for each request, and a dataclass's own
`__init__` is interpreted also when its class is compiled: for Forward it takes ten times as long.
"""

from dataclasses import dataclass
from typing import Final

from ringkeep.core.protocol.types import Epoch, Index, Millis, PartitionId


@dataclass(slots=True, init=False, eq=False)
class Append:
    """Primary to voter or learner: these entries follow (prev_epoch, prev_index); commit so far.

    `entries` are encoded log entries, as they are stored and sent; consecutive from prev_index + 1.
    """

    partition: PartitionId
    epoch: Epoch
    prev_epoch: Epoch
    prev_index: Index
    commit: Index
    entries: list[bytes]

    def __init__(
        self, partition: PartitionId, epoch: Epoch, prev_epoch: Epoch, prev_index: Index, commit: Index,
        entries: list[bytes],
    ) -> None:  # fmt: skip
        self.partition = partition
        self.epoch = epoch
        self.prev_epoch = prev_epoch
        self.prev_index = prev_index
        self.commit = commit
        self.entries = entries


@dataclass(slots=True, init=False)
class Acks:
    """Backup to primary: durable here. Flat triples partition, epoch, last index *of the Append*."""

    items: list[int]

    def __init__(self, items: list[int]) -> None:
        self.items = items


@dataclass(slots=True, init=False)
class Commits:
    """Primary to backup: flat triples partition, epoch, commit, for what no Append carried.

    `probe` (0: none) is a Heartbeat probe of the receiver that reached the sender before the Confirm round
    that confirmed these partitions began. The age of a stale read counts from it.
    """

    probe: int
    items: list[int]

    def __init__(self, probe: int, items: list[int]) -> None:
        self.probe = probe
        self.items = items


@dataclass(slots=True, init=False)
class Clocks:
    """Primary to backup: flat triples partition, epoch, log time, of partitions whose records expire. A
    backup that becomes the primary continues from it.
    """

    items: list[int]

    def __init__(self, items: list[int]) -> None:
        self.items = items


@dataclass(slots=True, init=False)
class Confirm:
    """Primary to voters: do you still follow these? Flat pairs partition, epoch."""

    round: int
    items: list[int]

    def __init__(self, round: int, items: list[int]) -> None:
        self.round = round
        self.items = items


@dataclass(slots=True, init=False)
class Confirmed:
    """Voter to primary: of that round's pairs, these I follow, having promised nothing higher. Flat pairs."""

    round: int
    items: list[int]

    def __init__(self, round: int, items: list[int]) -> None:
        self.round = round
        self.items = items


@dataclass(slots=True, init=False)
class Forward:
    """Coordinator to primary: execute this, under exactly this epoch, before `remaining_ms` are over.

    `tag` names the request on this coordinator's side (unique per incarnation) and, in its lowest 16 bits,
    the copy: an answer repeats it. A write carries its request id (`origin`, `counter`) and `low`, the
    coordinator's lowest unfinished counter for the partition; a read has counter 0. `kind` and `condition`
    as in `core.protocol.client_requests`; for a read, `condition` is the version that must be reached, 0 for
    none. `ttl`: how many milliseconds the record is to live, 0 for ever, or `client_requests.KEEP`.
    """

    tag: int
    partition: PartitionId
    epoch: Epoch
    remaining_ms: Millis
    kind: int
    condition: int
    origin: bytes
    counter: int
    low: int
    key: bytes
    value: bytes
    content_type: bytes
    idempotency: bytes
    fingerprint: bytes
    ttl: Millis

    def __init__(
        self, tag: int, partition: PartitionId, epoch: Epoch, remaining_ms: Millis, kind: int, condition:
        int, origin: bytes, counter: int, low: int, key: bytes, value: bytes = b"", content_type: bytes =
        b"", idempotency: bytes = b"", fingerprint: bytes = b"", ttl: Millis = 0,
    ) -> None:  # fmt: skip
        self.tag = tag
        self.partition = partition
        self.epoch = epoch
        self.remaining_ms = remaining_ms
        self.kind = kind
        self.condition = condition
        self.origin = origin
        self.counter = counter
        self.low = low
        self.key = key
        self.value = value
        self.content_type = content_type
        self.idempotency = idempotency
        self.fingerprint = fingerprint
        self.ttl = ttl


@dataclass(slots=True, init=False)
class Reply:
    """Primary to coordinator: how the copy of `tag` sent under `epoch` ended.

    `status` as in `client_requests.Status`, or RETRY: this copy was not executed and never will be.
    `active`: the sender is an ACTIVE primary, so copies sent under lower epochs can no longer take effect
    unless this answer reports it. `ttl`: how many milliseconds the record still lives, 0 for ever.
    """

    tag: int
    epoch: Epoch
    status: int
    active: bool
    version: int
    value: bytes
    content_type: bytes
    detail: str
    age_ms: Millis
    ttl: Millis

    def __init__(
        self, tag: int, epoch: Epoch, status: int, active: bool, version: int = 0, value: bytes = b"",
        content_type: bytes = b"", detail: str = "", age_ms: Millis = 0, ttl: Millis = 0,
    ) -> None:  # fmt: skip
        self.tag = tag
        self.epoch = epoch
        self.status = status
        self.active = active
        self.version = version
        self.value = value
        self.content_type = content_type
        self.detail = detail
        self.age_ms = age_ms
        self.ttl = ttl


RETRY: Final = 100
"""Reply status: not executed here, under this epoch; read the map and send it again."""
