"""The command line against a scripted node: what is sent, what is printed, which exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from tests.support.cli.fake_node import FakeNode, one_line, problem, ringkeep

from ringkeep import __version__
from ringkeep.cli import app, main

# --- put, get, delete ----------------------------------------------------------------------------------


def test_put_sends_raw_bytes_with_a_key_for_retries(fake: Callable[..., FakeNode]) -> None:
    node = fake((201, {"ETag": '"7"'}, b""))
    done = ringkeep("put", "a b/+%é", "wörld", "--endpoint", node.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    [seen] = node.seen
    assert seen.method == "PUT"
    assert seen.target.startswith("/v1/kv/a%20b%2F%2B%25%C3%A9?timeout=")
    assert seen.body == "wörld".encode()
    assert len(seen.headers["Idempotency-Key"]) == 36
    assert "If-Match" not in seen.headers


@pytest.mark.parametrize("arguments", [["-"], []])
def test_put_takes_the_value_from_standard_input(fake: Callable[..., FakeNode], arguments: list[str]) -> None:
    node = fake((200, {"ETag": '"8"'}, b""))
    assert ringkeep("put", "k", *arguments, "--endpoint", node.url, stdin=b"\0\xff\n").returncode == 0
    assert node.seen[0].body == b"\0\xff\n"


def test_put_takes_the_value_from_a_file(fake: Callable[..., FakeNode], tmp_path: Path) -> None:
    node = fake((200, {"ETag": '"8"'}, b""))
    (tmp_path / "value").write_bytes(b"")
    done = ringkeep("put", "k", "--file", str(tmp_path / "value"), "--json", RINGKEEP_ENDPOINTS=node.url)
    assert json.loads(done.stdout) == {"status": "Success", "key": "k", "version": 8, "created": False}
    assert node.seen[0].headers["Content-Length"] == "0"
    missing = ringkeep("put", "k", "--file", str(tmp_path / "none"), "--endpoint", node.url)
    assert missing.returncode == 1
    assert one_line(missing.stderr.decode())


def test_conditions(fake: Callable[..., FakeNode]) -> None:
    node = fake(problem(412, "Precondition failed", ETag='"9"'))
    done = ringkeep("put", "k", "v", "--if-version", "7", "--endpoint", node.url)
    assert node.seen[0].headers["If-Match"] == '"7"'
    assert done.returncode == 1
    assert b"version 9" in done.stderr and b"not applied" in done.stderr
    assert ringkeep("put", "k", "v", "--if-absent", "--endpoint", node.url).returncode == 1
    assert node.seen[1].headers["If-None-Match"] == "*"
    assert ringkeep("delete", "k", "--if-version", "7", "--endpoint", node.url).returncode == 1
    assert node.seen[2].headers["If-Match"] == '"7"'


def test_get_writes_the_bare_value(fake: Callable[..., FakeNode]) -> None:
    node = fake((200, {"ETag": '"3"'}, b"\xff\0world"))
    done = ringkeep("get", "k", "--endpoint", node.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\xff\0world", b"")
    shown = json.loads(ringkeep("get", "k", "--json", "--endpoint", node.url).stdout)
    assert shown == {"key": "k", "value_base64": "/wB3b3JsZA==", "version": 3}


def test_a_key_need_not_be_utf8(fake: Callable[..., FakeNode]) -> None:
    node = fake((200, {"ETag": '"3"'}, b"v"))
    assert ringkeep("get", os.fsdecode(b"\xff"), "--endpoint", node.url).stdout == b"v"
    assert node.seen[0].target.startswith("/v1/kv/%FF?")


@pytest.mark.parametrize("command", ["get", "delete"])
def test_a_missing_key_is_exit_code_3(fake: Callable[..., FakeNode], command: str) -> None:
    node = fake(problem(404, "Not found"))
    done = ringkeep(command, "k", "--endpoint", node.url)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"ringkeep: there is no key 'k'\n"


def test_delete(fake: Callable[..., FakeNode]) -> None:
    node = fake((204, {}, b""))
    assert ringkeep("delete", "k", "--endpoint", node.url).returncode == 0
    assert node.seen[0].method == "DELETE"
    assert "Idempotency-Key" in node.seen[0].headers


# --- several endpoints, failures -----------------------------------------------------------------------


def test_the_next_endpoint_gets_the_same_write(fake: Callable[..., FakeNode], nowhere: str) -> None:
    broken, forming = fake(None), fake(problem(503, "Unavailable"))
    good = fake((201, {"ETag": '"1"'}, b""))
    urls = ",".join((nowhere, broken.url, forming.url, good.url))
    assert ringkeep("put", "k", "v", "--endpoint", urls).returncode == 0
    keys = {node.seen[0].headers["Idempotency-Key"] for node in (broken, forming, good)}
    assert len(keys) == 1


def test_a_busy_cluster_is_asked_again(fake: Callable[..., FakeNode]) -> None:
    node = fake(problem(503, "Unavailable"), problem(429, "Busy"), (200, {"ETag": '"1"'}, b"v"))
    assert ringkeep("get", "k", "--endpoint", node.url).stdout == b"v"
    assert len(node.seen) == 3


def test_an_unknown_outcome_is_tried_again_and_said(fake: Callable[..., FakeNode]) -> None:
    node = fake(problem(504, "Timed out", "unknown"), (200, {"ETag": '"1"'}, b""))
    assert ringkeep("put", "k", "v", "--endpoint", node.url).returncode == 0
    node = fake(problem(504, "Timed out", "unknown"), problem(503, "Unavailable"))
    done = ringkeep("put", "k", "v", "--timeout", "300ms", "--endpoint", node.url)
    assert done.returncode == 4
    assert b"outcome unknown" in done.stderr, "one attempt may have been applied, whatever the next said"


def test_nobody_there_is_exit_code_4_at_once(nowhere: str) -> None:
    done = ringkeep("put", "k", "v", "--timeout", "30s", "--endpoint", nowhere)
    assert done.returncode == 4
    assert one_line(done.stderr.decode())
    assert b"connection refused" in done.stderr and b"(not applied)" in done.stderr
    assert ringkeep("get", "k", RINGKEEP_ENDPOINTS=nowhere).returncode == 4


def test_unavailable_until_the_deadline_is_exit_code_4(fake: Callable[..., FakeNode]) -> None:
    node = fake(problem(503, "No quorum"))
    done = ringkeep("put", "k", "v", "--timeout", "300ms", "--endpoint", node.url)
    assert done.returncode == 4
    assert one_line(done.stderr.decode())
    assert b"No quorum: because (not applied)" in done.stderr


def test_a_refused_write_says_that_it_was_not_applied(fake: Callable[..., FakeNode]) -> None:
    node = fake(problem(413, "Too large"))
    done = ringkeep("put", "k", "v", "--endpoint", node.url)
    assert (done.returncode, done.stderr) == (1, b"ringkeep: Too large: because (not applied)\n")


# --- a look inside ---------------------------------------------------------------------------------------

MEMBER = {"name": "node-1", "id": "x", "http": "h:1", "peer": "h:2", "zone": "z", "weight": 1}
MEMBER |= {"state": "active", "primaries": 2, "replicas": 3, "version": "0.1"}
CLUSTER = {"cluster": "c", "cluster_id": "i", "map_version": 4, "controller": None, "health": "healthy"}
CLUSTER |= {"zookeeper": "connected", "settings": {}, "members": [MEMBER]}
PARTITIONS = {"partitions": [
    {"partition": p, "epoch": 1, "primary": primary, "voters": ["node-1", "node-2"], "old_voters": [],
     "learners": [], "commit": 5, "state": "active"}
    for p, primary in enumerate(["node-1", "node-1", None, "node-1"])
]}  # fmt: skip


def test_status_fits_80_columns(fake: Callable[..., FakeNode]) -> None:
    members = [
        MEMBER
        | {
            "name": f"node-{n}",
            "http": f"127.0.0.1:80{n}0",
            "primaries": 52,
            "replicas": 154,
            "damaged": True,
        }
        for n in range(1, 6)
    ]
    cluster = CLUSTER | {
        "cluster": "default",
        "cluster_id": "c" * 32,
        "controller": "node-1",
        "members": members,
    }
    node = fake((200, {"Content-Type": "application/json"}, json.dumps(cluster).encode()))
    lines = ringkeep("status", "--endpoint", node.url).stdout.decode().splitlines()
    assert len(lines) >= 8 and max(map(len, lines)) <= 80, lines


@pytest.mark.parametrize(
    ("command", "answer", "words"),
    [
        (["status"], CLUSTER, ["cluster c (i): healthy", "controller –", "node-1  h:1"]),
        (["status", "--wide"], CLUSTER, ["node-1  h:1   h:2   z     1"]),
        (["members"], CLUSTER, ["node-1  h:1", "active"]),
        (["partitions"], PARTITIONS, ["node-1, node-2", "active"]),
        (["ring"], PARTITIONS, ["node-1        3          4         0-1, 3", "(no primary)"]),
        (["where", "a b"], {"key": "a b", "slot": 1, "partition": 2, "primary": "n", "replicas": ["n", "m"]},
         ["n, m"]),
    ],
)  # fmt: skip
def test_a_look_inside(
    fake: Callable[..., FakeNode], command: list[str], answer: dict[str, Any], words: list[str]
) -> None:
    node = fake((200, {"Content-Type": "application/json"}, json.dumps(answer).encode()))
    done = ringkeep(*command, "--endpoint", node.url)
    assert done.returncode == 0, done.stderr
    for word in words:
        assert word in done.stdout.decode()
    assert json.loads(ringkeep(*command, "--json", "--endpoint", node.url).stdout)
    if command[0] == "where":
        assert node.seen[0].target == "/v1/cluster/where?key=a%20b"


def test_an_answer_that_is_not_ours(fake: Callable[..., FakeNode]) -> None:
    node = fake((200, {}, b"<html>"))
    done = ringkeep("status", "--endpoint", node.url)
    assert done.returncode == 1
    assert one_line(done.stderr.decode())


# --- usage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["put"],
        ["get"],
        ["get", "k", "--nonsense"],
        ["nonsense"],
        ["get", ""],
        ["get", "k" * 1025],
        ["get", "k", "--endpoint", "https://h:1"],
        ["get", "k", "--endpoint", "h"],
        ["get", "k", "--timeout", "5"],
        ["get", "k", "--timeout", "31s"],
        ["put", "k", "v", "--file", "f"],
        ["put", "k", "v", "--if-absent", "--if-version", "1"],
        ["put", "k", "v", "--if-version", "x"],
        ["put", "k", "v", "--ttl", "30"],
        ["put", "k", "v", "--ttl", "0s"],
        ["add", "k", "x"],
        ["add", "k", "1.5"],
        ["add", "k", "--nonsense"],
        ["add", "k", "--ttl", "keep"],
        ["append", "k", "v", "--file", "f"],
        ["swap", "k", "v", "--if-absent", "--if-version", "1"],
        ["take"],
        ["touch", "k"],
        ["touch", "k", "keep"],
        ["touch", "k", "1w"],
        ["up", "--nodes", "0"],
        ["up", "--replication", "2"],
        ["node", "--http", "nonsense"],
        ["zookeeper", "--port", "70000"],
        ["simulate", "--seed", "x"],
        ["moves", "stop"],
        ["moves", "pause", "--watch"],
        ["plan"],
        ["plan", "join"],
        ["plan", "stay", "n1"],
        ["weight", "n1", "0"],
        ["wait"],
        ["wait", "rich"],
        ["wait", "healthy", "--timeout", "5"],
        ["wait", "healthy", "--timeout", "0s"],
        ["weight", "n1", "101"],
        ["settings", "moves_at_once"],
        ["settings", "moves_at_once=many"],
        ["settings", "a=1", "a=2"],
        ["recover"],
        ["recover", "partition", "some", "--accept-loss"],
        ["recover", "partition", "17"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2
    printed = capsys.readouterr()
    assert one_line(printed.err), printed.err
    assert printed.out == ""


def test_refused_configuration_is_exit_code_78() -> None:
    done = ringkeep("node", "--name", "a", RINGKEEP_WEIGHT="1000")
    assert done.returncode == 78
    assert one_line(done.stderr.decode())


def test_help_and_version() -> None:
    runner = typer.testing.CliRunner()
    overview = runner.invoke(app.application(), ["--help"])
    assert overview.exit_code == 0
    for command in (
        "up", "dev", "node", "zookeeper", "put", "get", "delete", "list", "count",
        "add", "append", "swap", "take", "touch", "persist", "batch", "status", "where",
        "simulate", "moves", "plan", "drain", "undrain", "decommission", "weight", "settings",
        "recover", "wait",
    ):  # fmt: skip
        shown = runner.invoke(app.application(), [command, "--help"])
        assert shown.exit_code == 0
        assert f"ringkeep {command}" in shown.output, "every command shows an example"
        assert f"\n  {command} " in overview.output
    assert ringkeep("--version").stdout.decode() == f"ringkeep {__version__}\n"
    assert ringkeep("-h").returncode == 0
    assert ringkeep().returncode == 2


def test_a_client_does_not_load_the_server() -> None:
    code = (
        "import sys, http.client, ringkeep.cli.cluster.http_client; from ringkeep.cli import main\n"
        "code = main.run(['get', 'k', '--endpoint', '127.0.0.1:1'])\n"
        "heavy = {'uvloop', 'rocksdict', 'kazoo', 'starlette', 'uvicorn', 'asyncio', 'rich', 'httptools'}\n"
        "print(code, *sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"4"], "it tried, in vain, and loaded nothing heavy"


@pytest.mark.parametrize(
    ("options", "size"),
    [([], 10_000), (["--json"], 10)],
    ids=["written by the command", "flushed at its end"],
)
def test_output_to_a_closed_pipe_is_no_traceback(
    fake: Callable[..., FakeNode], options: list[str], size: int
) -> None:
    """Nor is it a success: the reader has not got all of it."""
    node = fake((200, {"ETag": '"3"'}, b"x" * size))
    command = [sys.executable, "-m", "ringkeep.cli.main", "get", "k", "--endpoint", node.url, *options]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, timeout=60, env=buffered)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")
    assert len(node.seen) == 1, "it had asked"


# --- a node's own process --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["node", "--name", "a", "--expect", "5"], ["dev", "--partitions", "8"]])
def test_a_plain_command_line_of_a_node_means_what_the_parser_of_all_commands_reads(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = [*command, "--data", str(tmp_path), "--http=127.0.0.1:9000"]
    run: list[object] = []

    def run_node(settings: object) -> int:
        run.append(settings)
        return 0

    monkeypatch.setattr("ringkeep.server.run_node", run_node)
    assert app.invoke(arguments) == main.run(arguments) == 0
    assert run == [main.node_settings(arguments)] * 2
    assert run[0] is not None


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "k"], ["node", "--help"], ["node", "--name"], ["node", "--nmae", "a"], ["node", "a"],
        ["node", "--name", "--http", "x:1"], ["node", "--replication", "2"], [],
        ["dev", "--help"], ["dev", "--name", "a"], ["dev", "--http", "x"], ["--json", "dev"],
    ],
)  # fmt: skip
def test_every_other_command_line_is_left_to_that_parser(arguments: list[str]) -> None:
    assert main.node_settings(arguments) is None


def test_a_node_does_not_load_what_describes_the_commands() -> None:
    code = (
        "import sys; from ringkeep.cli import main; import ringkeep.server\n"
        "ringkeep.server.run_node = lambda settings: 0\n"
        "code = main.run(['node', '--name', 'a'])\n"
        "print(code, *sorted({'typer', 'rich', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"0"]
