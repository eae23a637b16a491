"""What the benchmark of clients counts as right, and the page that it writes."""

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.paths import BENCH

sys.path.insert(0, str(BENCH))

import clients
from callers import loops
from callers.environments import PINNED
from callers.kinds import DISTRIBUTIONS, KINDS, Kind
from callers.loops import Work
from callers.measuring import Measuring
from callers.processes import Process
from callers.with_sockets import Primaries
from harness.cluster import Trouble
from harness.load import Endpoint
from reporting import client_page
from reporting.client_page import PLAIN, UNLED
from reporting.figures import Figure, from_json
from reporting.report import Sample
from ringkeep.core.cluster.slots import partition_of

KEYS = 3


class Memory:
    """A store that blocks. `lost`: a write that is acknowledged and not kept."""

    def __init__(self, lost: bytes = b"") -> None:
        self.values: dict[bytes, bytes] = {}
        self.lost = lost

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        if key != self.lost:
            self.values[key] = value


class Awaited:
    """The same, awaited, and every answer late."""

    def __init__(self) -> None:
        self.store = Memory()
        self.together = self.most = 0

    async def get(self, key: bytes) -> bytes | None:
        await self._late()
        return self.store.get(key)

    async def put(self, key: bytes, value: bytes) -> None:
        await self._late()
        self.store.put(key, value)

    async def _late(self) -> None:
        self.together += 1
        self.most = max(self.most, self.together)
        await asyncio.sleep(0)
        self.together -= 1


# --- the loops --------------------------------------------------------------------------------------------


def test_a_read_must_find_what_was_written_last() -> None:
    store = Memory(lost=loops.key_of(1))
    assert loops.one_by_one(store, Work.of("put", [7] * KEYS), 0, KEYS)["faults"] == 0
    found = loops.one_by_one(store, Work.of("get", [7] * KEYS), 0, KEYS)
    assert (found["calls"], found["faults"]) == (KEYS, 1)
    assert "key-00000001" in found["fault"]


def test_an_older_value_is_wrong() -> None:
    store = Memory()
    loops.one_by_one(store, Work.of("put", [1] * KEYS), 0, KEYS)
    assert loops.one_by_one(store, Work.of("get", [2] * KEYS), 0, KEYS)["faults"] == KEYS


def test_a_refusal_is_wrong() -> None:
    class Full(Memory):
        def put(self, key: bytes, value: bytes) -> None:
            raise OSError("the disk is full")

    found = loops.one_by_one(Full(), Work.of("put", [1] * KEYS), 0, 1)
    assert found["faults"] == 1 and "the disk is full" in found["fault"]


def test_so_many_calls_are_under_way_at_a_time() -> None:
    store = Awaited()
    for load in ("put", "get"):
        found = asyncio.run(loops.side_by_side(store, Work.of(load, [1] * 100), 0, 100, tasks=8))
        assert found["calls"] >= 100 and found["faults"] == 0
    assert store.most == 8


def test_values_have_their_size() -> None:
    assert {len(loops.value_of(number, 999)) for number in (0, 99_999_999)} == {128}


# --- over sockets, and in a process of its own -------------------------------------------------------------


@pytest.fixture
def node() -> Iterator[Endpoint]:
    """A node of one thread for each connection, which sends every answer in two pieces."""
    store = Memory()

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as requests:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while line := requests.readline():
                method, target, _ = line.decode().split()
                length = 0
                while (field := requests.readline()) != b"\r\n":
                    name, _, value = field.decode().partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                key, body = target.removeprefix("/v1/kv/").encode(), requests.read(length)
                if method == "PUT":
                    store.put(key, body)
                found = store.get(key)
                status = "200 OK" if found is not None else "404 Not Found"
                answer = found or b"no such key"
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n\r\n"
                connection.sendall(head.encode()[:30])
                connection.sendall(head.encode()[30:] + answer)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Endpoint(*server.getsockname())
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_http_by_hand(node: Endpoint) -> None:
    store = Primaries([node, node], {"key-00000001": 1})
    assert store.get(b"key-00000001") is None
    store.put(b"key-00000001", b"value")
    assert store.get(b"key-00000001") == b"value"


def test_the_primaries_are_those_of_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [Endpoint("127.0.0.1", port) for port in (1, 2)]
    members = [{"name": f"node-{each.port}", "http": f"{each.host}:{each.port}"} for each in nodes]
    partitions = [{"partition": number, "primary": f"node-{2 - number % 2}"} for number in range(64)]
    said = {"/v1/cluster": {"members": members}, "/v1/cluster/partitions": {"partitions": partitions}}
    monkeypatch.setattr(clients, "fetch", lambda _, path: (200, json.dumps(said[path]).encode()))
    homes = clients.homes_of(nodes)
    assert len(homes) == clients.KEYS
    for key, home in homes.items():
        assert home == 1 - partition_of(key.encode(), 64) % 2
    said["/v1/cluster/partitions"] = {"partitions": []}
    with pytest.raises(Trouble, match="names other primaries"):
        clients.homes_of(nodes)


