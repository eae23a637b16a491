"""Looks for keys that are readable after their time, by reads and by listings, through every node."""

import http.client
import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from harness.load import Endpoint, key_path
from trials.stock import Stock

PAUSE_S: Final = 0.25
READS: Final = 4  # of each look, through each node
LISTED: Final = 100  # keys in the range of a listing


@dataclass(slots=True)
class Seen:
    """What the looks found. `readable`: due keys that were shown."""

    reads: int = 0
    listings: int = 0
    readable: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def take_read(self, key: str, status: int) -> None:
        """Judge the answer to a read of a due key."""
        self.reads += 1
        if status in (200, 304):
            self.readable.append(f"{key} by a read")
        elif status != 404:
            self.faults.append(f"a read of {key} is answered with {status}")

    def take_listing(self, prefix: str, status: int, body: bytes) -> None:
        """Judge a listing of a range in which all keys are due."""
        self.listings += 1
        if status != 200:
            self.faults.append(f"a listing of {prefix} is answered with {status}")
            return
        page = json.loads(body)
        self.readable += [f"{item.get('key')} by a listing" for item in page["items"]]
        if page["next"] is not None:
            self.faults.append(f"a listing of {prefix} is not complete")


class Look(threading.Thread):
    """Looks again and again, from `begin` (of the monotonic clock) to `stop`. Begun by `start`."""

    def __init__(self, endpoints: list[Endpoint], stock: Stock, begin: float) -> None:
        super().__init__(name="look", daemon=True)
        self.seen = Seen()
        self._endpoints, self._stock, self._begin = endpoints, stock, begin
        self._over = threading.Event()

    def run(self) -> None:
        if self._over.wait(max(self._begin - time.monotonic(), 0)):
            return
        choose, connections = random.Random(3), [_open(each) for each in self._endpoints]
        while not self._over.is_set():
            for endpoint, connection in zip(self._endpoints, connections, strict=True):
                try:
                    look(connection, self._stock, choose, self.seen)
                except (OSError, http.client.HTTPException) as error:
                    self.seen.faults.append(f"{endpoint}: {error!r}")
                    connection.close()
            self._over.wait(PAUSE_S)

    def stop(self) -> Seen:
        """Return what was seen."""
        self._over.set()
        self.join()
        return self.seen


def look(connection: http.client.HTTPConnection, stock: Stock, choose: random.Random, seen: Seen) -> None:
    """Read some keys and list some others, all of which are due. Raises OSError, HTTPException."""
    for _ in range(READS):
        key = stock.key(choose.randrange(stock.count))
        seen.take_read(key, _ask(connection, key_path(key.encode()).decode())[0])
    prefix = stock.key(choose.randrange(stock.count // LISTED) * LISTED)[:-2]
    path = key_path(prefix.encode()).decode().rpartition("/")[2]
    seen.take_listing(prefix, *_ask(connection, f"/v1/kv?prefix={path}"))


def count(endpoint: Endpoint, stock: Stock) -> int:
    """Return how many keys of the stock a node lists. Raises OSError, HTTPException, ValueError."""
    prefix = key_path(stock.prefix.encode()).decode().rpartition("/")[2]
    status, body = _ask(_open(endpoint), f"/v1/kv?count=true&timeout=30s&prefix={prefix}")
    if status != 200:
        raise ValueError(f"a count is answered with {status}: {body[:200]!r}")
    return int(json.loads(body)["count"])


def _open(endpoint: Endpoint) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=35)


def _ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    reply = connection.getresponse()
    return reply.status, reply.read()
