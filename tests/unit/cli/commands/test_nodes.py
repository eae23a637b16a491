"""Steering from the command line, against the fake node behind the real HTTP interface."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from tests.support.cli.fake_node import one_line
from tests.support.http.host import Host
from tests.support.wait import PATIENCE_S, until

from ringkeep.cli import main
from ringkeep.cli.cluster.cluster_poller import ClusterPoller

OTHER = "node-1-other-3"
MOVE = {"partition": 3, "from": OTHER, "to": "node-1", "bytes": 3 << 20, "bytes_done": 1 << 20}
MOVE |= {"rate": 1_048_576.0, "stage": "copying", "seconds_left": 2.0, "waits_for": None}


@pytest.fixture
def hosts() -> Iterator[Callable[[], Host]]:
    """Make nodes of one cluster; each is a member at the address where it really listens."""
    made: list[Host] = []

    def make() -> Host:
        host = Host()
        if made:
            host.service.steered = made[0].service.steered
        member = list(host.service.steered.members.values())[len(made)]
        member["http"] = host.url.removeprefix("http://")
        made.append(host)
        return host

    yield make
    for host in made:
        host.close()


@pytest.fixture
def host(hosts: Callable[[], Host]) -> Host:
    return hosts()


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def run(host: Host, *arguments: str) -> Done:
    """Run a command within this process, which is quicker by half a second."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = main.run([*arguments, "--endpoint", host.url])
    return Done(code, out.getvalue(), err.getvalue())


def hear_interrupts() -> None:
    """As on a terminal, also where the tests themselves run in the background, which ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin(host: Host, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "ringkeep.cli.main", *arguments, "--endpoint", host.url]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, preexec_fn=hear_interrupts, **pipes)


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, str, str]:
    """Return the exit code of a command, and what it said."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out.decode(), err.decode()


def ordered(host: Host, verb: str, name: str = OTHER) -> None:
    """Wait until an order was given."""
    until(lambda: any(each[:2] == (verb, name) for each in host.service.orders), f"{verb} {name}")


# --- moves and plans -----------------------------------------------------------------------------------


def test_moves(host: Host) -> None:
    assert run(host, "moves").out == "no moves are planned or under way\n"
    host.service.steered.running = [MOVE | {"waits_for": "disk full"}]
    shown = run(host, "moves").out
    assert "moves are running: 1 under way, 0 planned, 2.0 MiB left, 1.0 MiB/s, about 2.0 s" in shown
    assert f"3          {OTHER}  node-1  copying  3.0 MiB  1.0 MiB  1.0 MiB/s  2.0 s  disk full" in shown
    assert json.loads(run(host, "moves", "--json").out)["running"][0]["partition"] == 3