def test_clients_of_one_system_know_what_the_others_wrote(node: Endpoint, tmp_path: Path) -> None:
    """With real processes: each takes its steps, and reads what another has written."""

    class System:
        def pids(self) -> list[int]:
            return []

    kinds = [Kind(name, "it", "sockets", "OneNode") for name in ("first", "second")]
    clients = [Process(kind, Path(sys.executable), [node], {}, tmp_path / kind.name) for kind in kinds]
    try:
        for client in clients:
            client.started()
            client.ask("import")
            assert client.ask("set_up", distributions=["msgspec"])["versions"]["msgspec"]
            client.ask("open", keys=KEYS)
        measuring = Measuring({"it": System()}, clients, KEYS)  # type: ignore[dict-item]  # as far as asked
        assert not measuring.run(clients[0], "put", 0.0, KEYS).faults
        assert measuring.run(clients[1], "put", 0.0).requests == 1  # of one key there is a newer value now
        assert not measuring.run(clients[0], "get", 0.0, KEYS).faults
        figures = measuring.rounds(1, 0.01)
    finally:
        for client in clients:
            client.end()
    for figure in figures:
        assert set(figure.rounds[0]) == {"first", "second"}
        assert not any(sample.faults for sample in figure.rounds[0].values())


def test_a_client_that_ends_says_why(tmp_path: Path) -> None:
    kind = Kind("lost", "it", "none_of_these", "Blocking")
    client = Process(kind, Path(sys.executable), [], {}, tmp_path / "log")
    client.started()
    with pytest.raises(Trouble, match=r"(?s)lost ended:.*No module named 'callers.with_none_of_these'"):
        client.ask("import")


def test_every_kind_can_be_started() -> None:
    for kind in KINDS:
        assert (BENCH / "callers" / f"with_{kind.library}.py").exists(), kind
        assert kind.library in DISTRIBUTIONS
    assert all("==" in each for pinned in PINNED.values() for each in pinned)
    assert {PLAIN, UNLED} <= {kind.name for kind in KINDS}


# --- the page ---------------------------------------------------------------------------------------------


def sample(client_us: float, servers_us: float, faults: list[str] | None = None) -> Sample:
    calls = 1_000
    return Sample(
        calls, 2.0, 1.5, 9.0, calls * servers_us / 1e6, calls * client_us / 1e6, 0.0, faults or [],
        foreign_cpu=0.02,
    )  # fmt: skip


def result(rounds: list[dict[str, Sample]], **run: Any) -> dict[str, Any]:
    """What is kept of a run in which reads and writes cost the same."""
    names = list(rounds[0])
    facts = {"date": "2026-01-02", "commit": "abc", "core": "core compiled", "rounds": len(rounds)}
    facts |= {"seconds": 1.5, "keys": 1_000, "resting_keys": 256, "took_s": 240.0}
    figures = [Figure(load, 0, rounds) for load in ("put", "get")]
    one = {"bare": 10.0, "imported": 25.0, "before": 29.0, "rest": 31.5}
    return {
        "run": facts | run,
        "machine": {"cores": 2, "cpu": "a processor"},
        "systems": {"it": {"version": "It 1", "settings": "set", "writes": "w", "reads": "r"}},
        "clients": {name: {"tasks": 1, "versions": {"redis": "8.1.0"}} for name in names},
        "figures": client_page.figures_json(figures),
        "memory": [dict.fromkeys(names, one)],
    }


def five(**more: Sample) -> list[dict[str, Sample]]:
    return [{UNLED: sample(20, 400), PLAIN: sample(20, 200), **more} for _ in range(5)]


def rows_of(text: str, name: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_row_says_what_a_call_costs() -> None:
    text = client_page.page(result(five(Client=sample(130, 200))))
    put, get, memory = rows_of(text, "Client")
    assert put == get
    assert put[1:] == ["130 (130–130)", "200 (200–200)", "330", "1.50", "500", "1.50"]
    assert memory[1:] == ["10.0", "+ 15.0", "+ 2.5", "27.5"]
    assert "primary is 0.50 for PUT and 0.50 for GET of that through one node" in text
    assert "short run" not in text and "busy" not in text and "No run of this page was void" in text


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was ten times slower in the second round; that says nothing of either client."""
    rounds = [{PLAIN: sample(20, 180), "Client": sample(120, 180)}]
    rounds += [{PLAIN: sample(200, 1_800), "Client": sample(1_200, 1_800)}]
    assert client_page.ratio(Figure("put", 0, rounds), "Client", PLAIN) == pytest.approx(1.5)


def test_a_wrong_answer_voids_a_run() -> None:
    text = client_page.page(result(five(Client=sample(1, 1, ["3 wrong answers"]))))
    assert rows_of(text, "Client")[0][1:4] == ["void", "void", "–"]
    assert "Void in this run: Client, put 0, round 1: 3 wrong answers" in text


def test_a_short_run_on_a_busy_machine_is_called_so() -> None:
    rounds = [{"Client": Sample(10, 1.0, 1.0, 2.0, 0.1, 0.1, 0.0, foreign_cpu=0.5)}]
    text = client_page.page(result(rounds))
    assert "This is a short run" in text and "busy with other work**, which took 25%" in text
    assert "following the map" not in text


def test_what_is_kept_can_be_read_again(tmp_path: Path) -> None:
    kept = result(five())
    text = client_page.write(tmp_path, kept)
    read = json.loads((tmp_path / "client-benchmarks.json").read_text())
    assert from_json(read["figures"]) == from_json(kept["figures"])
    assert client_page.rewrite(tmp_path) == text == (tmp_path / "client-benchmarks.md").read_text()


def test_without_a_run_the_page_has_no_figures(tmp_path: Path) -> None:
    text = client_page.rewrite(tmp_path)
    assert "Not measured yet" in text and "|" not in text and "](client-benchmarks.json)" not in text
