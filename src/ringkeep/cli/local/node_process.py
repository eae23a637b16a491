"""One node of a local cluster as a process: started by us, perhaps ended, perhaps started again by hand."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Final

from ringkeep import process
from ringkeep.cli.local.node_directory import has_left
from ringkeep.cli.local.stop_signals import StopRequests

GRACE_S: Final = 15.0
"""A node hands its primaries over for at most 10 s, and then finishes what is in flight."""

KILL_S: Final = 5.0
LAST_LINES: Final = 5
OWNER_POLL_S: Final = 1.0


class LocalNode:
    """A node that `up` has started.

    `exit_code` is that of our child once it ended, negative for a signal. `left`: it had left its cluster
    when it ended; it would refuse to start again.
    """

    def __init__(self, name: str, http: str, peer: str, directory: Path) -> None:
        self.name = name
        self.http = http
        self.peer = peer
        self.directory = directory
        self.exit_code: int | None = None
        self.left = False
        self._argv: list[str] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._output: deque[str] = deque(maxlen=50)
        self._reader: Thread | None = None
        self._by_hand: int | None = None
        self._looked_at = 0.0

    def start(self, argv: Sequence[str]) -> None:
        """Start the process. Call it from the main thread: the child is killed when that thread ends."""
        self._argv = list(argv)
        self._child = subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C is for `up` alone, which stops the nodes in order
            preexec_fn=partial(process.die_with_parent, os.getpid()),
        )

    def collect_output(self) -> None:
        """Begin to read what the process prints, so that its last output can be shown."""
        self._reader = Thread(target=self._read, name=f"output of {self.name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child is not None and self._child.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._child.stdout:
                self._output.append(line.decode("utf-8", errors="replace").rstrip())

    def pid(self) -> int | None:
        """Return the pid of the live process of this node: our child, or one that was started by hand."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        return process.owner(self.directory)

    def is_running(self) -> bool:
        """Whether it ran when last looked at: our child, or one that was started by hand."""
        return self.exit_code is None or self._by_hand is not None

    def failed(self) -> bool:
        """Whether our child ended by itself, not by a signal, has not left, and was not started again."""
        ended = self.exit_code is not None and self.exit_code >= 0
        return ended and not self.left and self._by_hand is None

    def last_output(self) -> list[str]:
        """Return what the process printed last, else the end of its log."""
        if self._reader is not None:
            self._reader.join(1.0)
        printed = [line for line in self._output if line.strip()]
        return printed[-LAST_LINES:] or process.last_lines(self.directory / process.LOG_FILE, LAST_LINES)

    def changes(self) -> Iterator[str]:
        """Yield what changed since the last call: it ended, it was started again."""
        if self._child is None:
            return
        if self.exit_code is None:
            self.exit_code = self._child.poll()
            if self.exit_code is not None:
                yield self._ended(self._child.pid, how_it_ended(self.exit_code))
        elif time.monotonic() - self._looked_at >= OWNER_POLL_S:
            # Not on every call: testing the lock can hold up the process that is about to take it.
            self._looked_at = time.monotonic()
            before, self._by_hand = self._by_hand, process.owner(self.directory)
            if before is not None and self._by_hand != before:
                yield self._ended(before, "ended")
            if self._by_hand is not None and self._by_hand != before:
                self.left = False  # its directory was emptied, and a new node of that name was started there
                yield f"{self.name} runs again (process {self._by_hand})"

    def _ended(self, pid: int, how: str) -> str:
        self.left = has_left(self.directory)
        if self.left:
            return f"{self.name} has left the cluster (process {pid} {how})"
        return f"{self.name} (process {pid}) {how}; to start it again:\n  {shlex.join(self._argv)}"


def how_it_ended(code: int) -> str:
    """Describe how a child ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def leftover_nodes(data: Path) -> list[tuple[str, int]]:
    """Return name and pid of every live node whose directory lies in `data`."""
    directories = sorted(path.parent for path in data.glob(f"*/{process.PID_FILE}"))
    owners = ((directory.name, process.owner(directory)) for directory in directories)
    return [(name, pid) for name, pid in owners if pid is not None]


def stop_nodes(nodes: Iterable[LocalNode], data: Path, stop: StopRequests) -> None:
    """Stop these nodes and every other one in `data`, all at the same time; return when they have ended.

    SIGTERM first. SIGKILL after GRACE_S, or at once when asked to stop again.
    """
    asked: set[int] = set()

    def live() -> set[int]:
        pids = (node.pid() for node in nodes)
        return {pid for pid in pids if pid is not None} | {pid for _, pid in leftover_nodes(data)}

    def all_ended() -> bool:
        remaining = live()
        for pid in remaining - asked:
            process.send_signal(pid, signal.SIGTERM)
        asked.update(remaining)
        return not remaining

    nodes = list(nodes)
    at_once = 2 if stop else 1
    if not stop.wait(all_ended, GRACE_S, at_once):
        for pid in live():
            process.send_signal(pid, signal.SIGKILL)
        stop.wait(lambda: not live(), KILL_S, at_count=sys.maxsize)
