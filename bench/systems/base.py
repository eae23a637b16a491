"""What every system under load has, and what those that speak HTTP have besides.

Keys and values of the jobs are made as in systems.lua, which asks the same of them from inside wrk.
"""

import subprocess
import time
from pathlib import Path
from shutil import which
from typing import Final, Protocol

from harness.cluster import Trouble
from harness.load import Endpoint, Job

NODES: Final = 3
VALUE_BYTES: Final = 128
STOP_S: Final = 5.0  # of killed processes, together


def key_of(i: int) -> bytes:
    return b"key-%08d" % i


def value_of(i: int, generation: int) -> bytes:
    return (b"%08d-%06d-" % (i, generation)).ljust(VALUE_BYTES, b"v")


def version_of(program: str, option: str) -> str:
    """Return the first line that a program says of itself."""
    shown = subprocess.run([program, option], capture_output=True, text=True, check=False)
    return (shown.stdout + shown.stderr).strip().split("\n")[0]


def check_programs(packages: dict[str, str]) -> None:
    """Raises Trouble that names the remedy. `packages`: which Debian package brings each program."""
    if not Path("/proc/self/stat").exists():
        raise Trouble("this benchmark reads CPU times from /proc: it runs on Linux only")
    missing = [f"{name} (apt-get install {package})" for name, package in packages.items() if not which(name)]
    if missing:
        raise Trouble("missing: " + ", ".join(missing) + "; or run `scripts/setup.sh --bench`")


class System(Protocol):
    """One system under load. `writes` and `reads` say what an answer promises, for people."""

    name: str
    version: str
    settings: str
    writes: str
    reads: str
    endpoints: list[Endpoint]
    """Where requests go: all of its nodes, or those that take them."""

    def start(self) -> None:
        """Start it from empty and wait until every node serves. Raises Trouble."""

    def pids(self) -> list[int]:
        """Every process whose CPU time and memory count."""

    def end(self) -> None:
        """Stop everything. Never raises."""


class HttpSystem(System, Protocol):
    """One that wrk can drive."""

    def __hash__(self) -> int: ...
    def put_job(self, i: int, generation: int) -> Job: ...
    def get_job(self, i: int, generation: int, via: int) -> Job: ...
    def get_request(self, i: int, endpoint: Endpoint) -> bytes: ...


class Processes:
    """The processes of one system, whose data are thrown away."""

    def __init__(self, name: str, data: Path) -> None:
        self._name = name
        self._data = data
        self._running: list[subprocess.Popen[bytes]] = []

    def begin(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        """Start one, its output in a file `log-N` of the data directory."""
        with (self._data / f"log-{len(self._running)}").open("wb") as log:
            self._running.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
            )

    def check(self) -> None:
        """Raises Trouble when one has ended, with the end of its log."""
        for number, process in enumerate(self._running):
            if process.poll() is not None:
                said = (self._data / f"log-{number}").read_text(errors="replace")[-1_000:]
                raise Trouble(f"{self._name} ended with {process.returncode}:\n{said}")

    def pids(self) -> list[int]:
        return [process.pid for process in self._running]

    def end(self) -> None:
        """Kill them: an orderly stop takes many seconds, and nothing of it is kept."""
        for process in self._running:
            process.kill()
        deadline = time.monotonic() + STOP_S
        for process in self._running:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:  # it hangs in the kernel: nothing more can be done
                continue
        self._running.clear()
