"""Which entries of a log take effect: a copy of a request that was carried out before changes nothing."""

from collections.abc import Iterator

from ringkeep.core.protocol.entry import Entry, EntryKind, decode, origins_in
from ringkeep.core.state.deduplication import Sessions
from ringkeep.sim.checks.committed_log import CommittedLog


def effective(log: CommittedLog) -> Iterator[Entry]:
    """Yield the entries that take effect, in order."""
    sessions = Sessions()
    for _, data in sorted(log.entries.items()):
        entry = decode(data)
        if _takes_effect(sessions, entry):
            yield entry


def _takes_effect(sessions: Sessions, entry: Entry) -> bool:
    if entry.kind == EntryKind.FORGET:
        for origin in origins_in(entry.tail):
            sessions.forget(origin)
    elif entry.counter:
        if sessions.find(entry.origin, entry.counter) is not None:
            return False
        sessions.record(entry.origin, entry.counter, entry.low, entry.status, entry.index)
    return True
