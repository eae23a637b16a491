"""`ringkeep list`, `count` and `delete --prefix` against a scripted node."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.cli.fake_node import FakeNode, Reply, one_line, problem, ringkeep

from ringkeep.cli import main

Fake = Callable[..., FakeNode]
LINES = {"Content-Type": "application/x-ndjson"}


def stream(*rows: dict[str, Any], **end: Any) -> Reply:
    """Return the answer of these lines; `end` are the members of the last one: without it, it is cut off."""
    lines = [*rows, end] if end else rows
    return 200, LINES, b"".join(json.dumps(row).encode() + b"\n" for row in lines)


def answered(**members: Any) -> Reply:
    return 200, {"Content-Type": "application/json"}, json.dumps(members).encode()


def targets(node: FakeNode) -> list[str]:
    return [f"{each.method} {each.target.partition('timeout=')[0][:-1]}" for each in node.seen]


A, B = {"key": "a", "version": 1}, {"key": "b", "version": 2}
COMPLETE = {"end": True, "count": 2}

# --- list ----------------------------------------------------------------------------------------------


def test_keys_are_listed_one_on_each_line(fake: Fake) -> None:
    node = fake(stream(A, B, **COMPLETE))
    done = ringkeep("list", "--endpoint", node.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\nb\n", b"")
    assert targets(node) == ["GET /v1/kv"]
    assert node.seen[0].headers["Accept"] == "application/x-ndjson"


def test_the_range_is_sent_byte_for_byte(fake: Fake) -> None:
    node = fake(stream(end=True, count=0))
    given = ["a b/", "--after", os.fsdecode(b"a b/\xff"), "--before", "é", "--limit", "7", "--values"]
    done = ringkeep("list", *given, "--endpoint", node.url)
    assert (done.returncode, done.stdout) == (0, b"")
    query = "prefix=a%20b%2F&after=a%20b%2F%FF&before=%C3%A9&limit=7&values=true"
    assert targets(node) == [f"GET /v1/kv?{query}"]


def test_what_is_no_text_is_shown_readably(fake: Fake) -> None:
    odd = [{"key": "tab\tline\nback\\"}, {"key_base64": "/2E="}, {"key": "\x1b[31m\u202e"}, {"key": "é"}]
    node = fake(stream(*odd, end=True, count=4))
    shown = ringkeep("list", "--endpoint", node.url, PYTHONIOENCODING="utf-8").stdout.decode().splitlines()
    assert shown == [r"tab\tline\nback\\", r"\xffa", r"\x1b[31m\xe2\x80\xae", "é"]
    ascii_only = ringkeep("list", "--endpoint", node.url, PYTHONIOENCODING="ascii").stdout
    assert ascii_only.splitlines()[3] == rb"\xc3\xa9", "no two keys look the same"


def test_values_and_json(fake: Fake) -> None:
    rows = [A | {"value": "v\n", "content_type": "text/plain"}, B | {"value_base64": "/w=="}]
    node = fake(stream(*rows, **COMPLETE))
    assert ringkeep("list", "--values", "--endpoint", node.url).stdout == b"a\tv\\n\nb\t\\xff\n"
    done = ringkeep("list", "--values", "--json", "--endpoint", node.url)
    assert [json.loads(line) for line in done.stdout.splitlines()] == rows, "as the node sends them"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], "2 keys were listed; go on with the same command and --after=b\n"),
        (["--limit", "9"], "2 keys were listed; go on with the same command and --after=b --limit 7\n"),
    ],
)
def test_a_listing_that_is_cut_off_says_where_to_go_on(fake: Fake, options: list[str], wanted: str) -> None:
    node = fake(stream(A, B))
    done = ringkeep("list", *options, "--endpoint", node.url)
    assert (done.returncode, done.stdout) == (4, b"a\nb\n")
    assert one_line(done.stderr.decode()) and done.stderr.decode().endswith(wanted), done.stderr


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"key": "it's"}, """--after='it'"'"'s'"""), ({"key_base64": "/yc="}, r"--after=$'\xff\''"),
        ({"key": "a\nb\\"}, r"--after=$'a\nb\\'"), ({"key": "a\0"}, "after=a%00 over HTTP (/v1/kv)"),
        ({"key": "-"}, "--after=-"),
    ],
)  # fmt: skip
def test_the_key_to_go_on_after_is_for_a_shell(fake: Fake, row: dict[str, str], word: str) -> None:
    said = ringkeep("list", "--endpoint", fake(stream(row)).url).stderr.decode()
    assert said.endswith(f"1 key was listed; go on with the same command and {word}\n"), said


def test_a_stream_that_fails_says_why(fake: Fake) -> None:
    error = {"title": "Unavailable", "detail": "Partition 3 has no primary."}
    done = ringkeep("list", "--json", "--endpoint", fake(stream(A, end=False, count=1, error=error)).url)
    said = json.loads(done.stderr)
    assert (done.returncode, said["exit_code"]) == (4, 4)
    assert "Partition 3 has no primary." in said["error"] and "--after=a" in said["error"]
    done = ringkeep("list", "--endpoint", fake(stream(end=False, count=0, error=error)).url)
    assert done.returncode == 4 and b"no key was listed" in done.stderr


def test_a_listing_that_cannot_begin_is_tried_elsewhere(fake: Fake, nowhere: str) -> None:
    forming, good = fake(problem(503, "Unavailable")), fake(stream(A, B, **COMPLETE))
    urls = ",".join((nowhere, forming.url, good.url))
    assert ringkeep("list", "--endpoint", urls).stdout == b"a\nb\n"
    assert ringkeep("list", "--endpoint", nowhere).returncode == 4
    refused = ringkeep("list", "--endpoint", fake(problem(400, "Bad")).url)
    assert (refused.returncode, refused.stderr) == (1, b"ringkeep: Bad: because\n")


class Slow:
    """A node that sends some keys in chunks, and then waits."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connection: socket.socket | None = None

    def answer(self, rows: int) -> None:
        self.connection, _ = self._listener.accept()
        while b"\r\n\r\n" not in self.connection.recv(65_536):
            pass
        body = b"".join(b'{"key":"k%07d","version":1}\n' % number for number in range(rows))
        self.connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.tell(body)

    def tell(self, lines: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(b"%x\r\n%b\r\n" % (len(lines), lines))

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self._listener.close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    node = Slow()
    yield node
    node.close()


def begun(*arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "ringkeep.cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_keys_are_printed_as_they_come_and_ctrl_c_says_where_to_go_on(slow: Slow) -> None:
    with begun("list", "--endpoint", slow.url, "--timeout", "30s") as command:
        slow.answer(3)
        assert command.stdout is not None and command.stderr is not None
        assert [command.stdout.readline() for _ in range(3)][-1] == b"k0000002\n"
        slow.tell(b'{"key":"k0000003","version":1}\n')  # when it is shown, those before are noted
        assert command.stdout.readline() == b"k0000003\n"
        command.send_signal(signal.SIGINT)
        said = command.stderr.read().decode()
    assert command.returncode == 130
    assert one_line(said) and "interrupted" in said and "--after=k000000" in said


def test_a_connection_that_breaks_is_no_end(slow: Slow) -> None:
    with begun("list", "--endpoint", slow.url) as command:
        slow.answer(3)
        slow.close()
        out, said = command.communicate(timeout=60)
    assert (command.returncode, out.count(b"\n")) == (4, 3)
    assert said.endswith(b"3 keys were listed; go on with the same command and --after=k0000002\n")


def test_a_reader_that_has_enough_ends_it(slow: Slow) -> None:
    with begun("list", "--endpoint", slow.url) as command:
        slow.answer(50_000)
        assert command.stdout is not None and command.stderr is not None
        assert command.stdout.readline() == b"k0000000\n"
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 1


# --- count ---------------------------------------------------------------------------------------------


def test_count(fake: Fake) -> None:
    node = fake(answered(count=1_234))
    assert ringkeep("count", "a", "--before", "b", "--endpoint", node.url).stdout == b"1234\n"
    assert targets(node) == ["GET /v1/kv?prefix=a&before=b&count=true"]
    assert json.loads(ringkeep("count", "--json", "--endpoint", node.url).stdout) == {"count": 1_234}


# --- delete --prefix -----------------------------------------------------------------------------------


def test_a_deletion_begins_and_goes_on_with_the_same_until(fake: Fake) -> None:
    node = fake(
        answered(count=0, next="", until="U"),
        answered(count=10_000, next="a/9", until="U"),
        answered(count=1, next_base64="/w==", until="U"),
        answered(count=5, next=None, until="U"),
    )
    done = ringkeep("delete", "--prefix", "a/", "--endpoint", node.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"10,006 keys deleted\n", b"")
    assert targets(node) == [
        "DELETE /v1/kv?prefix=a%2F&limit=0",
        "DELETE /v1/kv?prefix=a%2F&after=",
        "DELETE /v1/kv?prefix=a%2F&after=a%2F9",
        "DELETE /v1/kv?prefix=a%2F&after=%FF",
    ]
    assert [each.headers.get("Ringkeep-Until") for each in node.seen] == [None, "U", "U", "U"]
    assert not any("Idempotency-Key" in each.headers for each in node.seen)


def test_all_keys_are_deleted_only_where_that_is_said(fake: Fake) -> None:
    node = fake(answered(count=0, next="", until="U"), answered(count=1, next=None, until="U"))
    done = ringkeep("delete", "--all", "--json", "--endpoint", node.url)
    assert json.loads(done.stdout) == {"status": "Success", "deleted": 1}
    assert targets(node) == ["DELETE /v1/kv?limit=0&all=true", "DELETE /v1/kv?after=&all=true"]


def unknown(**members: Any) -> Reply:
    body = {"title": "Timed out", "detail": "because", "outcome": "unknown", **members}
    return 504, {"Content-Type": "application/problem+json"}, json.dumps(body).encode()


def test_what_is_not_known_is_repeated_and_said(fake: Fake) -> None:
    node = fake(
        answered(count=0, next="", until="U"),
        unknown(count=40, unknown=3, next="a/5", until="U"),
        answered(count=2, next=None, until="U"),
    )
    done = ringkeep("delete", "--prefix", "a/", "--endpoint", node.url)
    assert done.returncode == 0
    assert done.stdout == b"42 keys deleted, and up to 3 more of which it is not known\n"
    node = fake(answered(count=0, next="", until="U"), None, answered(count=2, next=None, until="U"))
    done = ringkeep("delete", "--prefix", "a/", "--endpoint", node.url)
    assert done.stdout == b"2 keys deleted, and perhaps more: an answer was lost\n"


def test_a_deletion_that_is_broken_off_says_how_to_go_on(fake: Fake) -> None:
    node = fake(
        answered(count=0, next="", until="U"),
        answered(count=9, next="a/ b", until="U"),
        problem(503, "Unavailable"),
    )
    done = ringkeep("delete", "--prefix", "a/", "--timeout", "300ms", "--endpoint", node.url)
    assert (done.returncode, done.stdout) == (4, b"")
    wanted = "; 9 keys deleted; go on with the same command and --after='a/ b' --until=U\n"
    assert one_line(done.stderr.decode()) and done.stderr.decode().endswith(wanted), done.stderr
    node = fake(answered(count=3, next=None, until="U"))
    given = ["--after", "a/ b", "--until", "U"]
    assert ringkeep("delete", "--prefix", "a/", *given, "--endpoint", node.url).stdout == b"3 keys deleted\n"
    assert node.seen[0].headers["Ringkeep-Until"] == "U"
    stuck = fake(answered(count=0, next="", until="U"), unknown(count=0, unknown=1, next=None, until="U"))
    done = ringkeep("delete", "--prefix", "a/", "--timeout", "300ms", "--endpoint", stuck.url)
    assert done.returncode == 4 and b"Timed out" in done.stderr


def test_a_deletion_that_cannot_begin_deletes_nothing(fake: Fake, nowhere: str) -> None:
    done = ringkeep("delete", "--prefix", "a", "--endpoint", nowhere)
    assert done.returncode == 4 and done.stderr.endswith(b"; nothing was deleted\n")
    done = ringkeep("delete", "--prefix", "a", "--endpoint", fake(answered(hello="there")).url)
    assert done.returncode == 1 and one_line(done.stderr.decode())


# --- usage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "a", "b"], ["list", "--limit", "0"], ["list", "--before", ""],
        ["list", "--after", "k" * 1025], ["list", "--timeout", "31s"],
        ["count", "--limit", "3"], ["delete"], ["delete", "--prefix", ""],
        ["delete", "k", "--prefix", "a"], ["delete", "k", "--all"], ["delete", "--prefix", "a", "--all"],
        ["delete", "--prefix", "a", "--if-version", "3"], ["delete", "k", "--after", "a"],
        ["delete", "k", "--until", "U"],
    ],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == 2
    printed = capsys.readouterr()
    assert one_line(printed.err), printed.err
