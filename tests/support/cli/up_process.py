"""A `ringkeep up` under test: started on free ports, read, signalled, and its processes counted."""

import contextlib
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.wait import until

from ringkeep.process import command_line, is_alive, port_is_free

RINGKEEP = (sys.executable, "-m", "ringkeep.cli.main")


def free_base_port(nodes: int) -> int:
    """Return a base port for so many nodes, below the ports that systems hand out by themselves."""
    for _ in range(1_000):
        base = random.randrange(12_000, 32_000, 10)
        if all(port_is_free("127.0.0.1", base + 10 * i + offset) for i in range(nodes) for offset in (0, 2)):
            return base
    raise AssertionError("found no free ports")


def hear_all_signals() -> None:
    """As on a terminal, also where the tests run in the background, or under `nohup`."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Up:
    """One `ringkeep up`. `program` are the words in front of `up`."""

    def __init__(
        self, data: Path, *options: str, nodes: int = 3, base: int = 0, program: Sequence[str] = RINGKEEP
    ) -> None:
        self.data = data
        self.base = base or free_base_port(nodes)
        self._output = data.parent / f"up-{time.monotonic_ns()}.out"
        where = ("--data", str(data), "--nodes", str(nodes), "--base-port", str(self.base))
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*program, "up", *where, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=hear_all_signals,
            )

    @property
    def output(self) -> str:
        """Everything that it printed so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def ready(self, limit_s: float = 60.0) -> "Up":
        """Wait until it says that everything runs."""
        self.says("Ctrl-C stops everything", limit_s)
        return self

    def says(self, words: str, limit_s: float = 30.0) -> None:
        """Wait until it has printed these words; fail at once if it ends before."""

        def said() -> bool:
            ended = self.process.poll() is not None
            assert words in self.output or not ended, f"up ended without saying {words!r}:\n{self.output}"
            return words in self.output

        try:
            until(said, f"{words!r} from up", limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def pid_of(self, name: str) -> int:
        """Return what the pid file of this process says."""
        return int((self.data / name / "pid").read_text())

    def command_of(self, name: str) -> list[str]:
        """Return the command line to repeat that was printed when this node ended."""
        found = re.search(rf"^{name} .*to start it again:\n  (.+)$", self.output, re.MULTILINE)
        assert found, self.output
        return shlex.split(found[1])

    def ends(self, limit_s: float = 40.0) -> int:
        """Wait until it ends and return its exit code."""
        return self.process.wait(limit_s)

    def stop(self) -> int:
        """Stop it as Ctrl-C would and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ends()

    def remains(self) -> list[int]:
        """Return the live processes whose command line names our directory."""
        mine = str(self.data)
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        return [pid for pid in pids if is_alive(pid) and any(mine in word for word in command_line(pid))]

    def destroy(self) -> None:
        """Leave nothing behind, whatever the test did."""
        pids = [self.process.pid] if self.process.poll() is None else []
        for pid in [*pids, *self.remains()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
