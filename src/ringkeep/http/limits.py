"""Every bound of the HTTP interface; those of the store itself are in `core/protocol/limits`."""

from dataclasses import dataclass
from typing import Final

from ringkeep.core.protocol.limits import KEY_BYTES, KIB, MIB, VALUE_BYTES

TARGET_BYTES: Final = 8 * KIB  # request target: longer is a 414
HEADER_BYTES: Final = 32 * KIB  # all header fields of one request together: more is a 431
HEADER_COUNT: Final = 100
SMALL_BODY_BYTES: Final = 64 * KIB  # body of a request that needs none, and of the admin routes
IN_FLIGHT_EACH: Final = 32  # requests in flight on one connection; no more is read until some are answered
IN_FLIGHT: Final = 16_384  # requests in flight on all connections: beyond, 429
LARGE_BODY_BYTES: Final = 64 * KIB  # bodies above this count towards LARGE_BODIES_BYTES
LARGE_BODIES_BYTES: Final = 256 * MIB  # held by all connections together: beyond, 429
DRAIN_BYTES: Final = 64 * MIB  # of a refused body, read and dropped so that the client sees the answer
CHUNK_OVERHEAD: Final = 8  # bytes on the wire per byte of a chunked body: one-byte chunks have 6
BATCH_OPERATIONS: Final = 1_024
BATCH_BYTES: Final = 4 * MIB  # of a batch's JSON
BATCH_VALUES_BYTES: Final = 4 * MIB  # that reads of a batch answer; beyond: 413
JSON_GROWTH: Final = 6  # a byte may be written as \u00XX
BACKLOG: Final = 1_024
CLIENTS: Final = 16_384  # connected, where nobody says how many may be
SWEEP_S: Final = 0.1
SWEPT_PER_TICK: Final = 1_000  # connections looked at per tick on average: more of them are swept less often

PUT_BODY_BYTES: Final = JSON_GROWTH * (VALUE_BYTES + KEY_BYTES) + 4 * KIB
"""The longest JSON of `/put` that could still hold a permitted key and value."""

assert TARGET_BYTES > 3 * KEY_BYTES + KIB, "a percent-encoded key of full length fits, with its parameters"
assert PUT_BODY_BYTES < DRAIN_BYTES, "what is read at all is also drained"
assert LARGE_BODIES_BYTES > 4 * PUT_BODY_BYTES


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take, in seconds. Tests set these low."""

    head_s: float = 10.0  # from the first byte of a request to the end of its header fields
    stall_s: float = 10.0  # without a byte of an unfinished body
    body_s: float = 60.0  # for a whole body
    idle_s: float = 75.0  # between requests; then closed without a word
    drain_s: float = 2.0
    write_s: float = 30.0  # a client that does not read its answers
