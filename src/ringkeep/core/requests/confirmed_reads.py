"""Confirmed reads: no clock; one round serves every waiting read.

A round begins at the end of the turn in which its reads arrived, so it starts after all of them. It lists
(partition, epoch); a voter that has promised nothing higher echoes a pair. With a majority, the primary
included, no later primary was active when the round began, so the commit index taken then covers every
write that was acknowledged before the reads arrived.
Source: ReadIndex, Ongaro's dissertation (2014), section 6.4, batched over partitions.
"""

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.client_requests import Status
from ringkeep.core.protocol.hot_messages import RETRY, Confirm, Confirmed
from ringkeep.core.protocol.record import (
    deadline_of,
    is_parted,
    read_record,
    rows_bytes,
    value_bytes_of,
    version_of,
)
from ringkeep.core.protocol.types import Index, Millis, NodeId, PartitionId, first_name
from ringkeep.core.replication.expiry import removal
from ringkeep.core.replication.pending import Call
from ringkeep.core.replication.primary import Phase, Primary
from ringkeep.core.replication.results import answer_known


class SliceRead(Protocol):
    """A part of something larger that waits for the confirmation of one partition."""

    deadline: Millis

    def confirmed(self) -> None:
        """The partition may be read."""

    def refused(self) -> None:
        """It may not: the primary is none any more, or was not confirmed in time."""


Waiting = tuple[Call | SliceRead, tuple[int, int] | None, Index]


class _Ballot:
    """One primary's part of a round: who confirmed, and the reads that wait for it."""

    __slots__ = ("index", "primary", "reads", "yes")

    def __init__(self, primary: Primary, reads: list[Waiting]) -> None:
        self.primary = primary
        self.reads = reads
        self.index = primary.replica.commit
        self.yes: list[NodeId] = [primary.context.me]


class _Round:
    __slots__ = ("ballots", "probes", "since")

    def __init__(self, since: Millis, ballots: dict[int, _Ballot], probes: dict[NodeId, int]) -> None:
        self.since = since
        self.ballots = ballots
        self.probes = probes


