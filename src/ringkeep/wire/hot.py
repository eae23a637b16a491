"""The messages of the data path, written and read by hand: a struct header and raw bytes.

Every `write_*` returns the whole message with its head (u8 type, u32 payload length). Every `read_*` takes
the body, where the payload begins and where it ends, and checks that it ends exactly there: reading past the
end is harmless, since the end position then differs. Errors are struct.error, ValueError or ProtocolError;
`codec.decode` turns them into ProtocolError.
"""

import struct
from typing import Final

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import KEEP, Kind, Status
from ringkeep.core.protocol.hot_messages import (
    RETRY,
    Acks,
    Append,
    Clocks,
    Commits,
    Confirm,
    Confirmed,
    Forward,
    Reply,
)
from ringkeep.core.protocol.types import ORIGIN_BYTES
from ringkeep.errors import ProtocolError

APPEND, ACKS, COMMITS, CONFIRM, CONFIRMED, FORWARD, REPLY = 1, 2, 3, 4, 5, 6, 7
CLOCKS, FORWARD_TTL, REPLY_TTL = 9, 10, 11
"""The last two are FORWARD and REPLY with a ttl in front; only nodes of feature level 2 read these three."""

HEAD_BYTES: Final = 5
_TTL: Final = struct.Struct("!q")
_TTL_HEAD: Final = struct.Struct("!BIq")
DETAIL_CHARACTERS: Final = 4_096
"""The longest `detail` of a Reply, in characters; longer ones are cut."""

_KINDS: Final = frozenset(int(kind) for kind in Kind)
_STATUSES: Final = frozenset(int(status) for status in Status) | {RETRY}

# --- Append -------------------------------------------------------------------------------------------

_APPEND: Final = struct.Struct("!HQQQQI")
_APPEND_HEAD: Final = struct.Struct("!BIHQQQQI")
_APPEND_ONE: Final = struct.Struct("!BIHQQQQII")
_APPEND_BYTES: Final = _APPEND.size
_pack_append = _APPEND_HEAD.pack
_pack_append_one = _APPEND_ONE.pack
_unpack_append = _APPEND.unpack_from


def write_append(m: Append) -> bytes:
    """Header, one u32 length per entry, the entries."""
    entries = m.entries
    count = len(entries)
    if count == 1:
        entry = entries[0]
        size = len(entry)
        return (
            _pack_append_one(
                APPEND,
                _APPEND_BYTES + 4 + size,
                m.partition,
                m.epoch,
                m.prev_epoch,
                m.prev_index,
                m.commit,
                1,
                size,
            )
            + entry
        )
    lengths = [len(entry) for entry in entries]
    size = _APPEND_BYTES + 4 * count + sum(lengths)
    head = _pack_append(APPEND, size, m.partition, m.epoch, m.prev_epoch, m.prev_index, m.commit, count)
    return b"".join((head, struct.pack(f"!{count}I", *lengths), *entries))


def read_append(body: bytes, at: int, end: int) -> Append:
    partition, epoch, prev_epoch, prev_index, commit, count = _unpack_append(body, at)
    at += _APPEND_BYTES
    if count == 1:
        if at + 4 > end or int.from_bytes(body[at : at + 4], "big") != end - at - 4:  # before it is cut: a
            raise ProtocolError(
                "Append: the entry does not fill the payload"
            )  # compiled slice ends no sooner
        return Append(partition, epoch, prev_epoch, prev_index, commit, [body[at + 4 : end]])
    if count * 4 > end - at:  # before anything of that size is allocated
        raise ProtocolError("Append: more entries than the payload can hold")
    lengths = struct.unpack_from(f"!{count}I", body, at)
    at += 4 * count
    entries = []
    for length in lengths:
        entries.append(body[at : at + length])
        at += length
    if at != end:
        raise ProtocolError("Append: the entries do not fill the payload")
    return Append(partition, epoch, prev_epoch, prev_index, commit, entries)


# --- flat lists --------------------------------------------------------------------------------------


