"""An atomic batch as bytes: its operations, as the value of a request, and their outcomes, as that of a
reply.

It is one request of one partition: it is coordinated, replicated and de-duplicated as any other write.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ringkeep.core.protocol.client_requests import ANY, Kind
from ringkeep.core.protocol.types import Millis

_HEAD: Final = struct.Struct("!BH")
_STEP: Final = struct.Struct("!BHIBqq")
_OUTCOME: Final = struct.Struct("!BQQIB")

CHECK: Final = 0
"""As a step's kind: nothing is done, but its condition must hold for the whole batch."""
READ_ANEW: Final = 0
"""As an outcome's status: what a read has found is not kept for a retry, which reads anew."""


@dataclass(slots=True)
class Step:
    """One operation of a batch: as the fields of a request of the same names. `kind`: a Kind, or CHECK."""

    kind: int
    key: bytes
    value: bytes = b""
    content_type: bytes = b""
    condition: int = ANY
    ttl_ms: Millis = 0


@dataclass(slots=True)
class Outcome:
    """What became of one step: as the fields of a result of the same names. `status`: a Status, or
    READ_ANEW."""

    status: int
    version: int = 0
    ttl_ms: Millis = 0
    value: bytes = b""
    content_type: bytes = b""


def encode_steps(steps: Sequence[Step], goes_on: bool) -> bytes:
    """Return a batch as bytes. `goes_on`: a step that fails by itself does not undo the others."""
    parts = [_HEAD.pack(goes_on, len(steps))]
    for each in steps:
        parts.append(_STEP.pack(
            each.kind, len(each.key), len(each.value), len(each.content_type), each.condition, each.ttl_ms
        ))  # fmt: skip
        parts += (each.key, each.value, each.content_type)
    return b"".join(parts)


def decode_steps(data: bytes) -> tuple[list[Step], bool]:
    """Return (steps, whether it goes on after a failure). Raises ValueError for bytes that are no batch."""
    steps: list[Step] = []
    try:
        goes_on, count = _HEAD.unpack_from(data)
        at = _HEAD.size
        for _ in range(count):
            kind, key_bytes, value_bytes, type_bytes, condition, ttl_ms = _STEP.unpack_from(data, at)
            key_at = at + _STEP.size
            value_at = key_at + key_bytes
            type_at = value_at + value_bytes
            at = type_at + type_bytes
            if kind != CHECK:
                Kind(kind)
            steps.append(
                Step(kind, data[key_at:value_at], data[value_at:type_at], data[type_at:at], condition, ttl_ms)
            )
    except struct.error as error:
        raise ValueError(f"a batch of {len(data)} bytes is cut short") from error
    if at != len(data):
        raise ValueError(f"a batch of {len(data)} bytes ends after {at}")
    return steps, bool(goes_on)


def encode_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """Return the outcomes of a batch as bytes."""
    parts: list[bytes] = []
    for each in outcomes:
        parts.append(_OUTCOME.pack(
            each.status, each.version, each.ttl_ms, len(each.value), len(each.content_type)
        ))  # fmt: skip
        parts += (each.value, each.content_type)
    return b"".join(parts)


def decode_outcomes(data: bytes) -> list[Outcome]:
    """Return the outcomes of these bytes. Raises ValueError for others."""
    outcomes: list[Outcome] = []
    at = 0
    try:
        while at < len(data):
            status, version, ttl_ms, value_bytes, type_bytes = _OUTCOME.unpack_from(data, at)
            value_at = at + _OUTCOME.size
            type_at = value_at + value_bytes
            at = type_at + type_bytes
            outcomes.append(Outcome(status, version, ttl_ms, data[value_at:type_at], data[type_at:at]))
    except struct.error as error:
        raise ValueError("the outcomes of a batch are cut short") from error
    if at != len(data):
        raise ValueError("the outcomes of a batch are cut short")
    return outcomes
