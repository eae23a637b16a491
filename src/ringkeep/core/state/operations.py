"""What each operation makes of a record: pure functions of the record, the request and the log's time.

The table is all that an operation is: routes and protocols only name its row. What is logged is its effect.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ringkeep.core.protocol import limits
from ringkeep.core.protocol.change import ChangeKind
from ringkeep.core.protocol.client_requests import KEEP, Kind, Status
from ringkeep.core.protocol.hot_messages import Forward
from ringkeep.core.protocol.record import tail_of, value_at
from ringkeep.core.protocol.types import Millis

LENGTH_ONLY: Final = b"\0length"
"""The content type of a result that is only the length of a large value, in decimal digits. No value of a
client has it: those are printable."""
NOTHING: Final = b""
UNREAD: Final = b"\0"
"""The tail of a record whose value was not needed."""

_NUMBERS: Final = struct.Struct("!qq")
_LEAST, _MOST = -(2**63), 2**63 - 1
_DIGITS: Final = 20  # of the least number, with its sign


class Standing(NamedTuple):
    """The record that an operation finds: `tail` None if there is none. `deadline` 0: it lives for ever."""

    tail: bytes | None
    deadline: Millis


class Effect(NamedTuple):
    """What an operation does. `kind`: a ChangeKind, 0 if it changes nothing. `result`: what the answer holds
    beside status and version, as a tail; NOTHING for nothing."""

    status: Status
    kind: int = 0
    tail: bytes = NOTHING
    deadline: Millis = 0
    result: bytes = NOTHING


Operation = Callable[[Standing, Forward, Millis], Effect]
"""(the record, the request, the log's time now) -> its effect."""


def pack_numbers(by: int, initial: int) -> bytes:
    """Return the value of an ADD request. Raises struct.error for what is no signed 64-bit integer."""
    return _NUMBERS.pack(by, initial)


def _deadline(ttl: Millis, standing: Standing, now: Millis, *, keeps: bool) -> Millis:
    """Return the new deadline: by the ttl that was given, or the one that stands if it is kept."""
    if ttl > 0:
        return now + ttl
    return standing.deadline if keeps or ttl == KEEP else 0


def _written(standing: Standing) -> Status:
    return Status.CREATED if standing.tail is None else Status.REPLACED


def _put(standing: Standing, message: Forward, now: Millis) -> Effect:
    tail = tail_of(message.content_type, message.value)
    return Effect(
        _written(standing), ChangeKind.PUT, tail, _deadline(message.ttl, standing, now, keeps=False)
    )


def _delete(standing: Standing, _: Forward, __: Millis) -> Effect:
    if standing.tail is None:
        return Effect(Status.NOT_FOUND)
    return Effect(Status.DELETED, ChangeKind.DELETE)


def _add(standing: Standing, message: Forward, now: Millis) -> Effect:
    """Add to a decimal number of 64 bits. The content type that stands is kept, as is a deadline."""
    by, number = _NUMBERS.unpack(message.value)
    tail, content_type = standing.tail, message.content_type
    if tail is not None:
        at = value_at(tail)
        found = _number(tail[at:])
        if found is None:
            return Effect(Status.WRONG_TYPE)
        number, content_type = found, tail[1:at]
    number += by
    if not _LEAST <= number <= _MOST:
        return Effect(Status.WRONG_TYPE)
    made = tail_of(content_type, b"%d" % number)
    deadline = _deadline(message.ttl, standing, now, keeps=True)
    return Effect(_written(standing), ChangeKind.PUT, made, deadline, made)


def _number(text: bytes) -> int | None:
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(text) > _DIGITS:  # bytes.isdigit knows ASCII digits only
        return None
    number = int(text)
    return number if _LEAST <= number <= _MOST else None


def _append(standing: Standing, message: Forward, now: Millis) -> Effect:
    """Append to a value. The result is the new value, or its length if it is large."""
    tail = standing.tail
    before = tail_of(message.content_type, b"") if tail is None else tail
    made = before + message.value
    length = len(made) - value_at(made)
    if length > limits.VALUE_BYTES:
        return Effect(Status.TOO_LARGE)
    small = len(made) <= limits.KEPT_RESULT_BYTES
    result = made if small else tail_of(LENGTH_ONLY, b"%d" % length)
    deadline = _deadline(message.ttl, standing, now, keeps=True)
    return Effect(_written(standing), ChangeKind.PUT, made, deadline, result)


def _swap(standing: Standing, message: Forward, now: Millis) -> Effect:
    return _put(standing, message, now)._replace(result=standing.tail or NOTHING)


def _take(standing: Standing, message: Forward, now: Millis) -> Effect:
    return _delete(standing, message, now)._replace(result=standing.tail or NOTHING)


def _touch(standing: Standing, message: Forward, now: Millis) -> Effect:
    """Give a record another time to live, which makes a new version of it."""
    if standing.tail is None:
        return Effect(Status.NOT_FOUND)
    deadline = _deadline(message.ttl, standing, now, keeps=False)
    return Effect(Status.REPLACED, ChangeKind.TOUCH, NOTHING, deadline)


TABLE: Final[Mapping[int, Operation]] = {
    Kind.PUT: _put,
    Kind.DELETE: _delete,
    Kind.ADD: _add,
    Kind.APPEND: _append,
    Kind.SWAP: _swap,
    Kind.TAKE: _take,
    Kind.TOUCH: _touch,
    Kind.PERSIST: _touch,  # without a ttl
}

NEEDS_VALUE: Final = frozenset({Kind.ADD, Kind.APPEND, Kind.SWAP, Kind.TAKE, Kind.TOUCH, Kind.PERSIST})
"""Of these the record's value is read, also for those pending behind them; for the others `tail` may be any
that is not None."""


_BATCH_ENDS: Final = (Status.DONE, Status.CONDITION_FAILED, Status.WRONG_TYPE, Status.TOO_LARGE)


def has_result(kind: int, status: int) -> bool:
    """Whether the answer of a write holds more than status and version."""
    if kind == Kind.ADD or kind == Kind.APPEND:
        return status == Status.CREATED or status == Status.REPLACED
    if kind == Kind.BATCH:
        return status in _BATCH_ENDS
    return (kind, status) in ((Kind.SWAP, Status.REPLACED), (Kind.TAKE, Status.DELETED))


def evaluate(standing: Standing, message: Forward, now: Millis) -> Effect:
    """Return the effect of a write whose condition holds."""
    effect = TABLE[message.kind](standing, message, now)
    if message.idempotency and len(effect.result) > limits.KEPT_RESULT_BYTES:
        return Effect(Status.TOO_LARGE)
    return effect