class _Rows:
    """Flat integer lists as rows of one layout: one struct call per ROWS_AT_ONCE rows.

    A Struct of n rows costs more to make than to use, so those for few rows are kept; more rows go in slices.
    (array("Q") with a byte swap is 1.5 times as fast from 20 rows on, slower below five, a third longer, and
    leaves the partition unchecked.)
    """

    ROWS_AT_ONCE: Final = 64

    def __init__(self, layout: str) -> None:
        self.bytes = struct.calcsize("!" + layout)
        self.columns = len(layout)
        self._layout = layout
        self._structs: dict[int, struct.Struct] = {}
        self._most = self.of(self.ROWS_AT_ONCE)

    def of(self, rows: int) -> struct.Struct:
        found = self._structs.get(rows)
        if found is None:
            found = self._structs[rows] = struct.Struct("!" + self._layout * rows)
        return found

    def write(self, items: list[int]) -> bytes:
        rows, odd = divmod(len(items), self.columns)
        assert not odd, "a flat list holds whole rows"
        if rows <= self.ROWS_AT_ONCE:
            return self.of(rows).pack(*items)
        step = self.ROWS_AT_ONCE * self.columns
        whole = len(items) - len(items) % step
        parts = [self._most.pack(*items[at : at + step]) for at in range(0, whole, step)]
        parts.append(self.of(rows % self.ROWS_AT_ONCE).pack(*items[whole:]))
        return b"".join(parts)

    def read(self, body: bytes, at: int, end: int) -> list[int]:
        rows, odd = divmod(end - at, self.bytes)
        if odd or rows < 0:
            raise ProtocolError("a flat list holds a part of a row")
        if rows <= self.ROWS_AT_ONCE:
            return list(self.of(rows).unpack_from(body, at))
        items: list[int] = []
        step = self._most.size
        while end - at >= step:
            items += self._most.unpack_from(body, at)
            at += step
        items += self.of((end - at) // self.bytes).unpack_from(body, at)
        return items


_TRIPLES: Final = _Rows("HQQ")
_PAIRS: Final = _Rows("HQ")
_LIST: Final = struct.Struct("!BI")
_NUMBERED: Final = struct.Struct("!BIQ")
_pack_list = _LIST.pack
_pack_numbered = _NUMBERED.pack


def write_acks(m: Acks) -> bytes:
    rows = _TRIPLES.write(m.items)
    return _pack_list(ACKS, len(rows)) + rows


def read_acks(body: bytes, at: int, end: int) -> Acks:
    return Acks(_TRIPLES.read(body, at, end))


def write_clocks(m: Clocks) -> bytes:
    rows = _TRIPLES.write(m.items)
    return _pack_list(CLOCKS, len(rows)) + rows


def read_clocks(body: bytes, at: int, end: int) -> Clocks:
    return Clocks(_TRIPLES.read(body, at, end))


def write_commits(m: Commits) -> bytes:
    rows = _TRIPLES.write(m.items)
    return _pack_numbered(COMMITS, 8 + len(rows), m.probe) + rows


def write_confirm(m: Confirm) -> bytes:
    rows = _PAIRS.write(m.items)
    return _pack_numbered(CONFIRM, 8 + len(rows), m.round) + rows


def write_confirmed(m: Confirmed) -> bytes:
    rows = _PAIRS.write(m.items)
    return _pack_numbered(CONFIRMED, 8 + len(rows), m.round) + rows


def read_commits(body: bytes, at: int, end: int) -> Commits:
    return Commits(_number(body, at, end), _TRIPLES.read(body, at + 8, end))


def read_confirm(body: bytes, at: int, end: int) -> Confirm:
    return Confirm(_number(body, at, end), _PAIRS.read(body, at + 8, end))


def read_confirmed(body: bytes, at: int, end: int) -> Confirmed:
    return Confirmed(_number(body, at, end), _PAIRS.read(body, at + 8, end))


def _number(body: bytes, at: int, end: int) -> int:
    if end - at < 8:
        raise ProtocolError("a numbered list without its number")
    return int.from_bytes(body[at : at + 8], "big")


# --- requests ----------------------------------------------------------------------------------------

_FORWARD: Final = struct.Struct("!QHQiBqQQBHIBBB")
_FORWARD_HEAD: Final = struct.Struct("!BIQHQiBqQQBHIBBB")
_FORWARD_BYTES: Final = _FORWARD.size
_pack_forward = _FORWARD_HEAD.pack
_unpack_forward = _FORWARD.unpack_from


def write_forward(m: Forward) -> bytes:
    """Header with six lengths, then origin, key, value, content type, idempotency key, fingerprint."""
    origin, key, value = m.origin, m.key, m.value
    kind_of, idempotency, fingerprint = m.content_type, m.idempotency, m.fingerprint
    lengths = (len(origin), len(key), len(value), len(kind_of), len(idempotency), len(fingerprint))
    head = _pack_forward(
        FORWARD,
        _FORWARD_BYTES + sum(lengths),
        m.tag,
        m.partition,
        m.epoch,
        m.remaining_ms,
        m.kind,
        m.condition,
        m.counter,
        m.low,
        *lengths,
    )
    if m.ttl:
        head = _with_ttl(FORWARD_TTL, head, sum(lengths), m.ttl)
    return b"".join((head, origin, key, value, kind_of, idempotency, fingerprint))


def _with_ttl(number: int, head: bytes, rest: int, ttl: int) -> bytes:
    """Return a message's head as one of the type `number`, which has a ttl in front. `rest`: bytes that
    follow the head."""
    payload = head[HEAD_BYTES:]
    return _TTL_HEAD.pack(number, _TTL.size + len(payload) + rest, ttl) + payload


def read_forward_ttl(body: bytes, at: int, end: int) -> Forward:
    (ttl,) = _TTL.unpack_from(body, at)
    if not KEEP <= ttl <= limits.MAX_TTL_MS:
        raise ProtocolError(f"Forward: a ttl of {ttl} ms")
    made = read_forward(body, at + _TTL.size, end)
    made.ttl = ttl
    return made


def read_reply_ttl(body: bytes, at: int, end: int) -> Reply:
    (ttl,) = _TTL.unpack_from(body, at)
    if ttl < 0:
        raise ProtocolError(f"Reply: a ttl of {ttl} ms")
    made = read_reply(body, at + _TTL.size, end)
    made.ttl = ttl
    return made


def read_forward(body: bytes, at: int, end: int) -> Forward:
    (tag, partition, epoch, remaining_ms, kind, condition, counter, low,
     origin, key, value, kind_of, idempotency, fingerprint) = _unpack_forward(body, at)  # fmt: skip
    origin_at = at + _FORWARD_BYTES
    key_at = origin_at + origin
    value_at = key_at + key
    kind_at = value_at + value
    idempotency_at = kind_at + kind_of
    fingerprint_at = idempotency_at + idempotency
    if fingerprint_at + fingerprint != end:
        raise ProtocolError("Forward: the parts do not fill the payload")
    if kind not in _KINDS or condition < -2 or (origin and origin != ORIGIN_BYTES):
        raise ProtocolError(f"Forward: kind {kind}, condition {condition}, origin of {origin} bytes")
    made = Forward(
        tag,
        partition,
        epoch,
        remaining_ms,
        kind,
        condition,
        body[origin_at:key_at],
        counter,
        low,
        body[key_at:value_at],
        body[value_at:kind_at],
    )
    if kind_at != end:  # rare: most requests end with their value
        made.content_type = body[kind_at:idempotency_at]
        made.idempotency = body[idempotency_at:fingerprint_at]
        made.fingerprint = body[fingerprint_at:end]
    return made


_REPLY: Final = struct.Struct("!QQBBQqIBH")
_REPLY_HEAD: Final = struct.Struct("!BIQQBBQqIBH")
_REPLY_BYTES: Final = _REPLY.size
_pack_reply = _REPLY_HEAD.pack
_unpack_reply = _REPLY.unpack_from


def write_reply(m: Reply) -> bytes:
    """Header with three lengths, then value, content type, detail (UTF-8)."""
    value, kind_of = m.value, m.content_type
    detail = m.detail[:DETAIL_CHARACTERS].encode("utf-8", "replace") if m.detail else b""
    head = _pack_reply(
        REPLY,
        _REPLY_BYTES + len(value) + len(kind_of) + len(detail),
        m.tag,
        m.epoch,
        m.status,
        m.active,
        m.version,
        m.age_ms,
        len(value),
        len(kind_of),
        len(detail),
    )
    if m.ttl:
        head = _with_ttl(REPLY_TTL, head, len(value) + len(kind_of) + len(detail), m.ttl)
    return b"".join((head, value, kind_of, detail))


def read_reply(body: bytes, at: int, end: int) -> Reply:
    tag, epoch, status, active, version, age_ms, value, kind_of, detail = _unpack_reply(body, at)
    value_at = at + _REPLY_BYTES
    kind_at = value_at + value
    detail_at = kind_at + kind_of
    if detail_at + detail != end:
        raise ProtocolError("Reply: the parts do not fill the payload")
    if status not in _STATUSES or active > 1:
        raise ProtocolError(f"Reply: status {status}, active {active}")
    return Reply(
        tag,
        epoch,
        status,
        active == 1,
        version,
        body[value_at:kind_at],
        body[kind_at:detail_at],
        body[detail_at:end].decode() if detail else "",
        age_ms,
    )
