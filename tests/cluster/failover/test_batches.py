"""Batches on real nodes: through any of them, retried through others, and whole when a primary is killed."""

import json
import threading
from collections.abc import Iterator
from http.client import HTTPException
from itertools import cycle
from typing import Any

import pytest
from tests.support.cluster.cluster import Answer, Cluster
from tests.support.wait import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

Members = dict[str, Any]
PARTS = 8
KILLS = 3
EACH = 15  # batches that are acknowledged between two kills


@pytest.fixture
def turn(nodes: Cluster) -> Iterator[str]:
    """The nodes in turn, so that most requests are forwarded."""
    return cycle(nodes.names)


def send(nodes: Cluster, via: str, operations: list[Members], once: str = "", **more: Any) -> Answer:
    """Send a batch; `once` is its Idempotency-Key."""
    headers = {"Idempotency-Key": once} if once else {}
    body = json.dumps({"operations": operations, **more}).encode()
    return nodes.request(via, "POST", "/v1/batch", body, headers)


def codes(answer: Answer) -> list[int]:
    assert answer.status == 200, answer
    return [each["status"] for each in answer.json["results"]]


def values(answer: Answer) -> list[str | None]:
    assert answer.status == 200, answer
    return [each.get("value") for each in answer.json["results"]]


def test_keys_of_all_partitions_in_one_request(nodes: Cluster, turn: Iterator[str]) -> None:
    keys = [f"many-{each}" for each in range(200)]
    puts = [{"op": "put", "key": key, "value": f"of {key}"} for key in keys]
    gets: list[Members] = [{"op": "get", "key": key} for key in keys]
    assert codes(send(nodes, next(turn), puts)) == [201] * 200
    for via in nodes.names:
        assert values(send(nodes, via, gets)) == [f"of {key}" for key in keys]
    mixed: list[Members] = [
        {"op": "add", "key": "mixed"}, {"op": "add", "key": "mixed", "by": 5}, {"op": "get", "key": keys[0]},
        {"op": "get", "key": "mixed"}, {"op": "take", "key": "mixed"}, {"op": "get", "key": "mixed"},
        {"op": "delete", "key": keys[1], "if_absent": True},
    ]  # fmt: skip
    for via in nodes.names:
        answer = send(nodes, via, mixed)
        assert codes(answer) == [201, 200, 200, 200, 200, 404, 412]
        assert values(answer)[:5] == ["1", "6", f"of {keys[0]}", "6", "6"], "each waits for the one before"


def test_a_retry_through_any_node_has_the_first_results(nodes: Cluster, turn: Iterator[str]) -> None:
    batches: list[tuple[str, list[Members], Members]] = []
    for name in ("single", "atomic"):
        tag = "{retries}" if name == "atomic" else ""
        operations: list[Members] = [
            {"op": "add", "key": f"{tag}{name}-n"}, {"op": "swap", "key": f"{tag}{name}-s", "value": "new"},
            {"op": "get", "key": f"{tag}{name}-s"}, {"op": "take", "key": f"{tag}{name}-t"},
            {"op": "put", "key": f"{tag}{name}-p", "value": "1", "if_absent": True},
        ]  # fmt: skip
        batches.append((name, operations, {"atomic": name == "atomic"}))
        for key in ("s", "t"):
            nodes.stored(next(turn), f"{tag}{name}-{key}".encode(), b"old")
    first = {name: send(nodes, next(turn), each, name, **more) for name, each, more in batches}
    for name, each, _ in batches:
        assert values(first[name]) == ["1", "old", "new", "old", None]
        for operation in each:
            nodes.stored(next(turn), operation["key"].encode(), b"later")

    def check() -> None:
        for name, each, more in batches:
            for via in nodes.running():
                again = send(nodes, via, each, name, **more)
                before, now = first[name].json["results"], again.json["results"]
                assert [now[i] for i in (0, 1, 3, 4)] == [before[i] for i in (0, 1, 3, 4)], (via, now)
                assert now[2]["value"] == "later" and now[2].get("replayed", False) is (name == "atomic")

    check()
    nodes.kill(nodes.where(b"{retries}")["primary"])
    nodes.wait_active()
    check()


