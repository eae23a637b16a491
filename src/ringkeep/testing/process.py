"""A process of `ringkeep` that a test starts, kills, stops for a while, and starts again."""

import contextlib
import http.client
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ringkeep.errors import StartError
from ringkeep.parsing import host_port
from ringkeep.process import last_lines, port_is_free

HOST: Final = "127.0.0.1"
PORTS: Final = (12_000, 32_000)
"""Below those that systems give to outgoing connections: a node that is started again finds its port free."""

READY_S: Final = 30.0
STOP_S: Final = 20.0
POLL_S: Final = 0.01
OUTPUT_LINES: Final = 20


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on just now."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(*PORTS)  # tests may have seeded the other one
        if port not in found and port_is_free(HOST, port):
            found.append(port)
    return found


class NodeProcess:
    """A node's process, started with the same arguments each time. `http`: its "HOST:PORT"."""

    def __init__(self, arguments: Sequence[str], http: str, output: Path) -> None:
        self.http = http
        self._arguments = list(arguments)
        self._output = output
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs or is stopped by a signal, else None."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def output(self) -> list[str]:
        """The last lines that it has printed, in all of its starts."""
        return last_lines(self._output, OUTPUT_LINES)

    def launch(self) -> None:
        """Start it, without waiting until it is ready. Does nothing if it runs."""
        if self.pid is not None:
            return
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RINGKEEP_")}
        with self._output.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "ringkeep.testing.child", str(os.getpid()), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                process_group=0,  # Ctrl-C is for the tests, which end it
            )

    def wait_ready(self, limit_s: float = READY_S) -> None:
        """Wait until it is ready. Raises StartError if it ends before, or is not ready in time."""
        deadline = time.monotonic() + limit_s
        while not self._is_ready():
            if self._child is not None and self._child.poll() is not None:
                raise StartError(f"the node ended with exit code {self._child.returncode}: {self._said()}")
            if time.monotonic() > deadline:
                raise StartError(f"the node at {self.http} was not ready after {limit_s:g} s: {self._said()}")
            time.sleep(POLL_S)

    def end(self, number: signal.Signals) -> int | None:
        """Send a signal that ends it, and return its exit code; None if it did not run. A stopped process
        goes on first."""
        child = self._child
        if child is None or child.poll() is not None:
            return None
        child.send_signal(number)
        if number != signal.SIGKILL:
            child.send_signal(signal.SIGCONT)
        try:
            return child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal that does not end it. Raises RuntimeError if it does not run."""
        if self._child is None or self.pid is None:
            raise RuntimeError(f"the node at {self.http} does not run")
        self._child.send_signal(number)

    def _said(self) -> str:
        return "\n".join(self.output) or "it has printed nothing"

    def _is_ready(self) -> bool:
        host, port = host_port(self.http)
        connection = http.client.HTTPConnection(host, port, timeout=1)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False