def test_many_moves_are_cut_in_a_table_and_finished_ones_shown(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = [{"partition": p, "from": None, "to": "a", "bytes": 9, "waits_for": None} for p in range(25)]
    finished = [{"partition": 99, "from": "a", "to": None, "bytes": 9, "seconds": 3, "age": 61.0}]
    document = host.service.moves() | {"planned": planned, "finished": [finished[0] | {"outcome": "undone"}]}
    monkeypatch.setattr(host.service, "moves", lambda: document)
    shown = run(host, "moves").out
    assert "5 more planned" in shown and "undone 1 min 1 s ago" in shown
    assert "0 under way, 25 planned, 0 B left\n" in shown


@pytest.mark.parametrize(
    ("verb", "state"), [("pause", "paused"), ("cancel", "cancelled"), ("resume", "running")]
)
def test_holding_moves(host: Host, verb: str, state: str) -> None:
    done = run(host, "moves", verb)
    assert (done.code, host.service.steered.state) == (0, state)
    assert done.out.startswith("moves ")
    assert json.loads(run(host, "moves", verb, "--json").out)["state"] == state


def test_an_order_to_hold_moves_is_done_when_it_shows(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.service, "hold_moves", lambda verb: host.service.moves())
    late = run(host, "moves", "pause", "--timeout", "300ms")
    assert late.code == 4 and "pause was accepted, but has not taken effect yet" in late.err
    assert "moves are paused" not in late.out


def test_moves_are_watched_until_none_is_left(host: Host) -> None:
    steered = host.service.steered
    steered.running = [MOVE]
    quiet, lines = begin(host, "moves", "--watch"), begin(host, "moves", "--watch", "--json")
    assert lines.stdout is not None
    first = json.loads(lines.stdout.readline())
    assert first["running"][0]["bytes_done"] == 1 << 20
    steered.running = [MOVE | {"bytes_done": 2 << 20}]
    assert json.loads(lines.stdout.readline())["bytes_left"] == 1 << 20
    steered.running = []
    code, out, _ = ended(lines)
    assert code == 0 and json.loads(out)["running"] == []
    code, out, err = ended(quiet)
    assert (code, err) == (0, "") and out.startswith("no moves are planned or under way any more, ")


def test_plans(host: Host) -> None:
    shown = run(host, "plan", "join", "new", "--zone", "z", "--weight", "2").out
    assert shown.startswith("if new joins, 1 replica will move (10 B); the minimum is 1\n")
    assert "node-1          1         1      1          1" in shown
    assert json.loads(run(host, "plan", "leave", OTHER, "--json").out)["action"] == "leave"
    assert host.service.planned == [("join", "new", "z", 2), ("leave", OTHER, "", 1)]
    assert run(host, "plan", "leave", "nobody").code == 1
    assert run(host, "plan", "join", OTHER).code == 1


# --- orders that are not waited for ----------------------------------------------------------------------


def test_orders(host: Host) -> None:
    for arguments in (["undrain", OTHER], ["weight", OTHER, "7"], ["drain", OTHER, "--no-wait"],
                      ["decommission", OTHER, "--no-wait"]):  # fmt: skip
        done = run(host, *arguments)
        assert (done.code, done.err) == (0, "") and done.out.startswith(f"{OTHER} ")
        assert json.loads(run(host, *arguments, "--json").out)["node"]["name"] == OTHER
    verbs = [verb for verb, _, _ in host.service.orders]
    assert verbs == ["undrain"] * 2 + ["weight"] * 2 + ["drain"] * 2 + ["decommission"] * 2
    assert host.service.steered.members[OTHER]["weight"] == 7


@pytest.mark.parametrize("command", [["drain"], ["undrain"], ["decommission"], ["decommission", "--dead"]])
def test_a_node_that_is_not_there(host: Host, command: list[str]) -> None:
    done = run(host, *command, "no/body")
    assert done.code == 1, "3 is for keys"
    assert (one_line(done.err) and "No such node" in done.err) or "No such route" in done.err


def test_refusals_and_absence(host: Host) -> None:
    done = run(host, "decommission", OTHER, "--dead")
    assert done.code == 1 and one_line(done.err)
    assert f"{OTHER} answers; let it leave in peace" in done.err
    host.service.steered.away = "ZooKeeper is away"
    done = run(host, "drain", OTHER, "--timeout", "300ms")
    assert done.code == 4 and "ZooKeeper is away" in done.err


def test_settings(host: Host) -> None:
    assert "moves_at_once     8\n" in run(host, "settings").out
    done = run(host, "settings", "moves-at-once=3", "grace_ms=20000")
    assert done.code == 0 and "moves_at_once     3\n" in done.out
    assert host.service.steered.settings["grace_ms"] == 20_000
    assert json.loads(run(host, "settings", "--json").out)["moves_at_once"] == 3
    done = run(host, "settings", "moves_at_once=0")
    assert done.code == 1 and "from 1 to 64" in done.err
    assert run(host, "settings", "replication=5").code == 1


def test_partitions_are_recovered(host: Host) -> None:
    host.service.steered.lost = {7: (["b", "c"], ["a", "d"]), 8: (["b"], []), 9: (["c"], ["a"])}
    done = run(host, "recover", "partition", "7", "7", "--accept-loss", "--lost", "b", "--lost", "c")
    assert done.code == 0 and "7          b, c  a, d    a\n" in done.out
    assert host.service.steered.named_lost == ["b", "c"]
    done = run(host, "recover", "partition", "8", "--accept-loss", "--lost", "b")
    assert "empty: no copy is left" in done.out
    done = run(host, "recover", "partition", "all", "--accept-loss", "--json")
    assert json.loads(done.out)["partitions"][0]["partition"] == 9
    assert run(host, "recover", "partition", "all", "--accept-loss").code == 1


def test_the_status_shows_what_is_wrong_and_what_moves(host: Host) -> None:
    steered = host.service.steered
    plain = run(host, "status").out
    assert "moves" not in plain and "damaged" not in plain
    steered.problems = ["node-9 does not answer", "partition 7 has no quorum"]
    steered.members[OTHER] |= {"damaged": True, "disk_full": True}
    steered.running = [MOVE]
    done = run(host, "status")
    shown = done.out
    assert "\n  node-9 does not answer\n  partition 7 has no quorum\nmoves are running: 1 under way" in shown
    assert done.code == 5
    assert "  damaged, disk full\n" in shown


@pytest.mark.parametrize(("health", "code"), [("healthy", 0), ("degraded", 5), ("unavailable", 6)])
def test_the_status_ends_with_what_the_health_is(host: Host, health: str, code: int) -> None:
    host.service.steered.said = health
    done = run(host, "status")
    assert (done.code, f": {health}\n" in done.out) == (code, True)
    done = run(host, "status", "--json")
    assert (done.code, json.loads(done.out)["health"]) == (code, health)


# --- waiting ---------------------------------------------------------------------------------------------


def test_waiting_until_healthy(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    steered, looks = host.service.steered, []
    steered.problems = ["node-9 does not answer"]

    def cluster() -> dict[str, Any]:
        looks.append(steered.health)
        if len(looks) == 3:
            steered.problems = []
        return steered.cluster()

    monkeypatch.setattr(host.service, "cluster", cluster)
    done = run(host, "wait", "healthy")
    assert (done.code, done.err, len(looks)) == (0, "", 3) and re.fullmatch(r"healthy, [0-9.]+ s\n", done.out)


@pytest.mark.parametrize(("said", "code"), [("degraded", 5), ("unavailable", 6)])
def test_waiting_in_vain_says_what_is_missing(host: Host, said: str, code: int) -> None:
    steered = host.service.steered
    steered.problems, steered.said = ["node-9 does not answer", "b"], said
    done = run(host, "wait", "healthy", "--timeout", "300ms")
    assert done.code == code and done.out == "" and one_line(done.err), done
    assert re.search(rf"not healthy after [0-9.]+ s: {said}: node-9 does not answer; b", done.err), done
    done = run(host, "wait", "healthy", "--timeout", "1ms", "--json")
    answer = json.loads(done.out)
    assert (done.code, answer["health"]) == (code, said)
    assert [each["text"] for each in answer["missing"]] == steered.problems


def test_waiting_where_nobody_answers() -> None:
    began = time.monotonic()
    with redirect_stderr(StringIO()) as err:
        code = main.run(["wait", "healthy", "--timeout", "1s", "--endpoint", "http://127.0.0.1:1"])
    assert code == 4 and re.search(r"not healthy after [0-9.]+ s: no answer: ", err.getvalue())
    assert 1 <= time.monotonic() - began < 10


def test_a_drain_waits_until_the_node_leads_nothing(host: Host) -> None:
    member = host.service.steered.members[OTHER]
    member["primaries"] = 12
    process = begin(host, "drain", OTHER)
    ordered(host, "drain")
    member["primaries"] = 0
    code, out, err = ended(process)
    assert (code, err) == (0, "") and out.startswith(
        f"{OTHER} leads nothing any more (12 primaries handed over), "
    )


def test_a_drain_ends_where_nobody_else_could_lead(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    row = host.service.partitions()["partitions"][0] | {"voters": ["node-1"]}
    monkeypatch.setattr(host.service, "partitions", lambda: {"partitions": [row]})
    done = run(host, "drain", "node-1")
    assert done.code == 0
    assert "node-1 still leads 1 partition without a voter on any other node" in done.out


def test_a_drain_that_is_taken_back(host: Host) -> None:
    member = host.service.steered.members[OTHER]
    member["primaries"] = 1
    process = begin(host, "drain", OTHER)
    ordered(host, "drain")
    asked = host.call(lambda: host.server.listener.counts[-1].statuses.get(200, 0))
    until(lambda: host.server.listener.counts[-1].statuses[200] > asked + 2, "it is seen draining")
    member["state"] = "active"
    code, out, err = ended(process)
    assert (code, out) == (1, "") and one_line(err) and "the order was cancelled" in err


def test_a_decommission_ends_when_the_node_has_left_and_took_our_endpoint_along(
    hosts: Callable[[], Host],
) -> None:
    going, staying = hosts(), hosts()
    steered = staying.service.steered
    process = begin(going, "decommission", "node-1")
    ordered(going, "decommission", "node-1")
    asked = going.server.listener.counts[-1].statuses.get(200, 0)
    until(lambda: going.server.listener.counts[-1].statuses[200] > asked + 1, "it is asked")
    going.close()
    seen = staying.server.listener.counts[-1].statuses
    until(lambda: seen.get(200, 0) > 1, "another node is asked")
    assert process.poll() is None
    del steered.members["node-1"]
    code, out, err = ended(process)
    assert (code, err) == (0, "") and out.startswith("node-1 has left (1 replica moved to the others), ")


def test_a_dead_node_is_given_up_when_nothing_counts_on_it(host: Host) -> None:
    member = host.service.steered.members["node-1-other-1"]
    member["state"] = "suspect"
    process = begin(host, "decommission", "node-1-other-1", "--dead", "--json")
    ordered(host, "give-up", "node-1-other-1")
    assert process.poll() is None
    member["replicas"] = 0
    code, out, _ = ended(process)
    said = json.loads(out)
    assert code == 0 and said["done"] == "node-1-other-1 is given up (1 replica rebuilt on other nodes)"


def test_an_interrupted_wait_says_that_the_work_goes_on(host: Host) -> None:
    looked_at, look = [], host.service.cluster

    def looking() -> dict[str, Any]:
        looked_at.append(len(host.service.orders))
        return look()

    host.service.cluster = looking  # type: ignore[method-assign]
    process = begin(host, "decommission", OTHER)
    until(lambda: 1 in looked_at, "the command to wait for what it ordered")
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, "") and one_line(err)
    assert (
        "the order stands; watch it with: ringkeep moves --watch" in err
        and f"ringkeep undrain {OTHER}" in err
    )


def test_progress_is_drawn_on_a_terminal(host: Host) -> None:
    steered = host.service.steered
    steered.running = [MOVE]
    steered.members[OTHER]["replicas"] = 5
    ours, theirs = pty.openpty()
    process = begin(host, "decommission", OTHER, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = _read_until(ours, "5 replicas left, 2.0 MiB, 1.0 MiB/s, about 2.0 s")
    assert "\r\x1b[K" in shown
    steered.state, steered.running = "paused", [MOVE | {"rate": 0}]
    _read_until(ours, "5 replicas left, 2.0 MiB – moves are paused (ringkeep moves resume)")
    del steered.members[OTHER]
    assert "\r\x1b[K" + f"{OTHER} has left" in _read_until(ours, "moved to the others")
    assert process.wait(PATIENCE_S) == 0
    os.close(ours)


def _read_until(handle: int, wanted: str) -> str:
    """Read from a terminal until this was shown."""
    shown, deadline = "", time.monotonic() + PATIENCE_S
    while wanted not in shown:
        assert time.monotonic() < deadline, f"waited in vain for {wanted!r} in {shown!r}"
        shown += os.read(handle, 4_096).decode()
    return shown


def test_an_answer_that_is_older_than_one_seen_does_not_count(hosts: Callable[[], Host]) -> None:
    stale, fresh = hosts(), hosts()
    watched = ClusterPoller([stale.url.removeprefix("http://")], 1_000)
    newest = stale.service.cluster() | {"map_version": 2}
    fresh.service.cluster = lambda: newest  # type: ignore[method-assign]
    assert watched.look() is not None
    forming: dict[str, Any] = {"cluster_id": None, "map_version": 0, "members": []}
    stale.service.cluster = lambda: forming  # type: ignore[method-assign]
    assert watched.look() is None, "a node that forms knows nothing of who has left"
    found = watched.look()
    assert found is not None and found["map_version"] == 2, "the other one is asked next"
