"""An import: divides its input into batches, has several of them written at a time, and keeps count.

Batches that write a common key go one after the other, so that of two records of a key the later one stays.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

from ringkeep.cli.records.batch import BATCH, Batch, batches
from ringkeep.cli.records.checkpoint import Checkpoint
from ringkeep.cli.records.counts import Counts
from ringkeep.cli.records.csv_rows import CsvReader
from ringkeep.cli.records.json_lines import JsonLinesReader
from ringkeep.cli.records.writing import Failed, Stuck, Writer

SAVE_S: Final = 0.5
"""How often the checkpoint is written. What it does not know of is sent again, and changes nothing then."""
LAST_ANSWERS_S: Final = 5.0

Reader = JsonLinesReader | CsvReader
_Written = tuple[Counts, list[Failed]]


class Broken(Exception):
    """The import stopped before its end. The checkpoint says how far it came."""

    def __init__(self, reason: str, unavailable: bool = False) -> None:
        super().__init__(reason)
        self.unavailable = unavailable


@dataclass(frozen=True, slots=True)
class Pace:
    """`batch`: records of one; `in_flight`: batches under way; `rate`: records per second, None for as many
    as there may be; `most_failed`: with so many failures it stops, 0 for never."""

    batch: int = BATCH
    in_flight: int = 8
    rate: float | None = None
    most_failed: int = 0


class Import:
    """One import. `on_failed` is called with each record that fails, `on_progress` after each batch."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        checkpoint: Checkpoint,
        pace: Pace,
        on_failed: Callable[[Failed], None],
        on_progress: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._source = reader.source
        self._writer = writer
        self._checkpoint = checkpoint
        self._pace = pace
        self._on_failed = on_failed
        self._on_progress = on_progress
        self._pending: dict[Future[_Written], Batch] = {}
        self._saved_at = time.monotonic()
        self._next_at = time.monotonic()
        self._failed = 0
        self._stuck: Stuck | None = None

    def run(self) -> None:
        """Write everything. Raises Broken; the checkpoint is written then, too."""
        size = min(self._pace.batch, max(1, int(self._pace.rate))) if self._pace.rate else self._pace.batch
        threads = ThreadPoolExecutor(self._pace.in_flight)
        try:
            for batch in batches(self._reader, self._source, size, self._skips):
                self._make_room(batch)
                self._wait_for_its_turn(batch)
                self._checkpoint.begun = max(self._checkpoint.begun, batch.end.line)
                self._pending[threads.submit(self._writer.write, batch)] = batch
            while self._pending:
                self._collect()
        except KeyboardInterrupt:
            self._wait_for_the_rest()
            raise Broken("interrupted") from None
        finally:
            self._checkpoint.save()
            threads.shutdown(wait=False, cancel_futures=True)

    def _skips(self, offset: int) -> bool:
        end = self._checkpoint.done_from(offset)
        if end is not None:
            self._source.skip_to(end.offset, end.line)
        return end is not None

    def _make_room(self, batch: Batch) -> None:
        keys = batch.keys
        while len(self._pending) >= self._pace.in_flight or any(
            not keys.isdisjoint(each.keys) for each in self._pending.values()
        ):
            self._collect()

    def _wait_for_its_turn(self, batch: Batch) -> None:
        if self._pace.rate:
            now = time.monotonic()
            self._next_at = max(self._next_at, now)
            time.sleep(self._next_at - now)
            self._next_at += len(batch.records) / self._pace.rate

    def _collect(self) -> None:
        """Wait for a batch, and count it. Raises Broken once the cluster did not serve one."""
        for done in wait(self._pending, return_when=FIRST_COMPLETED).done:
            self._note(done)
        if self._stuck is not None:
            self._wait_for_the_rest()
            raise Broken(str(self._stuck), unavailable=True)
        if time.monotonic() - self._saved_at >= SAVE_S:
            self._checkpoint.save()
            self._saved_at = time.monotonic()
        if 0 < self._pace.most_failed <= self._failed:
            self._wait_for_the_rest()
            raise Broken(f"{self._failed:,} records have failed")
        self._on_progress()

    def _note(self, done: "Future[_Written]") -> None:
        batch = self._pending.pop(done)
        try:
            counts, failed = done.result()
        except Stuck as stuck:
            self._stuck = self._stuck or stuck
            return
        self._checkpoint.finished(batch, counts)
        self._failed += len(failed)
        for each in failed:
            self._on_failed(each)

    def _wait_for_the_rest(self) -> None:
        """Take the answers that come soon: what they say need not be sent again."""
        for done in wait(self._pending, timeout=LAST_ANSWERS_S).done:
            self._note(done)
