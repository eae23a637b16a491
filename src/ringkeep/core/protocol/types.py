"""The basic types of the core: ids, numbers and times.

Knows nothing of how they are stored or sent.
"""

from typing import Final, NewType

NodeId = NewType("NodeId", str)
"""32 hexadecimal digits, drawn once when a data directory is created. A wiped disk is a new node."""

PartitionId = NewType("PartitionId", int)
"""0 to Q - 1."""

Epoch = NewType("Epoch", int)
"""Number of a primaryship of one partition. 0: none yet. One epoch belongs to one incarnation."""

Index = NewType("Index", int)
"""Position in one partition's log, from 1. 0 is the empty log. Also the version of the key written there."""

Incarnation = NewType("Incarnation", int)
"""How often this data directory was started, from 1; durable before it is used."""

MapVersion = NewType("MapVersion", int)
"""The cluster map's own number, from 1. 0: no map yet."""

Life = tuple[NodeId, Incarnation]
"""One process of a node: an answer to one life must not reach the next."""

Millis = int
"""Milliseconds of a monotonic clock (a moment) or of a duration. Never a wall clock."""

COPY_BITS: Final = 16
"""The lowest bits of a tag number the copies of a request; the others name the request."""

ORIGIN_BYTES: Final = 20
"""An origin is a node id (16 raw bytes) and an incarnation (4 bytes): who coordinated a request."""


def first_name(incarnation: Incarnation) -> int:
    """Return the first number that a process uses to name things to others: no two lives share a name."""
    return incarnation << 32


def origin_of(node: NodeId, incarnation: Incarnation) -> bytes:
    """Return the 20 bytes that name one life of one node in request ids."""
    return bytes.fromhex(node) + incarnation.to_bytes(4, "big")
