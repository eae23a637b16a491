"""The two machines that the engine's crash contract is run on: a simulated one, and one with a real process.

Both do numbered writes (`engine_process.numbered`), so that what a crash left can be named by a number.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from tests.support.storage import engine_process
from tests.support.storage.engine_process import AHEAD, State, number_of, numbered, state_of

from ringkeep.core.protocol.effects import Family
from ringkeep.storage import files
from ringkeep.storage.memory import MemoryEngine


@dataclass(frozen=True, slots=True)
class Found:
    """What a process finds in its store."""

    number: int
    damaged: bool
    rows: State


class Machine(Protocol):
    """One machine over several lives of its process.

    `flushed`: up to which number the process was told that its writes are durable; `written`: the newest that
    it may have written. What ends a life is followed by `start`.
    """

    flushed: int
    written: int

    def start(self) -> Found: ...
    def write(self, count: int) -> None: ...
    def flush(self, meanwhile: int = 0) -> None:
        """Flush; so many writes happen while the flush runs."""

    def be_busy(self, flushes: int) -> None:
        """Write and flush at the same time, until so many flushes are done; it goes on until the end."""

    def look(self) -> Found: ...
    def clear_damaged(self) -> None: ...
    def kill(self) -> None: ...
    def lose_power(self, part: float, harm: str = "cut") -> None:
        """End the machine; `part` of what was written and never synced is still there."""

    def lose_synced(self, batches: int) -> None:
        """End the machine, and lose the newest `batches` of those that were synced."""

    def close(self) -> None: ...


class MemoryMachine:
    """Its process is this one, and its disk knows what a crash takes."""

    def __init__(self, seed: int = 0) -> None:
        self.flushed = self.written = 0
        self._engine = MemoryEngine()
        self._first = 0
        self._random = Random(seed)
        self._over = False

    def start(self) -> Found:
        if self._over:
            self._engine = self._engine.reopen()
        self._over = False
        found = self.look()
        self._first = self.flushed = self.written = found.number
        return found

    def write(self, count: int) -> None:
        for _ in range(count):
            self._engine.write(numbered(self.written + 1))
            self.written += 1

    def flush(self, meanwhile: int = 0) -> None:
        begun = self._engine.written
        self.write(meanwhile)
        self.flushed = self._first + self._engine.make_durable(begun)

    def be_busy(self, flushes: int) -> None:
        for _ in range(flushes):
            self.write(self._random.randint(0, AHEAD // 2))
            self.flush(meanwhile=self._random.randint(0, AHEAD // 2))
        self.write(self._random.randint(0, AHEAD // 2))

    def look(self) -> Found:
        return Found(number_of(self._engine), self._engine.damaged, state_of(self._engine))

    def clear_damaged(self) -> None:
        self._engine.clear_damaged()

    def kill(self) -> None:
        self._engine.crash(lambda unsynced: unsynced)
        self._over = True

    def lose_power(self, part: float, harm: str = "cut") -> None:
        self._engine.crash(lambda unsynced: int(unsynced * part))
        self._over = True

    def lose_synced(self, batches: int) -> None:
        self._engine.crash(-batches)
        self._over = True

    def close(self) -> None:
        if not self._over:
            self._engine.close()


class RocksMachine:
    """Its process is another one, killed with SIGKILL; a power loss is done to the files that it leaves."""

    def __init__(self, directory: Path, seed: int = 0) -> None:
        self.flushed = self.written = 0
        self._directory = directory
        self._random = Random(seed)
        self._process: subprocess.Popen[str] | None = None
        self._busy = False
        self._synced_bytes = 0  # of the log file of this life
        self._flushes: list[tuple[int, int]] = []  # of this life: number, synced bytes
        self._mark_at_start = b""

    def start(self) -> Found:
        self._process = subprocess.Popen(
            [sys.executable, engine_process.__file__, str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        self._hear("ready")
        self._busy = False
        found = self.look()
        self.flushed = self.written = found.number
        self._synced_bytes = 0
        self._flushes = [(found.number, 0)]
        self._mark_at_start = (self._directory / files.SYNCED).read_bytes()
        return found

    def write(self, count: int) -> None:
        self._say(f"write {count}")
        self.written = self._hear("written")

    def flush(self, meanwhile: int = 0) -> None:
        self._say(f"flush {meanwhile}")
        self._hear("flushed")
        self.written += meanwhile

    def be_busy(self, flushes: int) -> None:
        self._say("busy")
        self._busy = True
        for _ in range(flushes):
            self._hear("flushed")

    def look(self) -> Found:
        self._say("look")
        found = self._hear("found")
        rows = {
            Family[family]: {bytes.fromhex(key): bytes.fromhex(value) for key, value in rows}
            for family, rows in found["rows"].items()
        }
        return Found(found["number"], found["damaged"], rows)

    def clear_damaged(self) -> None:
        self._say("clear")
        self._hear("cleared")

    def kill(self) -> None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.kill()
        for line in process.stdout:  # what was told before the end
            if line.endswith("\n"):
                self._note(*json.loads(line))
        process.wait()
        process.stdin.close()
        process.stdout.close()
        self._process = None
        if self._busy:
            self.written = self.flushed + 2 * AHEAD  # there may have been a flush that was not told

    def lose_power(self, part: float, harm: str = "cut") -> None:
        self.kill()
        log = self._log_file()
        length = log.stat().st_size
        at = self._synced_bytes + int((length - self._synced_bytes) * part)
        with log.open("r+b") as opened:
            if harm == "zeros":  # the file has its new length, but not its new pages
                opened.seek(at)
                opened.write(bytes(length - at))
            elif harm == "garbage":
                opened.seek(at)
                kinds = self._random.choice([12, 256])  # small numbers look like the types of records
                opened.write(bytes(self._random.choices(range(kinds), k=length - at)))
            else:
                opened.truncate(at)
        if harm == "old mark":  # it is not synced with every flush
            (self._directory / files.SYNCED).write_bytes(self._mark_at_start)

    def lose_synced(self, batches: int) -> None:
        self.kill()
        at = max(size for number, size in self._flushes if number <= self.flushed - batches)
        os.truncate(self._log_file(), at)

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _log_file(self) -> Path:
        logs = sorted((self._directory / files.DATABASE).glob("*.log"))
        assert all(path.stat().st_size == 0 for path in logs[:-1]), "this life has one log file"
        return logs[-1]

    def _say(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self, wanted: str) -> Any:
        """Read what is told until it is what was wanted, and return its value."""
        assert self._process is not None and self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            assert line.endswith("\n"), f"the process ended before it told: {wanted}"
            what, value = json.loads(line)
            self._note(what, value)
            if what == wanted:
                return value

    def _note(self, what: str, value: Any) -> None:
        if what == "synced":
            self._synced_bytes = value
        elif what == "flushed":
            self.flushed = value
            self._flushes.append((self.flushed, self._synced_bytes))
