"""Measures readers of changes: `python bench/changes.py [--data DIR] [--readers N]`.

Three nodes, from empty. All readers are on one node. Each of them reads one prefix of its own while paced
writers put to all prefixes through the other nodes: every put is one event for one reader. Then all read
one prefix: every put is an event for each of them. A put is timed from its sending to its answer, and to
its event at a reader, by the same clock: the event's time therefore contains the whole of its commit. Also
what a reader costs the node in memory, and what the node uses of a processor.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

from harness.cluster import Trouble
from harness.load import Endpoint
from harness.resources import cpu_s, memory
from systems import Ringkeep

WRITERS: Final = 8
P50_MS: Final = 20.0
P99_RATIO: Final = 5.0
"""From a put's sending to its event, in p99 of puts."""


class Reader(asyncio.Protocol):
    """One stream of changes. `times`: when each put was heard, by its value."""

    def __init__(self, prefix: str, host: Endpoint) -> None:
        self._prefix = prefix
        self._host = host
        self._rest = b""
        self.ready = asyncio.get_running_loop().create_future()
        self.times: dict[str, float] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        request = f"GET /v1/changes?prefix={self._prefix}&values=true HTTP/1.1\r\nHost: {self._host.host}\r\n"
        self.transport.write(f"{request}Accept: application/x-ndjson\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Note the time of each put."""
        now = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b'{"event":"put"'):
                self.times[json.loads(line)["value"]] = now
            elif line.startswith(b'{"event":"bookmark"') and not self.ready.done():
                self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """A stream does not end while it is measured."""
        if not self.ready.done():
            self.ready.set_exception(Trouble(f"a stream ended: {exc}"))


async def put(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], key: str, value: str) -> None:
    """Put one key. Raises Trouble for any answer but success."""
    reader, writer = connection
    body = value.encode()
    writer.write(
        f"PUT /v1/kv/{key} HTTP/1.1\r\nHost: n\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if head[9:12] not in (b"200", b"201"):
        raise Trouble(f"a put was answered {head[:40]!r}")


async def write(
    endpoints: list[Endpoint], prefixes: list[str], rate: float, seconds: float
) -> dict[str, tuple[float, float]]:
    """Put at a pace; return of each value when it was sent and when it was answered."""
    done: dict[str, tuple[float, float]] = {}
    begin = time.monotonic()

    async def writer(number: int) -> None:
        endpoint = endpoints[number % len(endpoints)]
        connection = await asyncio.open_connection(endpoint.host, endpoint.port)
        for turn in range(number, int(rate * seconds), WRITERS):
            await asyncio.sleep(max(begin + turn / rate - time.monotonic(), 0))
            value = f"{turn:08}" + "v" * 92
            sent = time.monotonic()
            await put(connection, f"{prefixes[turn * 7 % len(prefixes)]}{turn % 10}", value)
            done[value] = (sent, time.monotonic())
        connection[1].close()

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    return done


def quantile(values: list[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] * 1_000


async def measure(
    system: Ringkeep, readers: int, own: bool, rate: float, seconds: float, baseline: tuple[float, float]
) -> tuple[float, float]:
    """Measure one arrangement and print it; return (p50 and p99 of puts); `baseline` is what these were
    without readers."""
    served, *others = system.endpoints
    pid = system.pids()[0]
    prefixes = (
        [f"changes/{number:05}/" for number in range(max(readers, 1))] if own or not readers else ["changes/"]
    )
    before, loop = memory(pid)["VmRSS"], asyncio.get_running_loop()
    streams: list[Reader] = []
    for number in range(readers):
        make = partial(Reader, prefixes[number % len(prefixes)], served)
        _, stream = await loop.create_connection(make, served.host, served.port)
        streams.append(stream)
    await asyncio.wait_for(asyncio.gather(*(each.ready for each in streams)), 60)
    await asyncio.sleep(2)
    each_kb = (memory(pid)["VmRSS"] - before) * 1_000 / readers if readers else 0.0
    busy, began = cpu_s(pid), time.monotonic()
    done = await write(others, prefixes, rate, seconds)
    wanted = len(done) * (1 if own else readers)
    for _ in range(300):
        if sum(len(each.times) for each in streams) >= wanted or not readers:
            break
        await asyncio.sleep(0.1)
    busy = (cpu_s(pid) - busy) / (time.monotonic() - began)
    for each in streams:
        each.transport.close()
    puts = [answered - sent for sent, answered in done.values()]
    p50, p99 = quantile(puts, 0.5), quantile(puts, 0.99)
    print(f"  puts {rate:.0f}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms; node {busy:.0%} of a processor")
    if not readers:
        return p50, p99
    heard = [(value, at) for each in streams for value, at in each.times.items()]
    if len(heard) != wanted:
        raise Trouble(f"{len(heard)} events were heard, not {wanted}")
    from_sending = [at - done[value][0] for value, at in heard]
    after = [at - done[value][1] for value, at in heard]
    event50, event99 = quantile(from_sending, 0.5), quantile(from_sending, 0.99)
    print(
        f"  {readers} readers of {'a prefix each' if own else 'one prefix'}: {each_kb:.0f} KB each; from a "
        f"put's sending to its event p50 {event50:.1f} ms, p99 {event99:.1f} ms; after its answer "
        f"p50 {quantile(after, 0.5):.1f} ms, p99 {quantile(after, 0.99):.1f} ms"
    )
    print(
        f"  p99 of events / p99 of puts beside them {event99 / p99:.2f}, without readers "
        f"{event99 / baseline[1]:.2f}; p50 of puts with / without readers {p50 / baseline[0]:.2f}",
        flush=True,
    )
    return event50, event99 / p99


async def run(system: Ringkeep, readers: int, seconds: float) -> bool:
    """Run all arrangements; return whether the events came in time where each has a prefix of its own."""
    quiet = await measure(system, 0, True, 200, seconds, (1, 1))
    event50, ratio = await measure(system, readers, True, 200, seconds, quiet)
    quiet = await measure(system, 0, True, 5, seconds, (1, 1))
    await measure(system, readers, False, 5, seconds, quiet)
    return event50 <= P50_MS and ratio <= P99_RATIO


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="where the data are while it runs (default: temporary)")
    parser.add_argument("--readers", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    data = Path(tempfile.mkdtemp(prefix="ringkeep-bench-", dir=arguments.data))
    system = Ringkeep(data / "ringkeep")
    try:
        system.start()
        print(f"{system.version}; {system.settings}", flush=True)
        return int(not asyncio.run(run(system, arguments.readers, arguments.seconds)))
    except Trouble as trouble:
        print(f"bench-changes: {trouble}", file=sys.stderr)
        return 1
    finally:
        system.end()
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
