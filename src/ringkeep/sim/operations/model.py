"""The reference model of the operations on one key: written from what is promised to users, for the witness.

It uses nothing of how the core evaluates, logs or stores them.
"""

import re
import struct
from typing import Final, NamedTuple, Protocol

from ringkeep.core.protocol.client_requests import ABSENT, ANY, KEEP, PRESENT, Kind, Status
from ringkeep.core.protocol.types import Millis
from ringkeep.sim.histories.history import short
from ringkeep.sim.operations.calls import Call

KEPT_BYTES: Final = 64 * 1024
"""Of a result: a content type with its length, and a value."""
LENGTH: Final = b"\0length"
"""The content type of a result that is only the length of what is too large to be kept."""
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

    def __str__(self) -> str:
        lives = f" until {self.deadline}, {self.ttl_ms} ms from {self.asked_ms}" if self.deadline else ""
        return f"version {self.version} {short(self.value)}{lives}"


class Shown(NamedTuple):
    """What an answer shows beside status and version."""

    value: bytes = b""
    content_type: bytes = b""


class Decision(NamedTuple):
    """`made`: the value and content type that are written, None if nothing is. `lives`: how long it lives: a
    time to live, 0 for ever, or KEEP."""

    status: Status
    made: Shown | None = None
    lives: Millis = 0
    shown: Shown = Shown()


class Asked(Protocol):
    """What is asked: a call, or a step of a batch."""

    @property
    def kind(self) -> int:
        """A Kind."""

    @property
    def value(self) -> bytes:
        """As in a request."""

    @property
    def content_type(self) -> bytes:
        """As in a request."""

    @property
    def condition(self) -> int:
        """As in a request."""

    @property
    def ttl_ms(self) -> Millis:
        """As in a request."""


def holds(condition: int, record: Record | None) -> bool:
    """Whether a condition holds of a record, or of none."""
    version = record.version if record is not None else 0
    return {ANY: True, ABSENT: version == 0, PRESENT: version > 0}.get(condition, condition == version)


def decide(record: Record | None, asked: Asked, *, kept: bool) -> Decision:
    """Return what a write does to a record, and answers. `kept`: its result is, under a client's own key."""
    if not holds(asked.condition, record):
        return Decision(Status.CONDITION_FAILED)
    done = _decide(record, asked)
    if kept and kept_bytes(done.shown) > KEPT_BYTES:
        return Decision(Status.TOO_LARGE)
    return done


def left(
    before: Record | None, decision: Decision, version: int, deadline: Millis, call: Call
) -> Record | None:
    """Return the record that a write leaves. `deadline`: if it has a new one."""
    if decision.made is None:
        return None
    record = Record(version, *decision.made)
    if decision.lives == KEEP and before is not None and before.deadline:
        return before._replace(version=version, value=record.value, content_type=record.content_type)
    if decision.lives > 0:
        return record._replace(
            deadline=deadline, ttl_ms=decision.lives, asked_ms=call.start_ms, asked=call.start
        )
    return record


def _decide(record: Record | None, asked: Asked) -> Decision:
    status = Status.CREATED if record is None else Status.REPLACED
    said = Shown(asked.value, asked.content_type)
    before = Shown(record.value, record.content_type) if record is not None else Shown()
    match asked.kind:
        case Kind.PUT:
            return Decision(status, said, asked.ttl_ms)
        case Kind.SWAP:
            return Decision(status, said, asked.ttl_ms, before)
        case Kind.ADD:
            return _add(record, asked, status)
        case Kind.APPEND:
            return _append(record, asked, status)
    if record is None:
        return Decision(Status.NOT_FOUND)
    match asked.kind:
        case Kind.DELETE:
            return Decision(Status.DELETED)
        case Kind.TAKE:
            return Decision(Status.DELETED, shown=before)
        case Kind.TOUCH | Kind.PERSIST:
            return Decision(status, before, asked.ttl_ms)
    raise AssertionError(f"{asked.kind!r} is no write")


def _add(record: Record | None, asked: Asked, status: Status) -> Decision:
    by, number = _NUMBERS.unpack(asked.value)
    content_type = asked.content_type
    if record is not None:
        content_type = record.content_type
        if not _NUMBER.fullmatch(record.value) or not _fits(int(record.value)):
            return Decision(Status.WRONG_TYPE)
        number = int(record.value)
    number += by
    if not _fits(number):
        return Decision(Status.WRONG_TYPE)
    made = Shown(b"%d" % number, content_type)
    return Decision(status, made, asked.ttl_ms or KEEP, made)


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _append(record: Record | None, asked: Asked, status: Status) -> Decision:
    made = Shown(asked.value, asked.content_type)
    if record is not None:
        made = Shown(record.value + asked.value, record.content_type)
    if len(made.value) > VALUE_BYTES:
        return Decision(Status.TOO_LARGE)
    shown = made if kept_bytes(made) <= KEPT_BYTES else Shown(b"%d" % len(made.value), LENGTH)
    return Decision(status, made, asked.ttl_ms or KEEP, shown)


def kept_bytes(shown: Shown) -> int:
    """Return how large a result is where it is kept."""
    return 1 + len(shown.content_type) + len(shown.value)
