"""`ringkeep up` as a user runs it: real nodes, a real ZooKeeper, and every way in which it ends."""

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.cli.up_process import RINGKEEP, Up
from tests.support.wait import until

from ringkeep.process import command_line

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start clusters of three nodes and 16 partitions; everything is gone when the test ends."""
    started: list[Up] = []

    def begin(*options: str, base: int = 0, nodes: int = 3, data: str = "data") -> Up:
        up = Up(tmp_path / data, *options, nodes=nodes, base=base)
        started.append(up)
        return up

    yield begin
    for up in started:
        up.destroy()


def put(port: int, key: str, value: str) -> None:
    body = json.dumps({"key": key, "value": value}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/put", body, timeout=10) as answer:
        assert json.load(answer)["status"] == "Success"


def get(port: int, key: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/get?key={key}", timeout=10) as answer:
        return str(json.load(answer)["value"])


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def order(port: int, path: str) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/cluster/{path}", b"", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202


def members(port: int) -> dict[str, str]:
    """Return the state of each member, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/cluster", timeout=10) as answer:
        return {each["name"]: each["state"] for each in json.load(answer)["members"]}


def ringkeep(up: Up, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    endpoints = ",".join(f"http://127.0.0.1:{up.base + 10 * i}" for i in range(3))
    command = [*RINGKEEP, *arguments, "--endpoint", endpoints]
    return subprocess.run(command, capture_output=True, timeout=60)


def test_a_cluster_from_start_to_stop(start: Start) -> None:
    up = start("--partitions", "16").ready()
    assert f"http://127.0.0.1:{up.base + 20}" in up.output
    first_curls = [line.strip() for line in up.output.splitlines() if line.strip().startswith("curl ")]
    for command in first_curls:
        done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=30)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["value"] == "world"

    assert ringkeep(up, "get", "hello").stdout == b"world"
    assert ringkeep(up, "put", "k", "v").returncode == 0
    assert ringkeep(up, "delete", "k").returncode == 0
    assert ringkeep(up, "get", "k").returncode == 3
    assert json.loads(ringkeep(up, "where", "hello", "--json").stdout)["primary"].startswith("node-")
    assert len(json.loads(ringkeep(up, "status", "--json").stdout)["members"]) == 3

    zookeeper = up.pid_of("zookeeper")
    assert up.stop() == 0
    assert up.remains() == []
    assert not Path(f"/proc/{zookeeper}").exists()


def test_a_killed_node_is_started_again_by_its_command_line(start: Start) -> None:
    up = start("--partitions", "16").ready()
    put(up.base, "before", "1")
    os.kill(up.pid_of("node-2"), signal.SIGKILL)
    up.says("node-2 (process")
    put(up.base, "meanwhile", "2")
    assert up.process.poll() is None, "up goes on"
    by_hand = subprocess.Popen(up.command_of("node-2"))
    try:
        until(lambda: is_ready(up.base + 10), "node-2 to be ready again")
        assert get(up.base + 10, "before") + get(up.base + 10, "meanwhile") == "12"
        assert up.stop() == 0
        assert by_hand.wait(15) == 0
    finally:
        by_hand.kill()
    assert up.remains() == []


def test_the_data_is_there_the_next_time_on_other_ports(start: Start) -> None:
    up = start("--partitions", "16").ready()
    put(up.base, "kept", "yes")
    up.process.send_signal(signal.SIGINT)
    assert up.ends() == 0
    again = start().ready()
    assert again.base != up.base
    assert get(again.base + 20, "kept") == "yes"
    assert again.stop() == 0
    refused = start("--partitions", "32")
    assert refused.ends() == 78
    assert refused.remains() == []


def test_another_q_is_refused_by_the_nodes_as_well(start: Start) -> None:
    up = start("--partitions", "16").ready()
    assert up.stop() == 0
    (up.data / "cluster.json").unlink()
    refused = start("--partitions", "32")
    assert refused.ends() == 78, refused.output
    assert refused.remains() == []


def test_killing_up_kills_everything(start: Start) -> None:
    up = start("--partitions", "16").ready()
    put(up.base, "kept", "yes")
    up.process.kill()
    until(lambda: up.remains() == [], "the children to die with up", 10)
    up.ends()
    again = start(base=up.base).ready()
    assert get(again.base, "kept") == "yes"
    assert again.stop() == 0


def test_two_on_one_directory_and_two_on_one_port(start: Start) -> None:
    up = start("--partitions", "16").ready()
    second = start()
    assert (second.ends(), second.output.count("\n")) == (78, 1)
    other = start(base=up.base, data="other")
    assert (other.ends(), other.output.count("\n")) == (1, 1)
    assert "--base-port" in other.output
    beside = start("--partitions", "16", data="beside").ready()
    assert beside.pid_of("zookeeper") != up.pid_of("zookeeper"), "each has its own, on a port of its own"
    assert beside.stop() == 0
    assert is_ready(up.base)
    assert up.stop() == 0


def test_zookeeper_ends_and_is_started_again_by_hand(start: Start) -> None:
    up = start("--partitions", "16").ready()
    os.kill(up.pid_of("zookeeper"), signal.SIGKILL)
    up.says("ZooKeeper (process")
    put(up.base, "without", "zookeeper")
    line = up.output.rpartition("to start it again:\n  ")[2].splitlines()[0]
    by_hand = subprocess.Popen(shlex.split(line))
    try:
        up.says("ZooKeeper runs again")
        assert "QuorumPeerMain" in " ".join(command_line(up.pid_of("zookeeper")))
        assert up.stop() == 0
        assert by_hand.wait(15) == 1, "it says that its server was stopped"
    finally:
        by_hand.kill()
    assert up.remains() == []


def test_a_node_that_has_left_is_missed_by_nobody(start: Start) -> None:
    up = start("--partitions", "16", nodes=4).ready()
    put(up.base, "kept", "yes")
    first = up.pid_of("node-1")
    order(up.base + 10, "nodes/node-1/decommission")
    up.says(f"node-1 has left the cluster (process {first} ended with exit code 0)", 60)
    assert "to start it again" not in up.output
    assert up.process.poll() is None, "up goes on"
    until(lambda: "node-1" not in members(up.base + 20), "the others to name it no more")
    assert up.stop() == 0

    rest = start(nodes=4).ready()
    assert rest.output.startswith("node-1 has left the cluster, and is not started\n")
    assert get(rest.base + 10, "kept") == "yes"
    assert f"http://127.0.0.1:{rest.base}/" not in rest.output, "only URLs of nodes that run"
    assert f"http://127.0.0.1:{rest.base + 10}/put" in rest.output
    assert rest.stop() == 0

    more = start(nodes=5).ready()
    assert "node-1 has left the cluster, and is not started" in more.output
    active = {f"node-{number}": "active" for number in (2, 3, 4, 5)}
    until(lambda: members(more.base + 40) == active, "node-5 to have its share", 60)
    assert get(more.base + 40, "kept") == "yes"
    assert more.stop() == 0

    alone = start(nodes=1)
    assert (alone.ends(), alone.output.count("\n")) == (1, 1)
    assert "node-1 has left the cluster, and no other is requested; give more --nodes" in alone.output
    assert more.remains() == []


def test_zookeeper_in_the_foreground(tmp_path: Path) -> None:
    command = [*RINGKEEP, "zookeeper", "--port", "31999", "--data", str(tmp_path / "zk")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert b"ZooKeeper serves on 127.0.0.1:31999" in server.stdout.readline()
        second = subprocess.run(command, capture_output=True, timeout=60)
        assert second.returncode == 1
        assert second.stderr.count(b"\n") == 1
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0
