"""Listings and deletions by prefix on real nodes: complete and in order, whoever dies, joins or leaves."""

import http.client
import json
import random
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from itertools import cycle, pairwise
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.cluster.caller import Caller, Unanswered
from tests.support.cluster.cluster import RINGKEEP, Cluster, kv
from tests.support.cluster.crowd import Crowd
from tests.support.cluster.steering import MOVED_S, ordered, shares, wait_moved
from tests.support.wait import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

KEYS = 20_000
BATCH = 500
SIZES = (0, 10, 10, 100, 100, 1_000, 3_000)
STOCK = "stock/"
BROKEN = (OSError, http.client.HTTPException, ValueError)  # the last: a chunk that is cut in its length
Row = dict[str, Any]


@pytest.fixture(scope="module")
def stock(shared: Cluster) -> dict[str, int]:
    """Keys that nobody touches, with their versions."""
    names = [f"{STOCK}{number:05d}" for number in range(KEYS)]
    versions: dict[str, int] = {}
    via = cycle(shared.names)
    for begin in range(0, KEYS, BATCH):
        some = names[begin : begin + BATCH]
        puts = [{"op": "put", "key": key, "value": value_of(key)} for key in some]
        answer = shared.request(
            next(via), "POST", "/v1/batch", json.dumps({"operations": puts}).encode(), limit_s=60
        )
        assert answer.status == 200, answer
        results = answer.json["results"]
        assert {each["status"] for each in results} <= {200, 201}, results[0]
        versions |= {key: each["version"] for key, each in zip(some, results, strict=True)}
    return versions


def value_of(key: str) -> str:
    return key[-1:] * SIZES[int(key[len(STOCK) :]) % len(SIZES)]


class Stream:
    """One listing as lines, through one node. `rows`: what has come; `ended`: the last line, if it came."""

    def __init__(self, nodes: Cluster, via: str, query: str) -> None:
        place = nodes.places[via]
        self._connection = http.client.HTTPConnection(place.host, place.http, timeout=40)
        self._path = f"/v1/kv?timeout=15s&{query}"
        self.rows: list[Row] = []
        self.ended: Row | None = None

    def begin(self, buffer_bytes: int = 0) -> "Stream":
        """Read the first key. `buffer_bytes`: how much may wait for us in the kernel, 0 for as usual."""
        self._connection.connect()
        if buffer_bytes:
            self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._connection.request("GET", self._path, headers={"Accept": "application/x-ndjson"})
        self._reply = self._connection.getresponse()
        if self._reply.status == 200:
            self._read_line()
        else:
            refusal = self._reply.read()
            assert self._reply.status in (429, 503), (self._reply.status, refusal)
        return self

    def finish(self) -> "Stream":
        """Read to the end."""
        while self._read_line():
            pass
        return self

    def read(self) -> None:
        """Read all of it. Raises one of BROKEN where the node does not answer, or ends."""
        try:
            self.begin().finish()
        finally:
            self.close()

    def close(self) -> None:
        self._connection.close()

    def _read_line(self) -> bool:
        line = self._reply.readline()
        if not line:
            return False
        row = json.loads(line)
        if "end" in row:
            self.ended = row
        else:
            self.rows.append(row)
        return True


def listing(nodes: Cluster, via: Iterator[str], query: str = f"prefix={STOCK}") -> list[Row]:
    """List all of it; where a stream ends early, read on after its last key, through the next node."""
    rows: list[Row] = []

    def complete() -> bool:
        after = f"&after={quote(rows[-1]['key'], safe='')}" if rows else ""
        stream = Stream(nodes, next(via), query + after)
        try:
            stream.read()
        except BROKEN:
            stream.ended = None
        rows.extend(stream.rows)
        if stream.ended is not None:
            assert stream.ended["count"] == len(stream.rows)
        return stream.ended is not None and stream.ended["end"] is True

    until(complete, lambda: f"a listing to end; it has {len(rows)} keys", 60)
    return rows


