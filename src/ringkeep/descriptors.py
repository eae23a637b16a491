"""Divides the process's file descriptors among clients, peers and the store.

The shares add up to less than the limit, so that connections never take a descriptor that the store needs: a
database that cannot open its next log file ends the node.
"""

import resource
from dataclasses import dataclass
from typing import Final

from ringkeep.errors import StartError

WANTED: Final = (65_536, 32_768, 10_240)  # what is tried, highest first; macOS gives a process 10,240
LEAST: Final = 224
RESERVE: Final = 64  # the store's logs and lists, ZooKeeper, our own log, listeners, what Python opens
BURSTS: Final = 4  # two listeners, each on two addresses at most
PER_LINK: Final = 6  # two nodes' links to each other, three lanes each


@dataclass(frozen=True, slots=True)
class Shares:
    """How many descriptors each use may take.

    `tables`: files that the store keeps open. `burst`: connections that one listener may accept at once,
    before the surplus is closed. `openings`: connections on the peer port before their handshake.
    """

    clients: int
    peers: int
    openings: int
    tables: int
    burst: int


def raise_limit() -> int:
    """Raise this process's limit of open files as far as it goes; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = WANTED[0]
    if soft == resource.RLIM_INFINITY or soft >= highest:
        return highest
    for wanted in (*WANTED, hard):
        target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if target <= soft:
            continue
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (OSError, ValueError):
            continue  # a system may allow less than it says
        return target
    return soft


def shares_of(limit: int) -> Shares:
    """Divide a limit. Raises StartError if it is too low to work with."""
    if limit < LEAST:
        raise StartError(
            f"this process may open {limit} files and connections, but needs {LEAST}: raise the limit"
            " (`ulimit -n`, or LimitNOFILE= of systemd), and start it again"
        )
    burst = min(1_024, max(8, limit // 32))
    openings = min(256, max(8, limit // 32))
    tables = min(512, max(48, limit // 4))
    peers = min(4_096, max(5, limit // 8 // PER_LINK))
    clients = limit - RESERVE - BURSTS * burst - openings - tables - peers * PER_LINK
    assert clients > 0, "the least limit leaves something for clients"
    return Shares(clients, peers, openings, tables, burst)
