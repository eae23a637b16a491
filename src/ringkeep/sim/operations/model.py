"""The reference model of the operations on one key: written from what is promised to users, for the witness.

It uses nothing of how the core evaluates, logs or stores them.
"""

import re
import struct
from typing import Final, NamedTuple

from ringkeep.core.protocol.client_requests import ABSENT, ANY, KEEP, PRESENT, Kind, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.operations.calls import Call

KEPT_BYTES: Final = 64 * 1024
"""Of a result: a content type with its length, and a value."""
VALUE_BYTES: Final = 4 * 1024 * 1024
_NUMBERS: Final = struct.Struct("!qq")
_NUMBER: Final = re.compile(rb"-[0-9]{1,19}|[0-9]{1,20}")


class Record(NamedTuple):
    """`deadline`: a log time, 0 for none. `ttl_ms`, `asked_ms`, `asked`: the time to live that it goes back
    to, and when that was asked for, also as an event number.
    """

    version: int
    value: bytes
    content_type: bytes
    deadline: Millis = 0
    ttl_ms: Millis = 0
    asked_ms: Millis = 0
    asked: int = 0


class Shown(NamedTuple):
    """What an answer shows beside status and version."""

    value: bytes = b""
    content_type: bytes = b""


NO_SHOWN: Final = Shown()


class Decision(NamedTuple):
    """`made`: the value and content type that are written, None if nothing is. `lives`: how long it lives: a
    time to live, 0 for ever, or KEEP."""

    status: Status
    made: Shown | None = None
    lives: Millis = 0
    shown: Shown = NO_SHOWN


def decide(record: Record | None, call: Call) -> Decision:
    """Return what a write does to a record, and answers."""
    wanted, version = call.condition, record.version if record is not None else 0
    holds = {ANY: True, ABSENT: version == 0, PRESENT: version > 0}.get(wanted, wanted == version)
    if not holds:
        return Decision(Status.CONDITION_FAILED)
    done = _decide(record, call)
    if call.name and kept_bytes(done.shown) > KEPT_BYTES:
        return Decision(Status.TOO_LARGE)
    return done


def _decide(record: Record | None, call: Call) -> Decision:
    status = Status.CREATED if record is None else Status.REPLACED
    said = Shown(call.value, call.content_type)
    before = Shown(record.value, record.content_type) if record is not None else NO_SHOWN
    match call.kind:
        case Kind.PUT:
            return Decision(status, said, call.ttl_ms)
        case Kind.SWAP:
            return Decision(status, said, call.ttl_ms, before)
        case Kind.ADD:
            return _add(record, call, status)
        case Kind.APPEND:
            return _append(record, call, status)
    if record is None:
        return Decision(Status.NOT_FOUND)
    match call.kind:
        case Kind.DELETE:
            return Decision(Status.DELETED)
        case Kind.TAKE:
            return Decision(Status.DELETED, shown=before)
        case Kind.TOUCH | Kind.PERSIST:
            return Decision(status, before, call.ttl_ms)
    raise AssertionError(f"{call.kind!r} is no write")


def _add(record: Record | None, call: Call, status: Status) -> Decision:
    by, number = _NUMBERS.unpack(call.value)
    content_type = call.content_type
    if record is not None:
        content_type = record.content_type
        if not _NUMBER.fullmatch(record.value) or not _fits(int(record.value)):
            return Decision(Status.WRONG_TYPE)
        number = int(record.value)
    number += by
    if not _fits(number):
        return Decision(Status.WRONG_TYPE)
    made = Shown(b"%d" % number, content_type)
    return Decision(status, made, call.ttl_ms or KEEP, made)


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _append(record: Record | None, call: Call, status: Status) -> Decision:
    made = Shown(call.value, call.content_type)
    if record is not None:
        made = Shown(record.value + call.value, record.content_type)
    if len(made.value) > VALUE_BYTES:
        return Decision(Status.TOO_LARGE)
    shown = made if kept_bytes(made) <= KEPT_BYTES else Shown(b"%d" % len(made.value), b"\0length")
    return Decision(status, made, call.ttl_ms or KEEP, shown)


def kept_bytes(shown: Shown) -> int:
    """Return the size of a result that is kept."""
    return 1 + len(shown.content_type) + len(shown.value)
