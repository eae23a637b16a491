"""The model client's requests, and what applied entries must have done, computed independently in a simple
way."""

from dataclasses import dataclass, field
from typing import Final

from ringkeep.core.protocol import hot_messages as hot
from ringkeep.core.protocol.client_requests import ANY, Kind, Status
from ringkeep.core.protocol.entry import EntryKind, decode
from ringkeep.core.protocol.record import read_record
from ringkeep.core.protocol.types import Epoch, Incarnation, origin_of
from ringkeep.core.replication.replica import Replica
from ringkeep.sim.model.machine import CLIENT, CLIENT_LIFE, ONLY

KEY: Final = b"k"
ORIGIN: Final = origin_of(CLIENT, Incarnation(CLIENT_LIFE))
_COPY: Final = 1  # the copies of a request are not distinguished here
_READS: Final = 1 << 8


def write_of(number: int, epoch: Epoch) -> hot.Forward:
    """Return the `number`-th write, from 1, for the primary of this epoch."""
    return hot.Forward(
        tag_of(number), ONLY, epoch, 1_000, Kind.PUT, ANY, ORIGIN, number, 1, KEY, b"v%d" % number
    )  # fmt: skip


def read_of(number: int, epoch: Epoch) -> hot.Forward:
    """Return the `number`-th read, from 1, for the primary of this epoch."""
    return hot.Forward(tag_of(_READS + number), ONLY, epoch, 1_000, Kind.GET, ANY, ORIGIN, 0, 0, KEY)


def tag_of(number: int) -> int:
    return number << 16 | _COPY


def is_read(tag: int) -> bool:
    return tag >> 16 > _READS


def number_of(tag: int) -> int:
    """Return which write or read an answer is for."""
    return (tag >> 16) % _READS


@dataclass(slots=True)
class Expected:
    """The state after some entries: the key's version and value, and the result of each write."""

    version: int = 0
    value: bytes = b""
    results: dict[int, tuple[int, int]] = field(default_factory=dict)

    def compare(self, replica: Replica) -> None:
        """8, 9. No request takes effect twice, and the state is the log's, de-duplication included."""
        record = replica.state.record(KEY)
        found = read_record(record) if record is not None else (0, b"", b"")
        assert (found[0], found[2]) == (self.version, self.value), (
            f"the record is {found[2]!r} of {found[0]}, the log says {self.value!r} of {self.version}"
        )
        for number in range(1, max(self.results, default=0) + 2):
            known = replica.state.sessions.find(ORIGIN, number)
            assert known == self.results.get(number), f"write {number}: kept {known}, not what the log says"


def expected_state(log: tuple[bytes, ...]) -> Expected:
    """Carry out committed entries, the first copy of each request only."""
    state = Expected()
    for index, data in enumerate(log, 1):
        entry = decode(data)
        if entry.kind == EntryKind.NOOP or entry.counter in state.results:
            continue
        status = Status.REPLACED if state.version else Status.CREATED
        assert entry.status == status, f"write {entry.counter} at {index} is {Status(entry.status).name}"
        state.version, state.value = index, entry.tail[1 + entry.tail[0] :]
        state.results[entry.counter] = (status, index)
    return state
