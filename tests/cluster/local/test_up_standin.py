"""`ringkeep up` with a stand-in for the node and for ZooKeeper: starting, watching and stopping processes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.cli import up_with_stand_ins
from tests.support.cli.up_process import Up
from tests.support.wait import until

from ringkeep import process

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `up` with stand-ins; everything is gone when the test ends."""
    (tmp_path / "data").mkdir()
    started: list[Up] = []
    with socket.create_server(("127.0.0.1", 0)) as zookeeper:
        hosts = f"127.0.0.1:{zookeeper.getsockname()[1]}"

        def begin(*options: str, base: int = 0, nodes: int = 3, data: str = "data") -> Up:
            program = (sys.executable, up_with_stand_ins.__file__)
            options = ("--zookeeper", hosts, *options)
            up = Up(tmp_path / data, *options, nodes=nodes, base=base, program=program)
            started.append(up)
            return up

        yield begin
    for up in started:
        up.destroy()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_starts_all_and_stops_all(start: Start, number: signal.Signals) -> None:
    up = start().ready()
    assert len(up.remains()) == 4, "three nodes and up itself"
    for i in range(3):
        assert f"node-{i + 1}  http://127.0.0.1:{up.base + 10 * i}" in up.output
    assert f"curl -X POST http://127.0.0.1:{up.base}/put" in up.output
    words = process.command_line(up.pid_of("node-2"))
    assert words[words.index("--data") + 1] == str(up.data / "node-2")
    assert words[words.index("--expect") + 1] == "3"
    assert words[words.index("--peer") + 1] == f"127.0.0.1:{up.base + 12}"
    up.process.send_signal(number)
    assert up.ends() == 0
    assert up.remains() == []
    assert not (up.data / "node-1" / "pid").exists()


def test_a_dead_node_is_reported_and_can_be_started_by_hand(start: Start) -> None:
    up = start().ready()
    os.kill(up.pid_of("node-2"), signal.SIGKILL)
    up.says("node-2 (process")
    assert "was killed by SIGKILL; to start it again:" in up.output
    with subprocess.Popen(up.command_of("node-2")) as by_hand:
        up.says(f"node-2 runs again (process {by_hand.pid})")
        assert up.stop() == 0
        assert by_hand.wait(10) == 0, "up stopped it as its own"
    assert up.remains() == []


def test_killing_up_kills_the_nodes(start: Start) -> None:
    up = start().ready()
    up.process.kill()
    until(lambda: up.remains() == [], "the nodes to die with up", 10)
    up.ends()
    again = start(base=up.base).ready()
    assert again.stop() == 0


