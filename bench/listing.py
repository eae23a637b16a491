"""Measures listings against etcd's, in keys per second: `python bench/listing.py [--data DIR]`.

Three nodes each, from empty, with the same keys and values of 128 bytes; both read linearizably. In turn, one
reader at each node lists all keys with their values again and again (A B C A B C): etcd's range over its HTTP
gateway in pages of 1,000, Ringkeep in such pages, and Ringkeep as a stream of lines. Before that every form
is compared with what was loaded; while it runs, every page is counted. Only the ratio within a round counts.
A page of etcd is a snapshot; one of Ringkeep is linearizable key by key.
"""

import argparse
import base64
import http.client
import json
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from harness.cluster import Trouble
from harness.load import Endpoint
from harness.resources import cpu_s
from quick import KEYS, fill
from systems import Etcd, HttpSystem, Ringkeep, check_programs
from systems.base import key_of, value_of

PAGE: Final = 1_000
PREFIX: Final = b"key-"
REACH: Final = 1.0
_ETCD_KEY: Final = b'"key":"'
_END: Final = b'{"end":'
_NEXT: Final = re.compile(rb'"next":(?:null|"([^"]*)")\}$')

Connection = http.client.HTTPConnection
Form = Callable[[Connection], Iterator[tuple[int, bytes]]]
"""Lists all keys once: the number of keys of each part, and its bytes."""


def etcd_pages(connection: Connection) -> Iterator[tuple[int, bytes]]:
    begin = PREFIX
    while True:
        asked = {"key": _text(begin), "range_end": _text(b"key."), "limit": PAGE}
        body = _body(connection, "POST", "/v3/kv/range", json.dumps(asked).encode())
        count = body.count(_ETCD_KEY)
        yield count, body
        if b'"more":true' not in body:
            return
        at = body.rindex(_ETCD_KEY) + len(_ETCD_KEY)
        begin = base64.b64decode(body[at : body.index(b'"', at)]) + b"\0"


def ringkeep_pages(connection: Connection) -> Iterator[tuple[int, bytes]]:
    after = ""
    while True:
        body = _body(connection, "GET", f"/v1/kv?prefix=key-&values=true&limit={PAGE}&after={after}")
        following = _NEXT.search(body, len(body) - 100)
        if following is None:
            raise Trouble(f"a page ends with {body[-100:]!r}")
        yield body.count(b'"version":'), body
        if following[1] is None:
            return
        after = following[1].decode()


def ringkeep_stream(connection: Connection) -> Iterator[tuple[int, bytes]]:
    headers = {"Accept": "application/x-ndjson"}
    connection.request("GET", "/v1/kv?prefix=key-&values=true", headers=headers)
    reply = connection.getresponse()
    while part := reply.read1(1 << 20):
        yield part.count(b"\n") - part.startswith(_END), part  # the last line comes by itself


def _body(connection: Connection, method: str, target: str, body: bytes | None = None) -> bytes:
    connection.request(method, target, body)
    reply = connection.getresponse()
    content = reply.read()
    if reply.status != 200:
        raise Trouble(f"{target} answered {reply.status}: {content[:200]!r}")
    return content


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def check(name: str, system: HttpSystem, form: Form) -> None:
    """Compare a whole listing through every node with what was loaded. Raises Trouble."""
    wanted = [(key_of(i), value_of(i, 0)) for i in range(KEYS)]
    for endpoint in system.endpoints:
        parts = [part for _, part in form(Connection(endpoint.host, endpoint.port, timeout=30))]
        if form is ringkeep_stream:
            *rows, end = [json.loads(line) for line in b"".join(parts).splitlines()]
            if end != {"end": True, "count": KEYS}:
                raise Trouble(f"{name}: the last line is {end}")
        else:
            pages: list[dict[str, Any]] = [json.loads(part) for part in parts]
            rows = [row for page in pages for row in page["kvs" if form is etcd_pages else "items"]]
        if form is etcd_pages:
            found = [(base64.b64decode(row["key"]), base64.b64decode(row["value"])) for row in rows]
        else:
            found = [(row["key"].encode(), row["value"].encode()) for row in rows]
        if found != wanted:
            raise Trouble(f"{name}: {len(found)} keys through {endpoint}, not what was loaded")


def keys_per_s(system: HttpSystem, form: Form, seconds: float) -> tuple[float, float]:
    """Let one reader at each node list for so long; return keys per second, and CPU microseconds per key of
    all servers. Raises Trouble.
    """
    began = time.monotonic()
    counts: list[int] = []
    faults: list[str] = []

    def read(endpoint: Endpoint) -> None:
        connection, total = Connection(endpoint.host, endpoint.port, timeout=30), 0
        try:
            while time.monotonic() < began + seconds:
                found = sum(count for count, _ in form(connection))
                total += found
                if found != KEYS:
                    faults.append(f"{found} keys through {endpoint}")
                    return
        except (OSError, http.client.HTTPException, Trouble) as error:
            faults.append(f"{endpoint}: {error!r}")
        finally:
            counts.append(total)
            connection.close()

    used = sum(map(cpu_s, system.pids()))
    readers = [threading.Thread(target=read, args=(endpoint,)) for endpoint in system.endpoints]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    if faults:
        raise Trouble(f"{system.name}: {faults[0]}")
    elapsed, used = time.monotonic() - began, sum(map(cpu_s, system.pids())) - used
    return sum(counts) / elapsed, 1e6 * used / sum(counts)


def measure(etcd: HttpSystem, ringkeep: HttpSystem, rounds: int, seconds: float) -> list[float]:
    """Run the forms in turn; print each round, and return the median ratios of pages and of streams."""
    forms: list[tuple[str, HttpSystem, Form]] = [
        ("etcd, pages", etcd, etcd_pages),
        ("ringkeep, pages", ringkeep, ringkeep_pages),
        ("ringkeep, stream", ringkeep, ringkeep_stream),
    ]
    for each in forms:
        check(*each)
    ratios: list[tuple[float, float]] = []
    for _ in range(rounds):
        rates = []
        for name, system, form in forms:
            rate, cpu_us = keys_per_s(system, form, seconds)
            rates.append(rate)
            print(f"    {name:16} {rate:9,.0f} keys/s, servers {cpu_us:5.1f} us of CPU per key", flush=True)
        ratios.append((rates[1] / rates[0], rates[2] / rates[0]))
        print(f"pages {ratios[-1][0]:.2f} x etcd, stream {ratios[-1][1]:.2f} x etcd", flush=True)
    return [statistics.median(column) for column in zip(*ratios, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="where the data are while it runs (default: temporary)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    data = Path(tempfile.mkdtemp(prefix="ringkeep-bench-", dir=arguments.data))
    started: list[HttpSystem] = []
    try:
        check_programs({"etcd": "etcd-server"})
        ringkeep: HttpSystem = Ringkeep(data / "ringkeep")
        etcd: HttpSystem = Etcd(data / "etcd")
        for system in (ringkeep, etcd):
            started.append(system)
            system.start()
            fill(system)
            print(f"{system.version}; {system.settings}", flush=True)
        pages, stream = measure(etcd, ringkeep, arguments.rounds, arguments.seconds)
        print(f"median: pages {pages:.2f}, stream {stream:.2f} x etcd's pages; wanted {REACH}")
        return int(min(pages, stream) < REACH)
    except Trouble as trouble:
        print(f"bench-listing: {trouble}", file=sys.stderr)
        return 1
    finally:
        for system in started:
            system.end()
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
