"""Writes a batch of records into the cluster, and says what became of each.

A request carries an idempotency key that follows from its import and its content: sent again by an import
that goes on after it was killed, it changes nothing for the second time, and has the first result.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from ringkeep.cli.records.batch import ALONE_BYTES, Batch
from ringkeep.cli.records.counts import Counts
from ringkeep.cli.records.record import Record
from ringkeep.client import Client, Conflict, Indeterminate, Invalid, StoreError
from ringkeep.client.blocking.client import Batch as ClientBatch
from ringkeep.client.calls.batches import Part

EXISTS: Final = "there is such a key"
EXPIRED: Final = "its time is over"

_JSON: Final = msgspec.json.Encoder()


class Stuck(Exception):
    """The cluster did not serve a batch in time. `unknown`: how many records may have been written or not."""

    def __init__(self, reason: str, unknown: int) -> None:
        super().__init__(reason)
        self.unknown = unknown


class Failed:
    """A record that was not written, or is not what was written: where it stands, and why."""

    __slots__ = ("line", "raw", "reason")

    def __init__(self, line: int, reason: str, raw: bytes) -> None:
        self.line = line
        self.reason = reason
        self.raw = raw


class Writer:
    """Writes batches; safe for threads. `timeout_s`: of a batch, with all that is repeated of it."""

    def __init__(
        self,
        client: Client[bytes],
        import_id: str,
        *,
        if_absent: bool = False,
        verify: bool = False,
        dry_run: bool = False,
        timeout_s: float = 30.0,
    ) -> None:
        self._client = client
        self._import_id = import_id
        self._if_absent = if_absent
        self._verify = verify
        self._dry_run = dry_run
        self._timeout_s = timeout_s

    def write(self, batch: Batch) -> tuple[Counts, list[Failed]]:
        """Write it, and return what became of it. Raises Stuck if that is not known of all of it."""
        counts = Counts(read=len(batch.records) + len(batch.bad))
        failed = [Failed(each.line, each.reason, each.raw) for each in batch.bad]
        counts.failed.update(each.counted for each in batch.bad)
        living = [each for each in batch.records if (left := each.left_ms()) is None or left > 0]
        if late := len(batch.records) - len(living):
            counts.skipped[EXPIRED] += late
        if self._dry_run:
            counts.written += len(living)
            return counts, failed
        written: list[Record] = []
        for each, error in zip(living, self._errors(living), strict=True):
            if error is None:
                written.append(each)
            elif self._if_absent and isinstance(error, Conflict):
                counts.skipped[EXISTS] += 1
            else:
                counts.failed[f"refused: {error.detail}"] += 1
                failed.append(Failed(each.line, f"refused: {error.detail}", each.raw))
        counts.written += len(written)
        if self._verify:
            failed += self._compare(written, counts)
        return counts, sorted(failed, key=lambda each: each.line)

    def _errors(self, records: Sequence[Record]) -> list[StoreError | None]:
        """Write records, and return what went wrong with each. Raises Stuck."""
        if not records:
            return []
        if len(records) == 1 and len(records[0].value) > ALONE_BYTES:
            found = [self._put(records[0])]
        else:
            found = self._put_together(records)
        open_ = [each for each in found if each is not None and not isinstance(each, (Invalid, Conflict))]
        if open_:
            worst = next((each for each in open_ if isinstance(each, Indeterminate)), open_[0])
            raise Stuck(worst.detail, sum(isinstance(each, Indeterminate) for each in open_))
        return found

    def _put(self, record: Record) -> StoreError | None:
        ttl = _span(record)
        what = (record.line, record.key, record.content_type, ttl)
        digest = hashlib.sha256(repr(what).encode())
        digest.update(record.value)
        try:
            self._client.put(
                record.key,
                record.value,
                ttl=ttl,
                content_type=record.content_type,
                if_absent=self._if_absent,
                idempotency_key=f"{self._import_id}{digest.hexdigest()}",
                timeout=self._timeout_s,
            )
        except StoreError as error:
            return error
        return None

    def _put_together(self, records: Sequence[Record]) -> list[StoreError | None]:
        batch = _NamedBatch(self._client, self._timeout_s, f"{self._import_id}{records[0].line}")
        handles = [
            batch.put(
                each.key,
                each.value,
                ttl=_span(each),
                content_type=each.content_type,
                if_absent=self._if_absent,
            )
            for each in records
        ]
        batch.send()
        if all(handle.status == 0 and isinstance(handle.error, Invalid) for handle in handles):
            return [
                self._put(each) for each in records
            ]  # it was refused as a whole: find out because of whom
        return [handle.error for handle in handles]

    def _compare(self, written: Sequence[Record], counts: Counts) -> list[Failed]:
        """Read back the last record of each key. Raises Stuck."""
        last = {each.key: each for each in written}
        try:
            stored = self._client.get_many(last, timeout=self._timeout_s) if last else {}
        except StoreError as error:
            raise Stuck(f"reading back: {error.detail}", 0) from None
        failed = []
        for key, each in last.items():
            found = stored.get(key)
            if found is None:
                reason = "" if _span(each) is not None else "written, and not there when it was read back"
            elif found.value != each.value or _other_type(found.content_type, each.content_type):
                reason = "written, and another value was there when it was read back"
            else:
                reason = ""
            counts.verified += not reason
            if reason:
                counts.differ += 1
                failed.append(Failed(each.line, reason, each.raw))
        return failed


class _NamedBatch(ClientBatch[bytes]):
    """A batch whose requests are named by what they carry."""

    def __init__(self, client: Client[bytes], timeout_s: float, name: str) -> None:
        super().__init__(client, timeout_s)
        self._name = name

    def _part(self, numbers: list[int], idempotency_key: str) -> Part:
        body = _JSON.encode([self._operations[number] for number in numbers])
        return super()._part(numbers, f"{self._name}.{hashlib.sha256(body).hexdigest()}")


def _span(record: Record) -> timedelta | None:
    left = record.left_ms()
    return None if left is None else timedelta(milliseconds=max(left, 1))


def _other_type(found: str, wanted: str) -> bool:
    return found != (wanted or "application/octet-stream")
