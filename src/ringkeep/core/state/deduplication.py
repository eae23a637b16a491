"""De-duplication: which requests have taken effect, and with what result.

A request id is (origin, counter): an origin is one life of one coordinating node, the counter is the
partition's own. Every entry also carries the coordinator's lowest unfinished counter, below which all is
pruned; a coordinator that has left the map is forgotten (`departed_coordinators.py`).
The table is a pure function of the log prefix that was applied, so replicas agree on it byte by byte; it is
stored at the log's floor and replayed over the window at start, instead of being written with every entry.
Source: RIFL (SOSP 2015), section 3.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

_COUNT: Final = struct.Struct("!I")
_SESSION: Final = struct.Struct("!20sQI")
_RESULT: Final = struct.Struct("!QBQ")

NODE_BYTES: Final = 16
"""An origin begins with the id of its node, so that of two lives of one node the newer compares greater."""

STALE: Final = (-1, 0)
"""Answer for an id that was pruned, or is of an earlier life: not executed, and never will be."""


@dataclass(slots=True)
class Session:
    """One life of a coordinating node: its lowest unfinished counter, and the results kept for it."""

    low: int = 0
    results: dict[int, tuple[int, int]] = field(default_factory=dict)


class Sessions:
    """The table of one partition, at some applied index. Of each node only the newest life is kept."""

    __slots__ = ("_lives", "_newest")

    def __init__(self) -> None:
        self._lives: dict[bytes, Session] = {}  # by origin
        self._newest: dict[bytes, bytes] = {}  # node -> its newest origin

    def find(self, origin: bytes, counter: int) -> tuple[int, int] | None:
        """Return (status, version) of an applied request, STALE, or None when it was never applied."""
        session = self._lives.get(origin)
        if session is None:
            newest = self._newest.get(origin[:NODE_BYTES])
            return STALE if newest is not None and newest > origin else None
        known = session.results.get(counter)
        if known is not None:
            return known
        return STALE if counter < session.low else None

    def record(self, origin: bytes, counter: int, low: int, status: int, version: int) -> None:
        """Note the result of an applied entry, and forget what its coordinator has finished.

        Not for a request that `find` knows.
        """
        session = self._lives.get(origin)
        if session is None:
            session = self._begin(origin)
        results = session.results
        results[counter] = (status, version)
        if low > session.low:
            session.low = low
            for old in [known for known in results if known < low]:
                del results[old]

    @property
    def origins(self) -> set[bytes]:
        """The coordinators that are known here."""
        return set(self._lives)

    def forget(self, origin: bytes) -> None:
        """Forget a coordinator of which no request is executed any more."""
        if self._lives.pop(origin, None) is not None:
            del self._newest[origin[:NODE_BYTES]]

    def _begin(self, origin: bytes) -> Session:
        """Begin the newest life of a node; the one before is forgotten."""
        node = origin[:NODE_BYTES]
        before = self._newest.get(node)
        if before is not None:
            assert before < origin, "an earlier life is stale"
            del self._lives[before]
        self._newest[node] = origin
        session = self._lives[origin] = Session()
        return session

    def encode(self) -> bytes:
        """Return the table as bytes, equal for equal tables."""
        parts = [_COUNT.pack(len(self._lives))]
        for origin, session in sorted(self._lives.items()):
            parts.append(_SESSION.pack(origin, session.low, len(session.results)))
            parts += [_RESULT.pack(counter, *result) for counter, result in sorted(session.results.items())]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> "Sessions":
        """Return the table of these bytes. Raises ValueError if they are not one."""
        table = cls()
        try:
            (lives,) = _COUNT.unpack_from(data)
            at = _COUNT.size
            for _ in range(lives):
                origin, low, results = _SESSION.unpack_from(data, at)
                at += _SESSION.size
                if origin[:NODE_BYTES] in table._newest:
                    raise ValueError("a de-duplication table names one node twice")
                session = table._begin(origin)
                session.low = low
                for _ in range(results):
                    counter, status, version = _RESULT.unpack_from(data, at)
                    at += _RESULT.size
                    session.results[counter] = (status, version)
        except struct.error as error:
            raise ValueError("a de-duplication table is cut short") from error
        if at != len(data):
            raise ValueError("a de-duplication table is followed by something else")
        return table