class ConfirmedReads:
    """All reads that wait at this node's primaries."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._arrived: dict[Primary, list[Waiting]] = {}
        self._rounds: dict[int, _Round] = {}
        self._number = first_name(context.incarnation)
        self._unapplied: dict[Primary, list[Waiting]] = {}
        self._later: deque[tuple[Primary, Waiting]] = deque()  # for the next turn: this one has read enough
        self._held: deque[tuple[Primary, Waiting]] = deque()  # large answers to peers with much unsent data
        self._turn_bytes = 0
        self._to_probe: list[PartitionId] = []  # in this round of probes, the next one at the end
        self.probes: dict[NodeId, int] = {}  # newest probe heard from each peer

    def add(self, primary: Primary, call: Call, result: tuple[int, int] | None, evidence: Index) -> None:
        """Answer `call` with `result` (None: the record) once confirmed, with `evidence` committed."""
        waiting = self._arrived.get(primary)
        if waiting is None:
            self._arrived[primary] = [(call, result, evidence)]
        else:
            waiting.append((call, result, evidence))

    def add_slice(self, primary: Primary, part: SliceRead, evidence: Index) -> None:
        """Tell a part of something larger once its partition is confirmed, with `evidence` committed."""
        self._arrived.setdefault(primary, []).append((part, None, evidence))

    def probe(self, primaries: Mapping[PartitionId, Primary]) -> None:
        """Let the next round confirm some of these partitions too, even without reads: backups count the age
        of stale reads from it. They take turns, at most `probes_at_once` in one call. Where records expire,
        the log's clock needs a confirmation each time.
        """
        for each in primaries.values():
            if each.phase == Phase.ACTIVE and each.expiry.waits:
                self._arrived.setdefault(each, [])
        if not self._to_probe:
            self._to_probe = list(primaries)[::-1]
        for _ in range(min(len(self._to_probe), self._context.bounds.probes_at_once)):
            primary = primaries.get(self._to_probe.pop())
            if primary is not None and primary.phase == Phase.ACTIVE:
                self._arrived.setdefault(primary, [])

    def begin_turn(self) -> None:
        """Continue with the answers for which there was no room."""
        self._turn_bytes = 0
        for _ in range(len(self._held)):
            primary, read = self._held.popleft()
            call = read[0]
            if not isinstance(call, Call) or self._context.takes_bulk(call.caller[0]):
                self._serve_late(primary, read)
            else:
                self._held.append((primary, read))
        for _ in range(len(self._later)):
            self._serve_late(*self._later.popleft())

    def _serve_late(self, primary: Primary, read: Waiting) -> None:
        """Serve a read that was confirmed earlier: entries applied since only make it newer."""
        if primary.phase != Phase.ACTIVE or not primary.leads:
            self._send_back(primary, [read])
        elif self._context.now < read[0].deadline + limits.REPLY_GRACE_MS:  # after that nobody waits for it
            self._serve(primary, read)

    def end_turn(self) -> None:
        """Start one round for everything that arrived in this turn."""
        if self._later:
            self._context.effects.again = True
        if not self._arrived:
            return
        arrived, self._arrived = self._arrived, {}
        self._number += 1
        ballots: dict[int, _Ballot] = {}
        asked: dict[NodeId, list[int]] = {}
        for primary, reads in arrived.items():
            if primary.phase != Phase.ACTIVE or not primary.leads:
                self._send_back(primary, reads)
                continue
            partition = primary.replica.partition
            ballot = _Ballot(primary, reads)
            if primary.won(ballot.yes):
                self._confirmed(ballot, None)
                continue
            ballots[partition] = ballot
            for peer in primary.peers:
                items = asked.get(peer)
                if items is None:
                    items = asked[peer] = []
                items += (partition, primary.epoch)
        if not ballots:
            return
        self._rounds[self._number] = _Round(self._context.now, ballots, dict(self.probes))
        for peer, items in asked.items():
            if peer in self._context.links:
                self._context.send(peer, Confirm(self._number, items))

    def on_confirmed(self, peer: NodeId, message: Confirmed) -> None:
        """Count a voter's echo; serve what has its majority."""
        current = self._rounds.get(message.round)
        if current is None:
            return
        items, ballots = message.items, current.ballots
        for at in range(0, len(items), 2):
            ballot = ballots.get(items[at])
            if ballot is None or ballot.primary.epoch != items[at + 1]:
                continue
            if peer not in ballot.yes:
                ballot.yes.append(peer)
            if ballot.primary.won(ballot.yes):
                del ballots[items[at]]
                self._confirmed(ballot, current)
        if not ballots:
            del self._rounds[message.round]

    def _confirmed(self, ballot: _Ballot, current: _Round | None) -> None:
        primary = ballot.primary
        if primary.phase != Phase.ACTIVE or not primary.leads:
            self._send_back(primary, ballot.reads)
            return
        if current is not None:
            primary.confirmed_at, primary.confirmed_probes = current.since, current.probes
            primary.clock.confirmed_at = max(primary.clock.confirmed_at, current.since)
            self._context.watched[primary.replica.partition] = None  # the backups must be informed
        else:
            primary.confirmed_at = primary.clock.confirmed_at = self._context.now
        applied = primary.replica.applied
        assert applied >= ballot.index, "a primary applies as it commits"
        for read in ballot.reads:
            if applied >= read[2]:
                self._serve(primary, read)
            else:
                self._unapplied.setdefault(primary, []).append(read)

    def on_progress(self) -> None:
        """Serve confirmed answers whose evidence was committed in this turn."""
        for primary, reads in list(self._unapplied.items()):
            applied = primary.replica.applied
            left = [read for read in reads if read[2] > applied]
            if len(left) == len(reads):
                continue
            if left:
                self._unapplied[primary] = left
            else:
                del self._unapplied[primary]
            for read in reads:
                if read[2] <= applied:
                    self._serve(primary, read)  # one whose record is due by now waits again

    def _gave_up(self, primary: Primary, read: Waiting, now: Millis) -> bool:
        """Answer a client's read of a version that was not reached by its deadline."""
        call, result, evidence = read
        if result is not None or now < call.deadline:
            return False
        if not isinstance(call, Call):
            call.refused()
            return True
        detail = (
            f"the key's partition is at version {primary.replica.applied}, and has not reached {evidence}"
        )
        primary.refuse(call, Status.UNAVAILABLE, detail)
        return True

    def _serve(self, primary: Primary, read: Waiting) -> None:
        call, result, _ = read
        context = self._context
        if not isinstance(call, Call):
            call.confirmed()
            return
        if result is not None:
            answer_known(primary, call, *result)
            return
        if self._turn_bytes >= context.bounds.read_turn_bytes:
            self._later.append((primary, read))
            return
        key, state = call.message.key, primary.replica.state
        record = state.record(key)
        if record is None:
            primary.answer(call, Status.NOT_FOUND)
            return
        deadline = deadline_of(record)
        if deadline and deadline <= primary.log_time:
            self._serve_due(primary, call, record, deadline)
            return
        size = value_bytes_of(record)
        self._turn_bytes += size
        if size > context.bounds.bulk_bytes and not context.takes_bulk(call.caller[0]):
            context.count("large_answer_held_back")
            self._held.append((primary, read))
            return
        version, content_type, value = read_record(record)
        if is_parted(record):
            value = state.value_row(key)
        ttl = max(deadline - primary.clock.unconfirmed(context.now), 1) if deadline else 0
        primary.answer(call, Status.FOUND, version, value, content_type, ttl=ttl)

    def _serve_due(self, primary: Primary, call: Call, record: bytes, deadline: Millis) -> None:
        """Wait for the removal of a record that is due, or for a write that is pending behind it."""
        key, newest = call.message.key, primary.pending.newest
        if key in newest:
            waiting: Waiting = (call, None, newest[key][0])
        elif not self._context.disks.own.takes_entries:
            detail = (
                "the key has expired, but its removal cannot be written: the primary's disk takes no entries"
            )
            primary.refuse(call, Status.UNAVAILABLE, detail)
            return
        else:
            removed = removal(key, version_of(record), rows_bytes(key, record), deadline)
            waiting = (call, (Status.NOT_FOUND, 0), primary.expiry.remove([removed]))
            self._context.effects.again = True  # this turn may have been committed and sent already
        self._unapplied.setdefault(primary, []).append(waiting)

    def drop(self, primary: Primary) -> None:
        """Send back every read of a primary that was deposed."""
        self._send_back(primary, self._arrived.pop(primary, []))
        self._send_back(primary, self._unapplied.pop(primary, []))
        for current in self._rounds.values():
            ballot = current.ballots.get(primary.replica.partition)
            if ballot is not None and ballot.primary is primary:
                del current.ballots[primary.replica.partition]
                self._send_back(primary, ballot.reads)

    def _send_back(self, primary: Primary, reads: list[Waiting]) -> None:
        for call, _, _ in reads:
            if isinstance(call, Call):
                primary.answer(call, RETRY)
            else:
                call.refused()

    def on_tick(self) -> None:
        """Start another round for reads whose round got no majority in time; give up those past their
        deadline."""
        now = self._context.now
        for primary, reads in list(self._unapplied.items()):
            left = [read for read in reads if not self._gave_up(primary, read, now)]
            if left:
                self._unapplied[primary] = left
            else:
                del self._unapplied[primary]
        for number, current in list(self._rounds.items()):
            if now - current.since < limits.RESEND_MS:
                continue
            del self._rounds[number]
            for ballot in current.ballots.values():
                self._context.count("confirm_round_again")
                for read in ballot.reads:
                    call = read[0]
                    if now < call.deadline:
                        self._arrived.setdefault(ballot.primary, []).append(read)
                    elif not isinstance(call, Call):
                        call.refused()
                    else:
                        detail = "no majority of the partition's replicas confirmed its primary"
                        ballot.primary.refuse(call, Status.UNAVAILABLE, detail)
