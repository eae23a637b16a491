"""A process with an engine on disk, for tests that kill it: it does what it reads, and says what it has done.

Lines in: `write COUNT`, `flush COUNT`, `busy`, `look`, `clear`. One line out for each, and two for each
flush, also of a busy process. Writes are numbered from the one after what the engine held, so that a state
has a number.
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from ringkeep.core.protocol.effects import Batch, Family
from ringkeep.ports import Engine
from ringkeep.storage import files
from ringkeep.storage.rocks import open_engine

ROW_BYTES: Final = 8_000
AHEAD: Final = 40
"""A busy process writes at most so many batches ahead of its flushes: one log file holds all of them."""

State = dict[Family, dict[bytes, bytes]]


def numbered(number: int) -> Batch:
    """The write of that number, from 1: puts, deletes and a range, in all families.

    Whatever of it were missing, or came in another order, would show in the state.
    """
    made = Batch()
    made.log[b"%08d" % number] = b"%08d" % number * (ROW_BYTES // 8)
    made.data[b"%02d" % (number * 11 % 37)] = None
    made.data[b"%02d" % (number * 7 % 20)] = b"%d" % number
    made.meta[b"number"] = b"%d" % number
    if number % 8 == 0:
        made.ranges.append((Family.LOG, b"", b"%08d" % (number - 20)))
    if number % 3 == 0:
        put = number * 7 % 20  # a range comes before the puts of its batch
        made.ranges.append((Family.DATA, b"%02d" % put, b"%02d" % (put + 3)))
    return made


def state_after(number: int) -> State:
    """What the first `number` writes leave, by plain dicts."""
    state: State = {family: {} for family in Family}
    for n in range(1, number + 1):
        batch = numbered(n)
        for family, begin, end in batch.ranges:
            state[family] = {key: row for key, row in state[family].items() if not begin <= key < end}
        changes: Mapping[Family, Mapping[bytes, bytes | None]] = {
            Family.META: batch.meta,
            Family.LOG: batch.log,
            Family.DATA: batch.data,
        }
        for family, rows in changes.items():
            for key, value in rows.items():
                if value is None:
                    state[family].pop(key, None)
                else:
                    state[family][key] = value
    return state


def state_of(engine: Engine) -> State:
    return {family: dict(engine.scan(family, b"", b"\xff", 10_000)) for family in Family}


def number_of(engine: Engine) -> int:
    """The number of the newest write that the engine holds."""
    return int(engine.get(Family.META, b"number") or 0)


class _Telling:
    """Stands before the database and tells, after each sync, how long the log file was when it began: so much
    of it is durable, and no more need be. Told before the engine itself goes on, to its synced mark."""

    def __init__(self, database: Any, directory: Path) -> None:
        self._database = database
        self._directory = directory
        self.meanwhile: Callable[[], object] = int  # what else happens during a sync

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def flush_wal(self, sync: bool) -> None:
        logs = (self._directory / files.DATABASE).glob("*.log")
        begun = sum(path.stat().st_size for path in logs)
        self._database.flush_wal(sync)
        self.meanwhile()
        tell("synced", begun)


class _Process:
    def __init__(self, directory: Path) -> None:
        self._engine = open_engine(directory)
        self._telling = _Telling(self._engine._database, directory)
        self._engine._database = self._telling  # type: ignore[assignment]  # it stands before the real one
        self._first = number_of(self._engine)
        self._written = self._first
        self._flushed = self._first

    def write(self, count: int) -> int:
        for _ in range(count):
            self._engine.write(numbered(self._written + 1))
            self._written += 1
        return self._written

    def flush(self, meanwhile: int = 0) -> None:
        """Tell up to which number all is durable. So many writes happen while the sync runs."""
        self._telling.meanwhile = partial(self.write, meanwhile)
        self._flushed = self._first + self._engine.flush()
        tell("flushed", self._flushed)

    def busy(self) -> None:
        """Write in this thread and flush in another one, both without pause, until killed."""
        flushed = threading.Event()

        def flush() -> None:
            while True:
                self.flush()
                flushed.set()

        threading.Thread(target=flush, daemon=True).start()
        while True:
            if self._written - self._flushed < AHEAD:
                self.write(1)
            else:
                flushed.wait()
                flushed.clear()

    def look(self) -> dict[str, Any]:
        rows = {
            family.name: [(key.hex(), value.hex()) for key, value in found.items()]
            for family, found in state_of(self._engine).items()
        }
        return {"damaged": self._engine.damaged, "number": number_of(self._engine), "rows": rows}

    def clear(self) -> None:
        self._engine.clear_damaged()


def tell(what: str, value: Any) -> None:
    print(json.dumps([what, value]), flush=True)


def main() -> None:
    process = _Process(Path(sys.argv[1]))
    tell("ready", True)
    for line in sys.stdin:
        match line.split():
            case ["write", count]:
                tell("written", process.write(int(count)))
            case ["flush", meanwhile]:
                process.flush(int(meanwhile))
            case ["look"]:
                tell("found", process.look())
            case ["clear"]:
                process.clear()
                tell("cleared", True)
            case _:
                process.busy()


if __name__ == "__main__":
    main()
