"""Operations and times to live on the command line: what is sent, what is printed, which exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.cli.fake_node import FakeNode, Reply, one_line, problem, ringkeep

Fake = Callable[..., FakeNode]


def said(status: int = 200, **members: Any) -> Reply:
    body = json.dumps({"key": "k", "version": 9, **members}).encode()
    return status, {"Content-Type": "application/json", "ETag": '"9"'}, body


def sent(node: FakeNode) -> dict[str, Any]:
    """Return the last operation that a node got; every one is safe to repeat."""
    seen = node.seen[-1]
    assert (seen.method, seen.target.partition("?")[0]) == ("POST", "/v1/kv/k")
    assert len(seen.headers["Idempotency-Key"]) == 36
    members: dict[str, Any] = json.loads(seen.body)
    return members


@pytest.mark.parametrize(
    ("arguments", "members"),
    [
        ([], {"by": 1, "initial": 0}),
        (["5"], {"by": 5, "initial": 0}),
        (["-3", "--initial", "-10"], {"by": -3, "initial": -10}),
        (["--ttl", "1m"], {"by": 1, "initial": 0, "ttl": "1m"}),
        ([str(2**63 - 1)], {"by": 2**63 - 1, "initial": 0}),
    ],
)
def test_add_prints_the_sum(fake: Fake, arguments: list[str], members: dict[str, Any]) -> None:
    node = fake(said(value="42"))
    done = ringkeep("add", "k", *arguments, "--endpoint", node.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"42\n", b"")
    assert sent(node) == {"op": "add", **members}


def test_append_and_swap_take_any_bytes(fake: Fake, tmp_path: Path) -> None:
    node = fake(said(201, length=2))
    done = ringkeep("append", "k", "--endpoint", node.url, stdin=b"\xff\0")
    assert (done.returncode, done.stdout) == (0, b"")
    assert sent(node) == {"op": "append", "value_base64": "/wA="}
    node = fake(said(replaced=True, value_base64="/wA="), said(201, replaced=False))
    (tmp_path / "new").write_text("ü")
    command = ("swap", "k", "--file", str(tmp_path / "new"), "--ttl", "keep", "--endpoint", node.url)
    assert ringkeep(*command).stdout == b"\xff\0"
    assert sent(node) == {"op": "swap", "ttl": "keep", "value": "ü"}
    first = ringkeep(*command)
    assert (first.returncode, first.stdout) == (0, b"")


def test_take_touch_and_persist(fake: Fake) -> None:
    node = fake(said(value="old"))
    assert ringkeep("take", "k", "--endpoint", node.url).stdout == b"old"
    assert sent(node) == {"op": "take"}
    node = fake(said())
    for command, members in (
        (("touch", "k", "30m"), {"op": "touch", "ttl": "30m"}),
        (("persist", "k"), {"op": "persist"}),
    ):
        done = ringkeep(*command, "--if-version", "7", "--endpoint", node.url)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert sent(node) == members and node.seen[-1].headers["If-Match"] == '"7"'


def test_json_is_what_the_node_said(fake: Fake) -> None:
    for command in (
        ("add", "k"),
        ("append", "k", "v"),
        ("swap", "k", "v"),
        ("take", "k"),
        ("touch", "k", "1s"),
    ):
        node = fake(said(value="v", replaced=True, length=1))
        shown = json.loads(ringkeep(*command, "--json", "--endpoint", node.url).stdout)
        assert shown == {
            "status": "Success", "key": "k", "version": 9, "value": "v", "replaced": True, "length": 1,
        }  # fmt: skip


@pytest.mark.parametrize("command", [("take", "k"), ("touch", "k", "1s"), ("persist", "k")])
def test_a_key_that_is_not_there_is_exit_code_3(fake: Fake, command: tuple[str, ...]) -> None:
    done = ringkeep(*command, "--endpoint", fake(problem(404, "Key not found")).url)
    assert (done.returncode, done.stdout) == (3, b"")
    assert one_line(done.stderr.decode())


def test_refusals_say_that_nothing_was_applied(fake: Fake) -> None:
    for status, command, words in (
        (409, ("add", "k"), "because"),
        (412, ("add", "k", "--if-absent"), "version 9"),
        (413, ("append", "k", "v"), "because"),
        (413, ("swap", "k", "v"), "ringkeep get --verbose, then ringkeep put --if-version"),
        (413, ("take", "k"), "ringkeep get --verbose, then ringkeep delete --if-version"),
    ):
        done = ringkeep(*command, "--endpoint", fake(problem(status, "Refused", ETag='"9"')).url)
        text = done.stderr.decode()
        assert done.returncode == 1 and one_line(text)
        assert words in text and "(not applied)" in text


def test_put_gives_a_time_to_live(fake: Fake) -> None:
    node = fake((201, {"ETag": '"7"'}, b""))
    for ttl in ("30s", "keep"):
        assert ringkeep("put", "k", "v", "--ttl", ttl, "--endpoint", node.url).returncode == 0
        assert node.seen[-1].target.startswith(f"/v1/kv/k?ttl={ttl}&timeout=")


def test_get_shows_the_time_to_live(fake: Fake) -> None:
    node = fake((200, {"ETag": '"3"', "Ringkeep-TTL": "29312", "Content-Type": "a/b"}, b"v"))
    shown = json.loads(ringkeep("get", "k", "--json", "--endpoint", node.url).stdout)
    assert shown == {"key": "k", "value": "v", "version": 3, "ttl": 29312}
    done = ringkeep("get", "k", "--verbose", "--endpoint", node.url)
    assert (done.stdout, done.stderr) == (b"v", b"version 3, a/b, expires in 29 s\n")
    for_ever = fake((200, {"ETag": '"3"', "Content-Type": "a/b"}, b"v"))
    assert b"lives for ever" in ringkeep("get", "k", "-v", "--endpoint", for_ever.url).stderr