class Churn(threading.Thread):
    """Puts and deletes keys between those of the stock. `known`: the versions that were acknowledged."""

    def __init__(self, nodes: Cluster, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._nodes = nodes
        self._over = over
        self._random = random.Random(1)
        self.known: dict[str, int] = {}
        self.done = 0

    def run(self) -> None:
        caller = Caller(self._nodes)
        while not self._over.is_set():
            key = f"{STOCK}{self._random.randrange(KEYS):05d}-{self._random.randrange(3)}"
            names = self._random.sample(self._nodes.names, len(self._nodes.names))
            method = self._random.choice(["PUT", "PUT", "DELETE"])
            body = b"v" * self._random.choice([0, 100]) if method == "PUT" else None
            try:
                reply = caller.ask(names, method, kv(key.encode()), body, {})
            except Unanswered:
                continue
            if reply.status in (200, 201):
                self.known[key] = reply.version
            self.done += 1
        caller.close()


class Lister(threading.Thread):
    """Lists the stock over and over, first through one node, and judges every listing."""

    def __init__(
        self, nodes: Cluster, number: int, stock: dict[str, int], churn: Churn, over: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self._nodes = nodes
        self._number = number
        self._stock = stock
        self._churn = churn
        self._over = over
        self.done = 0
        self.failure = ""

    def run(self) -> None:
        try:
            while not self._over.is_set():
                names = list(self._nodes.names)
                at = self._number % len(names)
                known = dict(self._churn.known)
                self._judge(listing(self._nodes, cycle([*names[at:], *names[:at]])), known)
                self.done += 1
        except Exception as error:  # it is a thread: the test says what happened to it
            self.failure = f"lister {self._number}, listing {self.done + 1}: {error}"

    def _judge(self, rows: Sequence[Row], known: dict[str, int]) -> None:
        keys = [row["key"] for row in rows]
        assert all(before < after for before, after in pairwise(keys)), "in order, once"
        found = {row["key"]: row["version"] for row in rows}
        assert found.keys() >= self._stock.keys(), f"missing: {sorted(self._stock.keys() - found.keys())[:5]}"
        assert found.items() >= self._stock.items(), "each has its version"
        for key in found.keys() - self._stock.keys():
            assert key[-2:] in ("-0", "-1", "-2"), f"{key} was never put"
            assert found[key] >= known.get(key, 0), f"{key} was replaced before the listing began"


class Listers(Crowd):
    """One for each node, beside keys that come and go. Use as a context."""

    def __init__(self, nodes: Cluster, stock: dict[str, int]) -> None:
        over = threading.Event()
        self.churn = Churn(nodes, over)
        self.listers = [Lister(nodes, number, stock, self.churn, over) for number in range(len(nodes.names))]
        super().__init__(over, [self.churn, *self.listers])

    @property
    def failures(self) -> list[str]:
        return [each.failure for each in self.listers if each.failure]

    def go_on(self) -> None:
        """Wait until every lister has done a listing that began from now on, and keys have come and gone."""
        wanted = [each.done + 2 for each in self.listers]
        keys = self.churn.done + 20

        def have() -> bool:
            done = [each.done for each in self.listers]
            return self.churn.done >= keys and all(a >= b for a, b in zip(done, wanted, strict=True))

        until(lambda: self.failures or have(), "listings to go on", 90)
        assert not self.failures, self.failures

    def began(self) -> None:
        """Wait until every lister has begun another listing."""
        wanted = [each.done + 1 for each in self.listers]
        until(
            lambda: (
                self.failures or all(e.done >= b for e, b in zip(self.listers, wanted, strict=True))
            ),
            "listings to begin", 90,
        )  # fmt: skip
        assert not self.failures, self.failures


def test_while_a_primary_is_killed(nodes: Cluster, stock: dict[str, int]) -> None:
    with Listers(nodes, stock) as load:
        load.began()
        for _ in range(2):
            victim = nodes.most_primaries(nodes.names)
            via = next(name for name in nodes.names if name != victim)
            midway = Stream(nodes, via, f"prefix={STOCK}&values=true").begin(65_536)
            nodes.kill(victim)
            rows = midway.finish().rows
            midway.close()
            assert midway.ended is not None and midway.ended["end"] is True, midway.ended
            assert {row["key"]: row["version"] for row in rows}.items() >= stock.items()
            load.go_on()
            nodes.start(victim)
            nodes.wait_ready(victim)
            load.began()
        nodes.wait_active()
        load.go_on()


def test_while_a_node_joins_and_leaves(nodes: Cluster, stock: dict[str, int]) -> None:
    joins = "n9"
    with Listers(nodes, stock) as load:
        load.began()
        nodes.add(joins)
        nodes.start(joins).wait_ready(joins)
        until(lambda: shares(nodes)[1][joins], lambda: f"{joins} to lead something: {shares(nodes)}", MOVED_S)
        load.go_on()
        ordered(nodes, f"nodes/{joins}/decommission")
        load.began()
        assert nodes.wait_end(joins, MOVED_S) == 0, nodes.said(joins)[-600:]
        nodes.forget(joins)
        del nodes.places[joins]
        load.go_on()
    wait_moved(nodes)


def test_values_pages_and_counts_agree(nodes: Cluster, stock: dict[str, int]) -> None:
    query = f"prefix={STOCK}&values=true"
    values = {row["key"]: row["value"] for row in listing(nodes, cycle(nodes.names), query)}
    assert all(values[key] == value_of(key) for key in stock)
    for via in nodes.names:
        counted = nodes.request(via, "GET", f"/v1/kv?prefix={STOCK}&count=true&timeout=15s")
        assert counted.json == {"count": len(values)}, counted
    after, paged = "", []
    via_all = cycle(nodes.names)
    while after is not None:
        target = f"/v1/kv?prefix={STOCK}&limit=5000&timeout=15s&after={quote(after, safe='')}"
        page = nodes.request(next(via_all), "GET", target).json
        paged += [item["key"] for item in page["items"]]
        after = page["next"]
    assert paged == list(values)


def test_the_commands(nodes: Cluster, stock: dict[str, int]) -> None:
    def said(*arguments: str) -> str:
        place = nodes.places[nodes.names[-1]]
        command = [*RINGKEEP, *arguments, "--endpoint", f"{place.host}:{place.http}", "--timeout", "15s"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=90).stdout

    listed = said("list", STOCK).splitlines()
    assert listed == sorted(listed) and set(listed) >= stock.keys()
    assert said("count", STOCK) == f"{len(listed)}\n"
    for number in range(50):
        nodes.stored(nodes.names[number % 3], b"commands/%02d" % number, b"v")
    assert said("delete", "--prefix", "commands/") == "50 keys deleted\n"
    assert (said("list", "commands/"), said("count", "commands/")) == ("", "0\n")


# --- a reader that does not read -------------------------------------------------------------------------

LARGE = 96
LARGE_BYTES = 512 * 1_024
STALLED = 8
BOUND_KIB = 128 * 1_024
"""Of each reader two pages of values in three forms, and what the allocator keeps; not their 64 MiB each."""


def test_a_reader_that_does_not_read_costs_little(nodes: Cluster) -> None:
    via = nodes.names[0]
    value = random.Random(1).randbytes(LARGE_BYTES)
    for number in range(LARGE):
        nodes.stored(nodes.names[number % len(nodes.names)], b"large/%03d" % number, value)
    place, query = nodes.places[via], "prefix=large/&values=true"
    listing(nodes, cycle([via]), query)  # what every listing needs is there from now on
    before_kib = nodes.rss_kib(via)
    most_kib = before_kib
    stalled: list[socket.socket] = []
    try:
        for _ in range(STALLED):
            reader = socket.socket()
            stalled.append(reader)
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            reader.settimeout(30)
            reader.connect((place.host, place.http))
            head = (
                f"GET /v1/kv?{query} HTTP/1.1\r\nHost: {place.host}\r\nAccept: application/x-ndjson\r\n\r\n"
            )
            reader.sendall(head.encode())
            assert reader.recv(12) == b"HTTP/1.1 200", "it has begun"
        for _ in range(3):
            rows = listing(nodes, cycle([via]), query)
            assert len(rows) == LARGE, "who reads gets everything meanwhile"
            most_kib = max(most_kib, nodes.rss_kib(via))
        print(f"memory grew from {before_kib} to {most_kib} KiB")
        assert most_kib - before_kib < BOUND_KIB, f"from {before_kib} to {most_kib} KiB"
    finally:
        for reader in stalled:
            reader.close()
        nodes.request(via, "DELETE", "/v1/kv?prefix=large/&timeout=30s", limit_s=40)


# --- deletion by prefix ----------------------------------------------------------------------------------

DOOMED = 2_000


class Writer(threading.Thread):
    """Writes keys of a prefix anew, each until it is acknowledged. `written`: their versions."""

    def __init__(self, nodes: Cluster, number: int, keys: Sequence[str], over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._nodes = nodes
        self._names = [*nodes.names[number:], *nodes.names[:number]]
        self._keys = keys
        self._over = over
        self.written: dict[str, int] = {}
        self.failure = ""

    def run(self) -> None:
        caller = Caller(self._nodes)
        try:
            for key in self._keys:
                if self._over.is_set():
                    break
                self.written[key] = self._write(caller, key)
        except (AssertionError, Unanswered) as error:
            self.failure = f"{key}: {error!r}"
        finally:
            caller.close()

    def _write(self, caller: Caller, key: str) -> int:
        while True:
            headers = {"Idempotency-Key": f"anew-{key}"}
            reply = caller.ask(self._names, "PUT", kv(key.encode()), b"new", headers)
            if reply.status in (200, 201):
                return reply.version
            assert reply.status in (429, 503, 504), (reply.status, reply.body)


def test_what_is_written_after_a_deletion_began_stays(nodes: Cluster) -> None:
    keys = [f"doomed/{number:04d}" for number in range(DOOMED)]
    for begin in range(0, DOOMED, BATCH):
        puts = [{"op": "put", "key": key, "value": "old"} for key in keys[begin : begin + BATCH]]
        body = json.dumps({"operations": puts}).encode()
        assert nodes.request(nodes.names[0], "POST", "/v1/batch", body, limit_s=60).status == 200
    begun = nodes.request(nodes.names[1], "DELETE", "/v1/kv?prefix=doomed/&limit=0").json
    over = threading.Event()
    picked = random.Random(2).sample(keys, DOOMED // 2)
    writers = [Writer(nodes, number, picked[number::3], over) for number in range(3)]
    for writer in writers:
        writer.start()
    victim = nodes.most_primaries(nodes.names)
    after, deleted, via = begun["next"], 0, cycle(nodes.names)

    def complete() -> bool:
        """Do a request, and begin anew from where it came to; what is not known is repeated so."""
        nonlocal after, deleted
        target = f"/v1/kv?prefix=doomed/&limit=100&after={quote(after, safe='')}&timeout=10s"
        try:
            answer = nodes.request(next(via), "DELETE", target, headers={"Ringkeep-Until": begun["until"]})
        except BROKEN:
            return False  # it is the one that was killed
        if answer.status not in (200, 504):
            assert answer.status in (429, 503), answer
            return False
        deleted += answer.json.get("count", 0)
        after = answer.json.get("next") or after
        return answer.status == 200 and answer.json["next"] is None

    try:
        until(lambda: complete() or deleted > 300, "the deletion to come on")
        nodes.kill(victim)
        until(complete, lambda: f"the deletion to end: it is at {after}", 60)
        nodes.start(victim)
        nodes.wait_ready(victim)
        until(lambda: not any(each.is_alive() for each in writers), "the writers to end", 60)
    finally:
        over.set()
    written: dict[str, int] = {}
    for writer in writers:
        assert not writer.failure, writer.failure
        written |= writer.written
    assert len(written) == DOOMED // 2, "all was acknowledged"

    def check() -> None:
        rows = listing(nodes, cycle(nodes.running()), "prefix=doomed/")
        assert {row["key"]: row["version"] for row in rows} == written

    check()
    again = nodes.request(
        nodes.running()[0], "DELETE", "/v1/kv?prefix=doomed/", headers={"Ringkeep-Until": begun["until"]}
    )
    assert (again.status, again.json["count"], again.json["next"]) == (200, 0, None), again
    check()
