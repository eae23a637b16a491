"""The parts of waiting on the command line: what holds the work up, who answers, and units."""

import time
from typing import Any

import pytest

from ringkeep.cli.cluster import conditions, wait
from ringkeep.cli.cluster.cluster_poller import ClusterPoller
from ringkeep.cli.terminal.units import duration, size


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now = {"s": 100.0}
    monkeypatch.setattr(time, "monotonic", lambda: now["s"])
    return now


def test_what_holds_it_up_is_said_once_when_nothing_changes(clock: dict[str, float]) -> None:
    stuck = wait.Stuck()
    assert stuck.report(5, ["disk full"]) == ""
    clock["s"] += wait.STUCK_S - 0.1
    assert stuck.report(5, ["disk full"]) == ""
    clock["s"] += 0.2
    assert stuck.report(5, ["disk full"]) == "no progress: disk full"
    assert stuck.report(5, ["disk full"]) == ""
    assert stuck.report(5, ["disk full", "moves are paused"]) == "no progress: moves are paused"
    assert stuck.report(4, ["n2 is away"]) == "", "it went on"


CONNECTED = {"zookeeper": "connected"}
UNREACHABLE = "ZooKeeper is unreachable; the cluster changes nothing until it is back"
PLANNED = {"from": "a", "to": "b", "waits_for": "its turn"}


@pytest.mark.parametrize(
    ("cluster", "moves", "reasons"),
    [
        (CONNECTED, {"state": "running", "running": [], "planned": []}, ()),
        (CONNECTED, {}, ()),
        ({"zookeeper": "disconnected"}, {}, (UNREACHABLE,)),
        (CONNECTED | {"alarm": "two maps"}, {}, ("two maps",)),
        (CONNECTED, {"state": "cancelled"}, ("moves are cancelled (ringkeep moves resume)",)),
        (CONNECTED, {"running": [PLANNED | {"waits_for": None}], "planned": [PLANNED]}, ()),
        (CONNECTED, {"running": [{"from": "d", "to": "c"}], "planned": [PLANNED, PLANNED]}, ("its turn",)),
        (CONNECTED, {"running": [PLANNED | {"waits_for": ["x", "y"]}]}, ("x", "y")),
    ],
)  # fmt: skip
def test_why_moves_of_a_node_do_not_go_on(cluster: Any, moves: Any, reasons: tuple[str, ...]) -> None:
    assert wait.held_up(cluster, moves, "a") == reasons


def test_a_member_that_others_do_not_answer_for_is_named() -> None:
    members = [{"name": "a", "id": "1", "state": "draining", "primaries": 2, "replicas": 2},
               {"name": "b", "id": "2", "state": "suspect", "primaries": 0, "replicas": 1}]  # fmt: skip
    cluster = CONNECTED | {"members": members}
    look = conditions.Drained(ClusterPoller([], 1), members[0])(cluster)
    assert (look.done, look.left, look.reasons) == (None, "2 primaries", ("no answer from b",))


def test_nobody_answers_any_more(monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    from ringkeep.cli.cluster import cluster_poller as module
    from ringkeep.cli.terminal.failure import Failure

    watched = ClusterPoller([nowhere.removeprefix("http://")], 200)
    assert watched.look() is None
    monkeypatch.setattr(module, "LOST_S", 0.0)
    with pytest.raises(Failure, match="no node has answered") as failure:
        watched.look()
    assert failure.value.exit_code == 4


def test_units() -> None:
    sizes = {0: "0 B", 1_023: "1023 B", 1_024: "1.0 KiB", 10_239: "10 KiB", 1_048_000: "1023 KiB"}
    sizes |= {1_048_576: "1.0 MiB", 5 << 40: "5.0 TiB", 5 << 60: "5120 PiB"}
    for count, text in sizes.items():
        assert size(count) == text
    times = {0: "0.0 s", 9.94: "9.9 s", 9.96: "10 s", 59.6: "1 min", 61: "1 min 1 s", 7_800: "2 h 10 min"}
    times |= {86_400: "1 d", 100_000: "1 d 3 h"}
    for seconds, text in times.items():
        assert duration(seconds) == text
    assert duration(None) == "–"
