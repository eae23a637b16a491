"""Writers whose every answer is definite, and readers of changes who must hear exactly what was committed:
of each key its versions in order, none left out, across breaks and through any node.
"""

import http.client
import json
import random
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.support.cluster.cluster import Cluster, kv
from tests.support.wait import until

_numbers = count()
GIVE_UP_S = 60.0
PAUSE_S = 0.02  # between two changes by one writer, at most
SILENT_S = 15.0  # a bookmark comes each 10 s at least


class Change(NamedTuple):
    """`value`: None: the key was deleted."""

    version: int
    value: str | None


class Writer(threading.Thread):
    """Puts and deletes its own keys, one after the other; what is not answered is asked again elsewhere."""

    def __init__(self, nodes: Cluster, stem: str, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._nodes = nodes
        self._random = random.Random(number)
        self._over = over
        self._stem, self._number = stem, number
        self.keys = [f"{stem}{number}/{each}" for each in range(3)]
        self.done: dict[str, list[Change]] = {key: [] for key in self.keys}
        self.failure = ""

    @property
    def total(self) -> int:
        """How many changes were acknowledged."""
        return sum(map(len, self.done.values()))

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._change(self._random.choice(self.keys))
                time.sleep(self._random.uniform(0, PAUSE_S))
        except Exception as error:
            self.failure = f"writer {self._number}: {error!r}"

    def _change(self, key: str) -> None:
        changes = self.done[key]
        takes = bool(changes) and changes[-1].value is not None and self._random.random() < 0.1
        value = f"{self._number}-{self.total}"
        name = {"Idempotency-Key": self._stem + value}
        limit = time.monotonic() + GIVE_UP_S
        last: object = None
        while time.monotonic() < limit:
            via = self._random.choice(self._nodes.names)
            with suppress(OSError, HTTPException, AssertionError):
                if takes:
                    answer = self._nodes.request(via, "POST", kv(key.encode()), b'{"op": "take"}', name, 3.0)
                    version = answer.json.get("version")
                else:
                    answer = self._nodes.request(via, "PUT", kv(key.encode()), value.encode(), name, 3.0)
                    version = (answer.headers["ETag"] or "").strip('"')
                if answer.status in (200, 201):
                    changes.append(Change(int(version), None if takes else value))
                    return
                last = answer
        raise AssertionError(f"{key} was not written within {GIVE_UP_S:g} s, the last answer: {last}")


class Reader(threading.Thread):
    """Reads a prefix through one node after the other, from its last bookmark on. `stays`: seconds with each;
    0: until it breaks. `slow`: seconds between two lines, at most."""

    def __init__(
        self, nodes: Cluster, number: int, over: threading.Event, prefix: str, stays: float, slow: float = 0
    ) -> None:
        super().__init__(daemon=True)
        self._nodes = nodes
        self._random = random.Random(f"reader {number}")
        self._over = over
        self._stays = stays
        self.slow = slow
        self.name = f"reader {number} of {prefix!r}"
        self.prefix = prefix
        self.cursor = "now"
        self.bookmarks = 0
        self.connections = 0
        self.repeated = 0
        self.heard: dict[str, list[Change]] = {}
        self.via = ""
        self.failure = ""

    def run(self) -> None:
        try:
            while not self._over.is_set():
                with suppress(OSError, HTTPException):
                    self._read()
        except Exception as error:
            self.failure = f"{self.name} through {self.via}: {error!r}"

    def _read(self) -> None:
        self.via = via = self._random.choice(self._nodes.names)
        place = self._nodes.places[via]
        connection = http.client.HTTPConnection(place.host, place.http, timeout=SILENT_S)
        leave_at = time.monotonic() + self._random.uniform(0.5, 1.5) * self._stays if self._stays else 1e12
        try:
            path = f"/v1/changes?prefix={quote(self.prefix)}&values=true&after={self.cursor}"
            connection.request("GET", path, headers={"Accept": "application/x-ndjson"})
            answer = connection.getresponse()
            if answer.status != 200:
                assert answer.status in (429, 503), (answer.status, answer.read())
                time.sleep(0.1)
                return
            self.connections += 1
            while not self._over.is_set() and time.monotonic() < leave_at:
                line = answer.readline()
                if not line.endswith(b"\n"):
                    return  # it was broken off, perhaps in the middle of a line
                self._take(json.loads(line))
                if self.slow:
                    time.sleep(self._random.uniform(0, self.slow))
        except TimeoutError:
            raise AssertionError(f"nothing was heard for {SILENT_S:g} s") from None
        finally:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _take(self, told: dict[str, Any]) -> None:
        kind = told["event"]
        if kind == "bookmark":
            self.cursor, self.bookmarks = told["cursor"], self.bookmarks + 1
            return
        assert kind in ("put", "delete"), told
        change = Change(told["version"], told.get("value"))
        heard = self.heard.setdefault(told["key"], [])
        if heard and change.version <= heard[-1].version:
            assert change in heard, f"{told} was not heard before, and what follows it was"
            self.repeated += 1
        else:
            heard.append(change)


class Feeds:
    """The writers and readers of one test. Use it as a context; `verify` at the end of it, within."""

    def __init__(self, nodes: Cluster) -> None:
        self._written = threading.Event()
        self._read = threading.Event()
        self.stem = stem = f"feed-{next(_numbers)}/"
        self.writers = [Writer(nodes, stem, number, self._written) for number in range(4)]
        kinds = [
            (stem, 0.0, 0.0), (stem, 1.0, 0.0), (stem, 4.0, 0.0), (f"{stem}1/", 2.0, 0.0),
            ("", 6.0, 0.0), (stem, 8.0, 0.02),
        ]  # fmt: skip
        self.readers = [
            Reader(nodes, number, self._read, *each) for number, each in enumerate(kinds)
        ]  # fmt: skip

    def __enter__(self) -> "Feeds":
        for reader in self.readers:
            reader.start()
        until(lambda: all(each.bookmarks for each in self.readers), "every reader to have a bookmark")
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._written.set()
        self._read.set()
        for each in (*self.writers, *self.readers):
            each.join(GIVE_UP_S)

    @property
    def key(self) -> bytes:
        """One of the keys."""
        return self.writers[0].keys[0].encode()

    @property
    def failures(self) -> list[str]:
        """What went wrong so far."""
        found = [writer.failure for writer in self.writers] + [reader.failure for reader in self.readers]
        return [each for each in found if each]

    def go_on(self, more: int = 60) -> None:
        """Wait for more changes, and for readers that hear of them."""
        before = [each.total for each in self.writers]
        heard = [each.bookmarks for each in self.readers]

        def gone_on() -> bool:
            assert not self.failures, self.failures
            written = sum(each.total for each in self.writers) - sum(before) >= more
            return written and all(now.bookmarks > was for now, was in zip(self.readers, heard, strict=True))

        until(gone_on, lambda: f"the feeds to go on: {self.report()}", GIVE_UP_S)

    def verify(self) -> None:
        """Every reader hears exactly what was acknowledged, and nothing else."""
        self._written.set()
        for writer in self.writers:
            writer.join(GIVE_UP_S)
        for reader in self.readers:
            reader.slow = 0
        wanted = {key: changes for writer in self.writers for key, changes in writer.done.items() if changes}

        def all_heard() -> bool:
            assert not self.failures, self.failures
            return all(
                reader.heard.get(key, [])[-1:] == changes[-1:]
                for reader in self.readers
                for key, changes in wanted.items()
                if key.startswith(reader.prefix)
            )

        until(all_heard, lambda: f"all to be heard: {self.report()}", GIVE_UP_S)
        self._read.set()
        for reader in self.readers:
            reader.join(GIVE_UP_S)
            mine = {key: changes for key, changes in wanted.items() if key.startswith(reader.prefix)}
            heard = {key: changes for key, changes in reader.heard.items() if key.startswith(self.stem)}
            assert set(heard) == set(mine), f"{reader.name} heard of other keys"
            for key, changes in mine.items():
                assert heard[key] == changes, f"{reader.name} heard of {key} {heard[key]}, not {changes}"

    def report(self) -> str:
        """Say what was written and heard."""
        lines = [f"written: {[each.total for each in self.writers]}; failures: {self.failures}"]
        lines += [
            f"{each.name} through {each.via}: {sum(map(len, each.heard.values()))} changes, "
            f"{each.repeated} repeated, {each.bookmarks} bookmarks, {each.connections} connections"
            for each in self.readers
        ]
        return "\n".join(lines)
