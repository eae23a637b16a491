"""A whole run of the benchmark over systems that are not there: order, clean ends, what is kept."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.paths import BENCH

sys.path.insert(0, str(BENCH))

import generator
import peers
from generator import Order
from harness.cluster import Trouble
from harness.load import Endpoint
from harness.resources import disk_mb


class Fake:
    """A system without processes of its own. It needs an empty place to start, as real ones do."""

    running: list[str] = []  # noqa: RUF012  # of all of them, reset by the fixture

    def __init__(self, name: str, data: Path) -> None:
        self.name = name
        self.data = data
        self.version = self.settings = self.writes = self.reads = name
        self.endpoints = [Endpoint("127.0.0.1", 1)] * 3

    def start(self) -> None:
        self.running.append(self.name)
        self.data.mkdir(parents=True)
        (self.data / "file").write_bytes(b"x" * 1_000_000)

    def pids(self) -> list[int]:
        return [os.getpid()]

    def end(self) -> None:
        self.running.remove(self.name)


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Order]]:
    """What the generator is asked to do. It answers at once."""
    asked: list[tuple[str, Order]] = []

    def run(
        _: Path, system: str, __: list[Endpoint], order: Order, mark: Callable[[], None]
    ) -> dict[str, Any]:
        asked.append((system, order))
        mark()
        mark()
        requests = order.keys if order.load == "load" else 100
        times = {"p50_ms": 1.0, "p99_ms": 2.0, "p999_ms": 3.0, "max_ms": 4.0}
        return {
            "requests": requests,
            "late": 0,
            "seconds": 1.0,
            "cpu": 0.0,
            "faults": 0,
            "fault": "",
            **times,
        }

    def maker(name: str) -> Callable[[Path], Fake]:
        return lambda data: Fake(name, data)

    Fake.running = []
    monkeypatch.setattr(generator, "run", run)
    monkeypatch.setattr(peers, "SETTLE_S", 0.0)
    monkeypatch.setattr(peers, "SYSTEMS", {name: maker(name) for name in ("ringkeep", "etcd")})
    return asked


def options(**more: Any) -> argparse.Namespace:
    known = {"systems": ["ringkeep", "etcd"], "loads": ["put"], "connections": [1, 64], "rounds": 3}
    return argparse.Namespace(**(known | {"seconds": 0.1} | more))


def test_systems_take_turns_within_each_load(orders: list[tuple[str, Order]], tmp_path: Path) -> None:
    found = peers.measure_systems(options(), tmp_path / "generator", tmp_path)
    measured = [(name, order.connections, order.first) for name, order in orders][-12:]
    turns = [("ringkeep", 0), ("etcd", 0), ("ringkeep", 1), ("etcd", 1), ("ringkeep", 2), ("etcd", 2)]
    assert measured == [(name, count, first) for count in (1, 64) for name, first in turns]
    assert [len(each["rounds"]) for each in found["figures"]] == [3, 3]
    assert Fake.running == []


def test_every_run_has_a_higher_generation_than_those_before(
    orders: list[tuple[str, Order]], tmp_path: Path
) -> None:
    """Else the generator could not tell an old value from one of this run."""
    peers.measure_systems(options(), tmp_path / "generator", tmp_path)
    generations = [order.generation for name, order in orders if name == "etcd"]
    assert generations[0] == 0 and generations == sorted(set(generations))


def test_memory_is_measured_from_empty(orders: list[tuple[str, Order]], tmp_path: Path) -> None:
    peers.measure_systems(options(), tmp_path / "generator", tmp_path)
    found = peers.measure_memory(tmp_path / "generator", tmp_path, 50)
    assert list(found["systems"]) == ["ringkeep", "etcd"]
    assert found["systems"]["etcd"]["disk_mb"] >= 1.0
    assert [order.keys for _, order in orders][-2:] == [50, 50]
    assert Fake.running == []


@pytest.mark.parametrize("when", ["start", "load"])
def test_nothing_is_left_running_after_a_failure(
    orders: list[tuple[str, Order]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    if when == "start":
        (tmp_path / "etcd").mkdir()  # it cannot start there
    else:
        monkeypatch.setattr(
            peers.Bench, "load", lambda *_: (_ for _ in ()).throw(Trouble("a key is missing"))
        )
    with pytest.raises((OSError, Trouble)):
        peers.measure_systems(options(), tmp_path / "generator", tmp_path)
    assert Fake.running == []


def test_disk_of_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"x" * 2_000_000)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert disk_mb(tmp_path) == pytest.approx(2.0, rel=0.05)
