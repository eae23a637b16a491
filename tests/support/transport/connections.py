"""The TCP connections of this machine, from /proc: no package is needed to count them."""

from collections.abc import Collection
from pathlib import Path

ESTABLISHED, LISTEN = 1, 10
Connection = tuple[int, int]
"""Port of the side that listened, port of the other side."""


def connections_at(ports: Collection[int], *, every_state: bool = False) -> set[Connection]:
    """Return the IPv4 connections made to these ports: those that stand, or all that are still known."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        here, there = (int(address.rpartition(":")[2], 16) for address in (local, remote))
        if int(state, 16) == ESTABLISHED or (every_state and int(state, 16) != LISTEN):
            if here in ports:
                found.add((here, there))
            elif every_state and there in ports:
                found.add((there, here))
    return found