class Readers:
    """Two threads that read all parts of the thing, in one batch each time, through every node."""

    def __init__(self, nodes: Cluster) -> None:
        self._nodes = nodes
        self._over = threading.Event()
        self.seen: list[list[str | None]] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def read_on(self) -> None:
        """Wait for some more reads."""
        seen = len(self.seen)
        until(lambda: len(self.seen) > seen + 3, "reads to go on")

    def _run(self) -> None:
        reads = [{"op": "get", "key": f"{{thing}}{part}"} for part in range(PARTS)]
        for via in cycle(self._nodes.names):
            if self._over.is_set():
                return
            try:
                answer = send(self._nodes, via, reads, atomic=True)
            except (OSError, HTTPException):
                continue  # it is the one that was killed
            if answer.status == 200:
                self.seen.append(values(answer))


def test_no_half_of_a_batch_is_ever_seen(nodes: Cluster, turn: Iterator[str]) -> None:
    """All parts have one number, whoever is killed meanwhile; a batch that was acknowledged is there."""
    number = sent = 0

    def write() -> bool:
        """Write the next number to all parts; on a failure the same again, under its key."""
        nonlocal number, sent
        puts: list[Members] = [
            {"op": "put", "key": f"{{thing}}{part}", "value": str(number + 1)} for part in range(PARTS)
        ]
        puts.append({"op": "add", "key": "{thing}count"})
        last = (
            {"key": "{thing}0", "if_absent": True} if not number else {"key": "{thing}0", "if_present": True}
        )
        sent += 1
        try:
            answer = send(nodes, next(turn), puts, f"number-{number + 1}", atomic=True, conditions=[last])
        except (OSError, HTTPException):
            return False
        assert answer.status in (200, 429, 503, 504), answer
        number += answer.status == 200
        return answer.status == 200

    with Readers(nodes) as readers:
        for _ in range(KILLS):
            for _ in range(EACH):
                until(write, lambda: f"batch {number + 1} to be acknowledged")
            victim = nodes.where(b"{thing}", via=nodes.running()[0])["primary"]
            nodes.kill(victim)
            for _ in range(EACH):
                until(write, lambda: f"batch {number + 1} to be acknowledged after a kill")
            readers.read_on()
            nodes.start(victim)
            nodes.wait_ready(victim)
    assert number == 2 * KILLS * EACH
    halves = [each for each in readers.seen if len(set(each)) != 1]
    assert not halves, f"{len(halves)} of {len(readers.seen)} reads saw a half, the first: {halves[0]}"
    assert len({each[0] for each in readers.seen}) > 2 * KILLS, "they saw it change"
    for via in nodes.wait_active().names:
        found = send(
            nodes, via, [{"op": "get", "key": f"{{thing}}{part}"} for part in (*range(PARTS), "count")]
        )
        assert values(found) == [str(number)] * (PARTS + 1), f"each was applied once ({sent} were sent)"


def test_of_many_that_rely_on_one_version_one_wins_whole(nodes: Cluster, turn: Iterator[str]) -> None:
    version = nodes.stored(next(turn), b"{race}guard", b"0")
    read = [{"op": "get", "key": f"{{race}}{part}"} for part in range(PARTS)]
    for race in range(5):
        answers: dict[str, Answer] = {}

        def run(runner: str, via: str, held: int, answers: dict[str, Answer]) -> None:
            parts = ["guard", *map(str, range(PARTS))]
            answers[runner] = send(
                nodes, via, [{"op": "put", "key": f"{{race}}{part}", "value": runner} for part in parts],
                atomic=True, conditions=[{"key": "{race}guard", "if_version": held}],
            )  # fmt: skip

        runners = [
            threading.Thread(target=run, args=(f"{race}-{each}", next(turn), version, answers))
            for each in range(4)
        ]
        for each in runners:
            each.start()
        for each in runners:
            each.join()
        assert sorted(answer.status for answer in answers.values()) == [200, 412, 412, 412]
        winner, won = next(item for item in answers.items() if item[1].status == 200)
        version = won.json["version"]
        assert set(values(send(nodes, next(turn), read, atomic=True))) == {winner}
        for lost in answers.values():
            if lost is not won:
                assert lost.json["failed"] == [{"condition": 0, "key": "{race}guard", "version": version}]
