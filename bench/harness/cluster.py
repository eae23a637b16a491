"""A cluster of real processes as a user starts it: `ringkeep up`, its nodes found by their pid files.

For the demo and the benchmarks, which also kill nodes and start them again by repeating their command lines.
Ends only processes that it started or that `ringkeep up` started for it, each by its own pid.
"""

import contextlib
import http.client
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from harness.load import Endpoint

HOST: Final = "127.0.0.1"
PORT_STEP: Final = 10  # from one node to the next
READY_S: Final = 60.0
STOP_S: Final = 30.0
POLL_S: Final = 0.02
LOWEST_PORT: Final = 12_000
HIGHEST_PORT: Final = 32_000
ALL_READY: Final = "Ctrl-C stops everything"  # what `ringkeep up` says when all of its nodes are ready


class Trouble(Exception):
    """Something that was started does not do what it should; the text is for people."""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = READY_S) -> None:
    """Raises Trouble, naming `what`, when the condition does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Trouble(f"waited {seconds:.0f} s for {what}")
        time.sleep(POLL_S)


def answers(endpoint: Endpoint, path: str = "/readyz") -> bool:
    """Whether a GET is answered with 200."""
    return fetch(endpoint, path)[0] == 200


def fetch(endpoint: Endpoint, path: str) -> tuple[int, bytes]:
    """GET; status 0 when nobody is there."""
    connection = http.client.HTTPConnection(*endpoint, timeout=2)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def fetch_raw(endpoint: Endpoint, request: bytes) -> bytes:
    """Send bytes on a connection of their own, return what comes within a moment, head and all."""
    answer = b""
    with socket.create_connection(endpoint, timeout=2) as connection:
        connection.sendall(request)
        connection.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            while more := connection.recv(65_536):
                answer += more
    return answer


def free_base(count: int, first: int | None = None, offsets: tuple[int, ...] = (0, 2)) -> int:
    """Return a base port from which `count` nodes find their ports (HTTP, and HTTP + 2) free.

    Anywhere below the ports that systems hand out by themselves, so that two that look at the same time do
    not find the same; from `first` on if that is given.
    """
    bases = list(range(first or LOWEST_PORT, HIGHEST_PORT - count * PORT_STEP, count * PORT_STEP))
    if first is None:
        random.shuffle(bases)
    for base in bases:
        wanted = [base + i * PORT_STEP + offset for i in range(count) for offset in offsets]
        if all(_free(port) for port in wanted):
            return base
    raise Trouble("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def command_line(pid: int) -> list[str]:
    """Return the arguments of a running process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
    return shlex.split(shown.stdout)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for does not."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def compiled_in(checkout: Path) -> str:
    """Return where the compiled core of a checkout is; "" if there is none of its sources as they are."""
    python = checkout / ".venv" / "bin" / "python"
    shown = subprocess.run(
        [python, checkout / "scripts" / "compile.py", "--path"], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip()


class Cluster:
    """`nodes` nodes under `data`. `start` and `stop` may alternate: the data stays.

    Of this installation, or of another `checkout`, with its own virtual environment and compiled core.
    `options`: further ones of `ringkeep up`.
    """

    def __init__(
        self, data: Path, nodes: int, base_port: int | None = None, checkout: Path | None = None,
        options: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        base = base_port or free_base(nodes)
        self.data = data
        self._said = data / "up.out"
        self.names = [f"node-{i + 1}" for i in range(nodes)]
        self.endpoints = [Endpoint(HOST, base + i * PORT_STEP) for i in range(nodes)]
        self._up: subprocess.Popen[bytes] | None = None
        self._by_hand: list[subprocess.Popen[bytes]] = []
        # What this machine's user has set for their own cluster is not meant for this one.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("RINGKEEP_")}
        program = Path(sys.executable).with_name("ringkeep")
        if checkout is not None:
            program = checkout / ".venv" / "bin" / "ringkeep"
            self._environment["PYTHONPATH"] = compiled_in(checkout)
        self._command = [
            str(program),
            "up",
            "--nodes",
            str(nodes),
            "--base-port",
            str(base),
            "--data",
            str(data),
            *options,
        ]

    def start(self) -> None:
        """Start it and wait until every node is ready. Raises Trouble with the end of its output."""
        self.data.mkdir(parents=True, exist_ok=True)
        before = self._said.stat().st_size if self._said.exists() else 0
        with self._said.open("ab") as output:
            self._up = subprocess.Popen(
                self._command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self._environment
            )
        try:
            wait_for(lambda: self._started(before), "all nodes to be ready")
        except Trouble as trouble:
            raise Trouble(f"{trouble}\n`ringkeep up` said:\n{self.said()[-2_000:]}") from None

    def said(self, since: int = 0) -> str:
        """Return what `ringkeep up` has printed, from this byte on."""
        return self._said.read_bytes()[since:].decode(errors="replace")

    def _started(self, said_before: int) -> bool:
        """By the word of `up` too: on a port that was taken meanwhile, somebody else's node answers."""
        assert self._up is not None
        if self._up.poll() is not None:
            raise Trouble(f"`ringkeep up` ended with {self._up.returncode}")
        return ALL_READY in self.said(said_before) and all(map(answers, self.endpoints))

    def pid(self, name: str) -> int:
        """Raises Trouble when there is none."""
        try:
            return int((self.data / name / "pid").read_text())
        except (OSError, ValueError):
            raise Trouble(f"{name} has no pid file") from None

    def pids(self) -> dict[str, int]:
        return {name: self.pid(name) for name in self.names}

    def kill(self, name: str) -> list[str]:
        """kill -9; returns the command line to start it again with."""
        pid = self.pid(name)
        command = command_line(pid)
        assert "node" in command, f"the pid file of {name} names {command}"
        os.kill(pid, signal.SIGKILL)
        self._reap()
        wait_for(lambda: not alive(pid), f"{name} to be dead")
        return command

    def restart(self, name: str, command: list[str]) -> None:
        """Start a killed node as a person would: the same command again."""
        with (self.data / f"{name}.out").open("ab") as output:
            again = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self._environment
            )
        self._by_hand.append(again)

    def ready(self, name: str) -> bool:
        self._reap()
        return answers(self.endpoints[self.names.index(name)])

    def status(self) -> dict[str, Any]:
        """Return `GET /v1/cluster` of the first node that answers. Raises Trouble."""
        for endpoint in self.endpoints:
            status, body = fetch(endpoint, "/v1/cluster")
            if status == 200:
                found: dict[str, Any] = json.loads(body)
                return found
        raise Trouble("no node answers /v1/cluster")

    def stop(self) -> None:
        """SIGTERM, as Ctrl-C would. Raises Trouble if it does not end, or not with 0. Harmless to repeat."""
        if self._up is None:
            return
        up, self._up = self._up, None
        up.terminate()
        try:
            code = up.wait(STOP_S)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()
            raise Trouble(f"`ringkeep up` did not stop within {STOP_S:.0f} s") from None
        finally:
            self._end_by_hand()
        if code:
            raise Trouble(f"`ringkeep up` ended with {code}")

    def end(self) -> None:
        """Leave nothing running, whatever happened. Never raises Trouble."""
        with contextlib.suppress(Trouble):
            self.stop()  # what `up` started dies with it, also when it has to be killed
        self._end_by_hand()

    def _end_by_hand(self) -> None:
        """`up` stops those too; this is for when it could not."""
        for process in self._by_hand:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            if process.poll() is None:
                process.kill()
            process.wait()
        self._by_hand.clear()

    def _reap(self) -> None:
        for process in self._by_hand:
            process.poll()
