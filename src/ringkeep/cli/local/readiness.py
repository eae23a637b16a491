"""Waiting until every node of a local cluster is ready, and showing meanwhile what each waits for."""

import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import TYPE_CHECKING, Final

from ringkeep.cli.local.node_process import LocalNode
from ringkeep.parsing import host_port

if TYPE_CHECKING:
    from rich.live import Live

ANSWER_S: Final = 1.0
REMIND_S: Final = 5.0
READY: Final = "ready"
STARTING: Final = "starting"
LEFT: Final = "has left the cluster"
WAITS: Final = "waits for: "
REASON_LENGTH: Final = 300


class Readiness:
    """Asks the nodes, and shows their states: live on a terminal, a line now and then in a pipe."""

    def __init__(self, nodes: Sequence[LocalNode], say: Callable[[str], None]) -> None:
        self._nodes = nodes
        self._say = say
        self._states = {node.name: STARTING for node in nodes}
        self._reminded_at = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Readiness":
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the live display. Harmless to repeat."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def poll(self) -> bool:
        """Ask every node that was not ready yet; return whether each is ready, or has left the cluster."""
        for node in self._nodes:
            if self._states[node.name] == READY and node.is_running():
                continue
            state = ask(node.http) if node.is_running() else LEFT if node.left else "ended"
            if state == READY and self._states[node.name] != READY and self._live is None:
                self._say(f"{node.name} is ready")
            self._states[node.name] = state
        self._show()
        return not self._waited_for()

    def _waited_for(self) -> dict[str, str]:
        """Return who is not ready and has not left, each with its state."""
        return {name: state for name, state in self._states.items() if state not in (READY, LEFT)}

    def _show(self) -> None:
        if self._live is not None:
            from rich.table import Table
            from rich.text import Text

            table = Table("waiting for", "which is", border_style="dim")
            for name, state in self._states.items():
                table.add_row(name, Text(state, style="green" if state == READY else "yellow"))
            self._live.update(table)
        elif time.monotonic() - self._reminded_at >= REMIND_S:
            self._reminded_at = time.monotonic()
            waiting = self._waited_for().items()
            if waiting:
                self._say("waiting for " + "; ".join(f"{name}: {state}" for name, state in waiting))


def ask(address: str) -> str:
    """Return READY, STARTING (it does not answer yet), or what the node waits for, in one line."""
    host, port = host_port(address)
    connection = HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/readyz?verbose")
        answer = connection.getresponse()
        body = answer.read(4_096).decode("utf-8", errors="replace")
    except (OSError, HTTPException):
        return STARTING
    finally:
        connection.close()
    return READY if answer.status == 200 else reason(body)


def reason(body: str) -> str:
    """Return what a not-ready answer says ("waits for: …", a line each), short enough for a line."""
    waits = [line.removeprefix(WAITS) for line in body.splitlines() if line.startswith(WAITS)]
    line = "; ".join(waits) or " ".join(body.split()) or "not ready"
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"