def test_a_node_that_refuses_to_start_ends_up_with_its_code_and_words(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data" / "node-3.behaviour").write_text("refuse")
    up = start()
    assert up.ends() == 78
    assert "node-3 ended with exit code 78:\n  ringkeep: refused for a test\n" in up.output
    assert up.remains() == []


def test_it_says_what_it_waits_for_and_can_be_stopped_meanwhile(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data" / "node-1.behaviour").write_text("wait")
    up = start()
    up.says("waiting for node-1: a test")
    assert "node-2 is ready" in up.output
    assert up.stop() == 0
    assert up.remains() == []


def test_a_second_request_to_stop_kills_at_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data" / "node-1.behaviour").write_text("stubborn")
    up = start().ready()
    up.process.send_signal(signal.SIGINT)
    up.says("stopping")
    until(lambda: len(up.remains()) == 2, "the others to stop")
    up.process.send_signal(signal.SIGINT)
    assert up.ends(limit_s=5) == 0
    assert up.remains() == []


def test_two_on_one_directory(start: Start) -> None:
    up = start().ready()
    second = start()
    assert second.ends() == 78
    assert second.output.count("\n") == 1
    assert f"is in use by process {up.process.pid}" in second.output
    assert up.stop() == 0


def test_a_port_in_use_is_one_line_before_anything_starts(start: Start) -> None:
    up = start().ready()
    other = start(base=up.base - 10, data="other")
    assert other.ends() == 1
    assert other.output.count("\n") == 1
    assert f"port {up.base} (HTTP port of node-2) is in use" in other.output
    assert "--base-port" in other.output
    assert not (other.data / "node-1").exists()


def test_again_with_more_nodes_and_other_ports_but_not_another_q(start: Start) -> None:
    first = start("--partitions", "64").ready()
    assert first.stop() == 0
    more = start("--partitions", "64", nodes=4).ready()
    assert "node-4" in more.output
    assert more.stop() == 0
    refused = start("--partitions", "128")
    assert refused.ends() == 78
    assert "was formed with 64" in refused.output
    fewer = start(nodes=3).ready()
    assert "not started, although their data is in this directory: node-4" in fewer.output


def test_zookeeper_that_is_not_there_is_exit_code_4(start: Start) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        up = start("--zookeeper", f"127.0.0.1:{bound.getsockname()[1]}")
        assert up.ends() == 4
    assert "ZooKeeper does not answer" in up.output


@pytest.mark.parametrize("code", [0, 78])
def test_a_node_that_has_left_is_no_crash_and_is_not_started_again(
    start: Start, tmp_path: Path, code: int
) -> None:
    behaviour = tmp_path / "data" / "node-1.behaviour"
    behaviour.write_text(f"leave {code}")
    up = start().ready()
    assert "node-1 has left the cluster (process" in up.output
    assert f"ended with exit code {code})" in up.output
    assert "to start it again" not in up.output
    assert f"node-1  http://127.0.0.1:{up.base}" not in up.output
    assert f"curl -X POST http://127.0.0.1:{up.base + 10}/put" in up.output, "the first that runs"
    assert up.stop() == 0

    behaviour.unlink()
    again = start().ready()
    assert again.output.startswith("node-1 has left the cluster, and is not started\n")
    words = process.command_line(again.pid_of("node-2"))
    assert words[words.index("--expect") + 1] == "2", "it is not counted"
    assert not (again.data / "node-1" / "pid").exists()
    assert again.stop() == 0


def test_nobody_who_is_asked_for_is_a_member_any_more(start: Start, tmp_path: Path) -> None:
    for name in ("node-1", "node-2"):
        (tmp_path / "data" / f"{name}.behaviour").write_text("leave 0")
    up = start(nodes=3).ready()
    assert up.stop() == 0
    refused = start(nodes=2)
    assert refused.ends() == 1
    assert refused.output.count("\n") == 1
    assert "node-1, node-2 have left the cluster, and no other is requested; give more --nodes" in (
        refused.output
    )
    more = start(nodes=4).ready()
    assert "node-1, node-2 have left the cluster, and are not started" in more.output
    assert "node-4  http" in more.output
    assert more.stop() == 0


def test_all_leave_while_they_are_waited_for(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data" / "node-1.behaviour").write_text("leave 78")
    up = start(nodes=1)
    assert up.ends() == 1
    assert "node-1 has left the cluster, and no other is requested" in up.output
    assert up.remains() == []


def test_a_new_node_may_begin_in_the_directory_of_one_that_left(start: Start, tmp_path: Path) -> None:
    behaviour = tmp_path / "data" / "node-3.behaviour"
    behaviour.write_text("leave 0")
    up = start().ready()
    words = process.command_line(up.pid_of("node-2"))
    command = [word.replace("node-2", "node-3") for word in words]
    for flag, port in (("--http", 20), ("--peer", 22), ("--advertise-http", 20), ("--advertise-peer", 22)):
        command[command.index(flag) + 1] = f"127.0.0.1:{up.base + port}"
    behaviour.unlink()
    (up.data / "node-3" / "identity.json").unlink()
    with subprocess.Popen(command) as by_hand:
        up.says(f"node-3 runs again (process {by_hand.pid})")
        by_hand.kill()
    up.says(f"node-3 (process {by_hand.pid}) ended; to start it again:")
    assert up.stop() == 0
