"""`ringkeep watch`: each change once, across breaks; what ends it, and what it prints."""

import json
from collections.abc import Callable
from typing import Any

from tests.support.cli.fake_node import FakeNode, Reply, one_line, problem, ringkeep

Fake = Callable[..., FakeNode]
GONE = problem(410, "History is cut")


def stream(*documents: dict[str, Any]) -> Reply:
    return (
        200,
        {"Content-Type": "application/x-ndjson"},
        b"".join(json.dumps(d).encode() + b"\n" for d in documents),
    )


def bookmark(cursor: str) -> dict[str, Any]:
    return {"event": "bookmark", "age": 3, "cursor": cursor}


def put(key: str, version: int, **more: Any) -> dict[str, Any]:
    return {"event": "put", "key": key, "version": version, **more}


def test_each_change_once_across_breaks(fake: Fake) -> None:
    node = fake(
        stream(bookmark("one"), put("user/a", 5), put("user/b", 6)),
        problem(503, "Unavailable"),
        stream(bookmark("one"), put("user/b", 6), put("user/a", 7), bookmark("two")),
        stream(bookmark("two"), {"event": "delete", "key": "user/a", "version": 8}),
        GONE,
    )
    done = ringkeep("watch", "user/", "--after", "zero", "--endpoint", node.url)
    lines = ["put\tuser/a\t5", "put\tuser/b\t6", "put\tuser/a\t7", "delete\tuser/a\t8"]
    assert done.stdout.decode().splitlines() == lines
    assert done.returncode == 1 and b"History is cut" in done.stderr.splitlines()[-1]
    assert [each.headers["Ringkeep-After"] for each in node.seen] == ["zero", "one", "one", "two", "two"]
    assert {each.target for each in node.seen} == {"/v1/changes?prefix=user%2F"}


def test_what_a_line_shows(fake: Fake) -> None:
    node = fake(
        stream(
            put("a\tb", 5, value="x\ny"),
            {"event": "put", "key_base64": "/w==", "version": 6, "value_base64": "/w=="},
            {"event": "expire", "key": "a\tb", "version": 7}, {"event": "gone", "detail": "List again."},
        )
    )  # fmt: skip
    done = ringkeep("watch", "--values", "--endpoint", node.url)
    assert (
        done.stdout.decode() == "put\ta\\tb\t5\tx\\ny\nput\tbase64:/w==\t6\tbase64:/w==\nexpire\ta\\tb\t7\n"
    )
    assert (done.returncode, done.stderr) == (1, b"ringkeep: List again.\n")
    assert node.seen[0].target.endswith("values=true")


def test_json(fake: Fake) -> None:
    documents = [bookmark("one"), put("a", 5)]
    node = fake(stream(*documents), GONE)
    done = ringkeep("watch", "--json", "--endpoint", node.url)
    assert [json.loads(line) for line in done.stdout.splitlines()] == documents
    assert done.returncode == 1


def test_nobody_answers() -> None:
    done = ringkeep("watch", "--endpoint", "127.0.0.1:1", "--timeout", "100ms")
    assert done.returncode == 4 and one_line(done.stderr.decode())


def test_a_wrong_cursor(fake: Fake) -> None:
    done = ringkeep("watch", "--after", "x", "--endpoint", fake(problem(400, "Bad request")).url)
    assert done.returncode == 1 and b"Bad request" in done.stderr
