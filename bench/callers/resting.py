"""What a client has in memory while it does nothing: processes that are started for this, and only read."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from callers.kinds import DISTRIBUTIONS, Kind
from callers.processes import Process
from harness.resources import memory

KEYS: Final = 256  # read once, so that each node was asked and connections are open
SETTLE_S: Final = 0.3


def opened(client: Process) -> dict[str, str]:
    """Let a client import its library and connect; return the versions of what it uses. Raises Trouble."""
    client.started()
    client.ask("import")
    versions: dict[str, str] = client.ask("set_up", distributions=DISTRIBUTIONS[client.kind.library])[
        "versions"
    ]
    client.ask("open", keys=KEYS)
    return versions


def resident(client: Process) -> dict[str, float]:
    """Return the resident memory in MB of a new process, step by step.

    `bare`: the interpreter; `imported`: with the library; `before` a client is made, with what measures it;
    and at `rest` with the client.
    """
    client.started()
    found = {"bare": memory(client.pid)["VmRSS"]}
    client.ask("import")
    found["imported"] = memory(client.pid)["VmRSS"]
    client.ask("set_up", distributions=[])  # to read versions leaves memory free, which a client then takes
    found["before"] = memory(client.pid)["VmRSS"]
    client.ask("open", keys=KEYS)
    time.sleep(SETTLE_S)  # what libraries still do behind a call
    found["rest"] = memory(client.pid)["VmRSS"]
    return found


def measure(
    kinds: Sequence[Kind], start: Callable[[Kind], Process], rounds: int
) -> list[dict[str, dict[str, float]]]:
    """Read every kind, round by round. Raises Trouble."""
    found: list[dict[str, Any]] = []
    for _ in range(rounds):
        found.append({})
        for kind in kinds:
            client = start(kind)
            try:
                found[-1][kind.name] = resident(client)
            finally:
                client.end()
    return found
