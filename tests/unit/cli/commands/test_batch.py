"""`ringkeep batch`: what is sent, what is printed, which exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.cli.fake_node import FakeNode, Reply, one_line, problem, ringkeep

Fake = Callable[..., FakeNode]
BATCH = json.dumps({"operations": [{"op": "put", "key": "a", "value": "1"}, {"op": "get", "key": "b"}]})


def said(*results: dict[str, Any]) -> Reply:
    return 200, {"Content-Type": "application/json"}, json.dumps({"results": results}).encode()


def test_a_batch_from_a_file(fake: Fake, tmp_path: Path) -> None:
    node = fake(said({"status": 201, "version": 7}, {"status": 200, "version": 5, "value": "x\ny"}))
    (tmp_path / "batch.json").write_text(BATCH)
    done = ringkeep("batch", str(tmp_path / "batch.json"), "--endpoint", node.url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        "OP   KEY  STATUS  VERSION  VALUE",
        "put  a    201     7        –",
        "get  b    200     5        x\\ny",
    ]
    seen = node.seen[-1]
    assert (seen.method, seen.target) == ("POST", "/v1/batch?timeout=5000ms") or "timeout=" in seen.target
    assert seen.body.decode() == BATCH and len(seen.headers["Idempotency-Key"]) == 36


@pytest.mark.parametrize(
    ("statuses", "code"),
    [((200, 204), 0), ((404, 200), 3), ((412, 404), 1), ((413, 200), 1), ((503, 412), 4), ((201, 504), 4)],
)
def test_exit_codes(fake: Fake, statuses: tuple[int, int], code: int) -> None:
    node = fake(said(*({"status": status, "detail": "why"} for status in statuses)))
    done = ringkeep("batch", "-", "--json", "--endpoint", node.url, stdin=BATCH.encode())
    assert done.returncode == code
    assert [each["status"] for each in json.loads(done.stdout)["results"]] == list(statuses)


def test_a_batch_that_is_refused(fake: Fake, tmp_path: Path) -> None:
    failed = [{"condition": 0, "key": "a", "version": 7}, {"position": 1, "key": "b", "version": 0}]
    status, headers, body = problem(412, "Condition failed")  # type: ignore[misc]
    node = fake((status, headers, json.dumps({**json.loads(body), "failed": failed}).encode()))
    done = ringkeep("batch", "-", "--endpoint", node.url, stdin=BATCH.encode())
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "ringkeep: a condition does not hold: condition 0, whose key 'a' has version 7; operation 1, whose "
        "key 'b' does not exist (not applied)\n"
    )
    node = fake(problem(400, "Bad request"))
    done = ringkeep("batch", "-", "--endpoint", node.url, stdin=b"{}")
    assert done.returncode == 1 and one_line(done.stderr.decode())
    missing = ringkeep("batch", str(tmp_path / "none"), "--endpoint", node.url)
    assert missing.returncode == 2 and "none" in missing.stderr.decode()
