"""Measures how new connections fare beside old ones that write: `python bench/connections.py [OLD]`.

One node of three takes WRITERS connections of wrk that write all the time, while 300 new clients come at
once, and others one at a time, each with one read. Then 2,000 connections write: their p99 is compared with
Little's law, connections / throughput. OLD is another checkout (see compare.py): both are measured in turn.
Linux only.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from harness.cluster import Trouble
from harness.load import Broken, Connection, Endpoint, drive, percentile
from quick import Load, fill, wrk
from systems import Ringkeep

WRITERS: Final = (256, 1_000)
NEWCOMERS: Final = 300
CROWD: Final = 2_000
SINGLE: Final = 50
SECONDS: Final = 15
SETTLE_S: Final = 2.0  # the writers are under way by then
BETWEEN_S: Final = 0.02  # two clients that come one at a time


class OneNode(Ringkeep):
    """A cluster of which one node gets all of the load. The others replicate."""

    def start(self) -> None:
        super().start()
        fill(self)
        self.endpoints = self.endpoints[:1]


async def first_request(endpoint: Endpoint, request: bytes) -> float:
    """Connect, read one key; return the seconds from the first packet to the answer. Raises Trouble."""
    began = time.monotonic()
    try:
        connection = await Connection.open(endpoint)
        reply = await connection.ask(request)
    except (OSError, Broken) as error:
        raise Trouble(f"a new connection was not served: {error!r}") from error
    took = time.monotonic() - began
    connection.close()
    if reply.status != 200:
        raise Trouble(f"a read was answered {reply.status}")
    return took


async def newcomers(system: OneNode) -> tuple[list[float], list[float]]:
    """Return the times of clients that come one at a time, and of NEWCOMERS that come together."""
    endpoint = system.endpoints[0]
    request = system.get_request(0, endpoint)
    together = await asyncio.gather(*(first_request(endpoint, request) for _ in range(NEWCOMERS)))
    single = []
    for _ in range(SINGLE):
        single.append(await first_request(endpoint, request))
        await asyncio.sleep(BETWEEN_S)
    return single, list(together)


def beside(system: OneNode, writers: int, name: str) -> tuple[float, float]:
    """Measure once beside so many writers, and print it; return the p99 of single clients, and the longest of
    those that came together, in milliseconds. Raises Trouble."""
    found: dict[str, float] = {}
    load = Load("put", writers, SECONDS, 1)
    thread = threading.Thread(target=lambda: found.update(wrk(system, load, 1, 0)))
    thread.start()
    time.sleep(SETTLE_S)
    try:
        single, together = drive(newcomers(system))
        if not thread.is_alive():
            raise Trouble("the writers had ended before the last new client was served")
    finally:
        thread.join()
    rate = found["requests"] / found["microseconds"] * 1e6
    p99, longest = 1e3 * percentile(single, 0.99), 1e3 * max(together)
    print(
        f"{name:4}{writers:6} writers {rate:7,.0f}/s"
        f" p50 {found['p50_ms']:6.1f} p99 {found['p99_ms']:6.1f} ms;"
        f" a new client p50 {1e3 * statistics.median(single):6.1f} p99 {p99:6.1f} ms;"
        f" {NEWCOMERS} together p50 {1e3 * statistics.median(together):6.1f} longest {longest:6.1f} ms",
        flush=True,
    )
    return p99, longest


def crowd(system: OneNode, name: str) -> float:
    """Let CROWD connections write, print it; return p99 over Little's law. Raises Trouble."""
    found = wrk(system, Load("put", CROWD, SECONDS, 1), 1, 0)
    rate = found["requests"] / found["microseconds"] * 1e6
    law_ms = 1e3 * CROWD / rate
    ratio = found["p99_ms"] / law_ms
    print(
        f"{name:4}{CROWD:6} writers {rate:7,.0f}/s p50 {found['p50_ms']:6.1f} p99 {found['p99_ms']:6.1f} ms;"
        f" Little's law {law_ms:6.1f} ms, p99 is {ratio:.2f} of it",
        flush=True,
    )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("old", type=Path, nargs="?", help="a checkout of the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="ringkeep-connections-") as scratch:
        systems = {"new": OneNode(Path(scratch) / "new", here)}
        if options.old is not None:
            systems["old"] = OneNode(Path(scratch) / "old", options.old.resolve())
        kept: dict[tuple[str, str], list[float]] = {}
        try:
            for system in systems.values():
                system.start()
            for _ in range(options.rounds):
                for writers in WRITERS:
                    for name, system in systems.items():
                        p99, longest = beside(system, writers, name)
                        kept.setdefault((name, f"a new client beside {writers}, p99, ms"), []).append(p99)
                        what = f"{NEWCOMERS} together beside {writers}, longest, ms"
                        kept.setdefault((name, what), []).append(longest)
                for name, system in systems.items():
                    what = f"p99 of {CROWD} over Little's law"
                    kept.setdefault((name, what), []).append(crowd(system, name))
        except Trouble as trouble:
            sys.exit(str(trouble))
        finally:
            for system in systems.values():
                system.end()
    for (name, what), figures in kept.items():
        print(f"{name:4}{what:40} median {statistics.median(figures):8.1f}")


if __name__ == "__main__":
    main()
