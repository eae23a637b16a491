"""The ZooKeeper server of a local cluster as a process: on a given or the first free port, stopped last."""

import fcntl
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ringkeep import process
from ringkeep.cli.local.stop_signals import StopRequests
from ringkeep.coordination.server import ZooKeeperServer, serves
from ringkeep.errors import StartError
from ringkeep.parsing import ZOOKEEPER_PORT

HOST: Final = "127.0.0.1"
START_S: Final = 30.0
GRACE_S: Final = 5.0
LOOK_S: Final = 1.0


class LocalZooKeeper:
    """One ZooKeeper server with its files in `directory`. `avoid`: ports that are meant for others.

    `port` None: 2181, or the next one that is free.
    """

    def __init__(
        self, directory: Path, avoid: Sequence[int], command: Sequence[str], port: int | None = None
    ) -> None:
        self.hosts = ""
        self._port = port
        self._directory = directory
        self._avoid = avoid
        self._command = command
        self._server: ZooKeeperServer | None = None
        self._known: int | None = None
        self._looked_at = 0.0

    def start(self, stop: StopRequests) -> None:
        """Start it and return when it serves, or when we were asked to stop. Raises StartError."""
        self._stop_by_hand(stop)
        with _port_choice(stop):
            port = self._port or process.first_free_port(HOST, ZOOKEEPER_PORT, self._avoid)
            if port is None:
                raise StartError("there is no free port for ZooKeeper; give a running one with --zookeeper")
            if not process.port_is_free(HOST, port):
                raise StartError(f"port {port} is in use; choose another one with --zookeeper-port")
            server = self._server = ZooKeeperServer(self._directory, port)
            self.hosts = server.hosts
            server.launch()
            self._known = server.pid
            # This wait notices a request to stop; `wait_ready` raises what went wrong.
            stop.wait(lambda: server.pid is None or serves(port, 0.2), START_S)
            if not stop:
                server.wait_ready(timeout_s=0.5)

    def pid(self) -> int | None:
        """Return the pid of the live server: our child, or one that was started again by hand."""
        own = self._server.pid if self._server is not None else None
        return own or process.owner_by_command(self._directory, str(self._directory / "zoo.cfg"))

    def changes(self) -> Iterator[str]:
        """Yield what changed since the last call: it ended, it was started again."""
        if time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        before, self._known = self._known, self.pid()
        if before is not None and self._known != before:
            port = self.hosts.rpartition(":")[2]
            again = [*self._command, "--port", port, "--data", str(self._directory)]
            yield f"ZooKeeper (process {before}) ended; to start it again:\n  {shlex.join(again)}"
        if self._known is not None and self._known != before:
            yield f"ZooKeeper runs again (process {self._known})"

    def stop(self, stop: StopRequests) -> None:
        """Stop it, also if it was started by hand."""
        # If ours has ended, the pid file may be that of one that was started by hand: it must not be removed.
        if self._server is not None and self._server.pid is not None:
            self._server.stop(GRACE_S)
        else:
            self._stop_by_hand(stop)

    def _stop_by_hand(self, stop: StopRequests) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid()
            if pid is not None:
                process.send_signal(pid, number)
                stop.wait(lambda: self.pid() is None, GRACE_S, at_count=sys.maxsize)


@contextmanager
def _port_choice(stop: StopRequests) -> Iterator[None]:
    """Let only one `up` of this user at a time choose ZooKeeper's port, until its server listens there.

    Otherwise two that start together choose the same port, and one of them takes the other's server for its
    own, and joins the other's cluster.
    """
    path = Path(tempfile.gettempdir(), f"ringkeep-{os.getuid()}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        stop.wait(_locker(descriptor), START_S)
        yield
    finally:
        os.close(descriptor)


def _locker(descriptor: int) -> Callable[[], bool]:
    def lock() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    return lock
