"""Log entries as bytes: encoded once by the primary; the same bytes are sent, stored and applied.

An entry states a result: the primary evaluates every condition before it appends, so applying is
a pure function of the entry. `docs/storage.md` shows the layout byte by byte.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from ringkeep.core.protocol.change import Change, decode_changes, encode_changes
from ringkeep.core.protocol.types import ORIGIN_BYTES, Epoch, Index, Millis

FORMAT: Final = 1
_HEADER: Final = struct.Struct("!BBHQQQ20sQQ")
_BODY: Final = struct.Struct("!HBBQ")
_IDEMPOTENCY: Final = struct.Struct("!16sQ")
_EPOCH: Final = struct.Struct("!Q")
_EPOCH_AT: Final = 4
_TIME_AT: Final = 20
HEADER_BYTES: Final = _HEADER.size
NO_ORIGIN: Final = bytes(ORIGIN_BYTES)


class EntryKind(IntEnum):
    """What an entry does when it is applied."""

    NOOP = 0  # first of an epoch, or a barrier
    PUT = 1
    DELETE = 2
    OUTCOME = 3  # changes no record: keeps the result of a request with an idempotency key
    FORGET = 4  # removes these departed coordinators from the de-duplication table
    CHANGES = 5  # changes records, all or none, and keeps a result that has a value


_NEWEST_KIND: Final = max(EntryKind)


@dataclass(slots=True, init=False)
class Entry:
    """A decoded entry. `status`, `version`: the request's result (`version` 0: this entry's own index).

    `tail` is content type and value as a record holds them: u8 length, content type, value. A FORGET has the
    origins there. `replaced_bytes`: size of the row that a PUT or DELETE replaces, as `row_bytes` counts; 0
    if there was none. It is encoded in the place of an OUTCOME's `version`. `horizon` is the log time before
    which idempotency rows are forgotten (0 without an idempotency key).
    `changes`, `result`: of CHANGES only, in the place of `tail`; `result` is a tail too, b"" for none.
    `__init__` is compiled, as those in `hot_messages`.
    """

    kind: int
    epoch: Epoch
    index: Index
    log_time: Millis
    origin: bytes
    counter: int
    low: int
    key: bytes
    status: int
    version: int
    idempotency: bytes
    fingerprint: bytes
    horizon: Millis
    tail: bytes
    replaced_bytes: int
    changes: Sequence[Change]
    result: bytes

    def __init__(
        self, kind: int, epoch: Epoch, index: Index, log_time: Millis, origin: bytes, counter: int, low: int,
        key: bytes = b"", status: int = 0, version: int = 0, idempotency: bytes = b"",
        fingerprint: bytes = b"", horizon: Millis = 0, tail: bytes = b"\0", replaced_bytes: int = 0,
        changes: Sequence[Change] = (), result: bytes = b"",
    ) -> None:  # fmt: skip
        self.kind = kind
        self.epoch = epoch
        self.index = index
        self.log_time = log_time
        self.origin = origin
        self.counter = counter
        self.low = low
        self.key = key
        self.status = status
        self.version = version
        self.idempotency = idempotency
        self.fingerprint = fingerprint
        self.horizon = horizon
        self.tail = tail
        self.replaced_bytes = replaced_bytes
        self.changes = changes
        self.result = result

    @property
    def value_bytes(self) -> int:
        """The size of what it holds for clients, in bytes."""
        return len(self.tail) + len(self.result) + sum(len(each.tail) for each in self.changes)


def origins_tail(origins: list[bytes]) -> bytes:
    """Return the tail of a FORGET."""
    return b"".join(origins)


def origins_in(tail: bytes) -> list[bytes]:
    """Return the origins that a FORGET names. Raises ValueError if this is not such a tail."""
    if len(tail) % ORIGIN_BYTES:
        raise ValueError(f"{len(tail)} bytes are no origins of {ORIGIN_BYTES} each")
    return [tail[at : at + ORIGIN_BYTES] for at in range(0, len(tail), ORIGIN_BYTES)]


def encode(entry: Entry) -> bytes:
    """Return the entry's bytes. Cost: one copy of the value."""
    header = _HEADER.pack(
        FORMAT,
        entry.kind,
        0,
        entry.epoch,
        entry.index,
        entry.log_time,
        entry.origin,
        entry.counter,
        entry.low,
    )
    if entry.kind == EntryKind.NOOP:
        return header
    if entry.kind == EntryKind.FORGET:
        return header + entry.tail
    number = entry.version if entry.kind == EntryKind.OUTCOME else entry.replaced_bytes
    body = _BODY.pack(len(entry.key), len(entry.idempotency), entry.status, number)
    tail = encode_changes(entry.changes, entry.result) if entry.kind == EntryKind.CHANGES else entry.tail
    if not entry.idempotency:
        return b"".join((header, body, entry.key, tail))
    extra = _IDEMPOTENCY.pack(entry.fingerprint, entry.horizon)
    return b"".join((header, body, entry.key, entry.idempotency, extra, tail))


