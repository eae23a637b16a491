"""The generator notices every wrong answer. Tried on a server of a few lines that speaks Redis's protocol."""

import os
import shutil
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.paths import BENCH

sys.path.insert(0, str(BENCH))

import generator
from generator import Order
from harness.cluster import Trouble
from harness.load import Endpoint

NO_COMPILER = shutil.which("cc") is None

pytestmark = pytest.mark.skipif(NO_COMPILER and not os.environ.get("CI"), reason="needs a C compiler")

KEYS = 40
Answer = Callable[["Store", list[bytes]], bytes]


class Store:
    """Answers SET, WAIT and GET; `spoil` may answer a command instead."""

    def __init__(self, spoil: Answer | None = None) -> None:
        self.data: dict[bytes, bytes] = {}
        self.spoil = spoil
        self.commands = 0

    def answer(self, words: list[bytes]) -> bytes:
        self.commands += 1
        spoilt = self.spoil(self, words) if self.spoil else b""
        return spoilt or self._right(words)

    def _right(self, words: list[bytes]) -> bytes:
        if words[0] == b"SET":
            self.data[words[1]] = words[2]
            return b"+OK\r\n"
        if words[0] == b"WAIT":
            return b":1\r\n"
        found = self.data.get(words[1])
        return b"$-1\r\n" if found is None else b"$%d\r\n%b\r\n" % (len(found), found)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, store: Store) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = store


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            self.wfile.write(self.server.store.answer(words))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generator.build(tmp_path_factory.mktemp("generator"))


@pytest.fixture
def serve() -> Iterator[Callable[[Store], Endpoint]]:
    servers = []

    def start(store: Store) -> Endpoint:
        server = Server(store)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return Endpoint("127.0.0.1", server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def drive(program: Path, endpoint: Endpoint, load: str, generation: int) -> dict[str, Any]:
    marks: list[int] = []
    order = Order(load, 4, 0.2, KEYS, generation)
    found = generator.run(program, "redis", [endpoint], order, lambda: marks.append(1))
    assert len(marks) == 2, "the CPU times are read before and after"
    return found


def test_right_answers_are_counted(program: Path, serve: Callable[[Store], Endpoint]) -> None:
    store = Store()
    endpoint = serve(store)
    loaded = drive(program, endpoint, "load", 0)
    assert (loaded["requests"], loaded["faults"]) == (KEYS, 0)
    assert sorted(store.data) == [b"key-%08d" % i for i in range(KEYS)]
    assert {len(value) for value in store.data.values()} == {128}
    for generation, load in enumerate(("put", "get", "mixed"), 1):
        before = store.commands
        found = drive(program, endpoint, load, generation)
        assert found["faults"] == 0, found["fault"]
        each = {"put": 2, "get": 1, "mixed": 1.1}[load]  # SET and WAIT
        sent = (found["requests"] + found["late"]) * each
        read_back = 0 if load == "get" else 30
        assert store.commands - before == pytest.approx(sent + read_back, rel=0.1)
        assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["p999_ms"] <= found["max_ms"]


def lost_write(store: Store, words: list[bytes]) -> bytes:
    """The writes of every third key are acknowledged, and forgotten."""
    if words[0] == b"SET" and int(words[1][4:]) % 3 == 0:
        return b"+OK\r\n"
    return b""


def no_replica(_: Store, words: list[bytes]) -> bytes:
    return b":0\r\n" if words[0] == b"WAIT" else b""


def other_key(store: Store, words: list[bytes]) -> bytes:
    """A read finds what was written under another key."""
    wrong = store.data.get(b"key-%08d" % ((int(words[1][4:]) + 1) % KEYS), b"") if words[0] == b"GET" else b""
    return b"$%d\r\n%b\r\n" % (len(wrong), wrong) if wrong else b""


def nothing_there(_: Store, words: list[bytes]) -> bytes:
    return b"$-1\r\n" if words[0] == b"GET" else b""


def torn(store: Store, words: list[bytes]) -> bytes:
    """The last byte of a value is another one."""
    if words[0] != b"GET":
        return b""
    value = store.data[words[1]][:-1] + b"x"
    return b"$%d\r\n%b\r\n" % (len(value), value)


@pytest.mark.parametrize(
    ("spoil", "load", "words"),
    [
        (lost_write, "mixed", "a read found something else"),
        (lost_write, "put", "a read found something else"),
        (no_replica, "put", "refused"),
        (other_key, "get", "a read found something else"),
        (nothing_there, "get", "refused"),
        (torn, "get", "a read found something else"),
    ],
)
def test_a_wrong_answer_is_a_fault(
    program: Path, serve: Callable[[Store], Endpoint], spoil: Answer, load: str, words: str
) -> None:
    store = Store()
    endpoint = serve(store)
    assert drive(program, endpoint, "load", 0)["faults"] == 0
    store.spoil = spoil
    found = drive(program, endpoint, load, 1)
    assert found["faults"] > 0
    assert words in found["fault"]


def test_nobody_there_is_a_fault(program: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = drive(program, Endpoint("127.0.0.1", port), "get", 1)
    assert found["requests"] == 0 and "cannot connect" in found["fault"]


def test_a_system_that_is_not_known_is_said(program: Path) -> None:
    with pytest.raises(Trouble):
        generator.run(program, "sqlite", [Endpoint("127.0.0.1", 1)], Order("get", 1, 1, 1, 1), lambda: None)