def decode(data: bytes) -> Entry:
    """Return the entry of these bytes. Raises ValueError for bytes that are no entry of a known format."""
    try:
        form, kind, _, epoch, index, log_time, origin, counter, low = _HEADER.unpack_from(data)
        if form != FORMAT or kind > _NEWEST_KIND:
            raise ValueError(f"log entry of format {form}, kind {kind}: written by a newer version")
        if kind == EntryKind.NOOP:
            return Entry(kind, epoch, index, log_time, origin, counter, low)
        if kind == EntryKind.FORGET:
            origins_in(data[HEADER_BYTES:])
            return Entry(kind, epoch, index, log_time, origin, counter, low, tail=data[HEADER_BYTES:])
        key_bytes, idempotency_bytes, status, number = _BODY.unpack_from(data, HEADER_BYTES)
        version, replaced_bytes = (number, 0) if kind == EntryKind.OUTCOME else (0, number)
        at = HEADER_BYTES + _BODY.size
        key = data[at : at + key_bytes]
        at += key_bytes
        idempotency, fingerprint, horizon = b"", b"", 0
        if idempotency_bytes:
            idempotency = data[at : at + idempotency_bytes]
            at += idempotency_bytes
            fingerprint, horizon = _IDEMPOTENCY.unpack_from(data, at)
            at += _IDEMPOTENCY.size
        if kind == EntryKind.CHANGES:
            changes, result = decode_changes(data[at:])
            return Entry(
                kind, epoch, index, log_time, origin, counter, low, key, status, version, idempotency,
                fingerprint, horizon, changes=changes, result=result,
            )  # fmt: skip
        _check_tail(data, at)
        tail = data[at:]
    except struct.error as error:
        raise ValueError(f"log entry of {len(data)} bytes is cut short") from error
    return Entry(
        kind,
        epoch,
        index,
        log_time,
        origin,
        counter,
        low,
        key,
        status,
        version,
        idempotency,
        fingerprint,
        horizon,
        tail,
        replaced_bytes,
    )


def renumbered(entries: list[Entry], epoch: Epoch, above: Index) -> list[bytes]:
    """Encode entries that are appended again, under another epoch and above another index.

    Their versions change, and so do their references to each other's versions. No-ops are left out.
    """
    indices: dict[int, Index] = {}
    for entry in entries:
        if entry.kind != EntryKind.NOOP:
            indices[entry.index] = Index(above + 1 + len(indices))
    return [
        encode(
            replace(
                entry,
                epoch=epoch,
                index=indices[entry.index],
                version=indices.get(entry.version, entry.version),
                changes=[
                    replace(each, version=indices.get(each.version, each.version)) for each in entry.changes
                ],
            )
        )
        for entry in entries
        if entry.index in indices
    ]


def _check_tail(data: bytes, at: int) -> None:
    """Raise ValueError if the bytes end before the value: the key, or the content type, is cut short."""
    if at >= len(data) or at + 1 + data[at] > len(data):
        raise ValueError(f"log entry of {len(data)} bytes is cut short")


def epoch_of(data: bytes) -> Epoch:
    """Return the epoch of an encoded entry without decoding the rest."""
    return Epoch(_EPOCH.unpack_from(data, _EPOCH_AT)[0])


def is_known(data: bytes) -> bool:
    """Whether these bytes are an entry of a format and kind that this version can apply."""
    return data[0] == FORMAT and data[1] <= _NEWEST_KIND


def log_time_of(data: bytes) -> Millis:
    """Return the log time of an encoded entry, in milliseconds."""
    return int(_EPOCH.unpack_from(data, _TIME_AT)[0])
