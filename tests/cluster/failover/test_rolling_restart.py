"""Every node in turn is stopped and started again, under load: nothing fails, and nobody waits for long."""

import subprocess
import time

import pytest
from tests.support.cluster.cluster import RINGKEEP, Cluster
from tests.support.cluster.load import Load
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.storage.disk_probe import DiskProbe

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

PAUSE_S = 0.5  # the stated bound on what any client waits for one request, retries included, the disk apart
PARTITIONS = 64


@pytest.fixture
def five(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(5, partitions=PARTITIONS).start().wait_whole()


class Diary:
    """What happened when: to see, beside the longest waits, what they waited for."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self._lines.append((time.monotonic(), what))

    def with_waits(self, load: Load) -> str:
        waits = [(wait.began, f"    {wait}") for wait in load.slowest(20)]
        lines = sorted([*self._lines, *waits])
        return "\n".join([load.report(), *(f"{at - self._began:8.3f} {what}" for at, what in lines)])


def wait_until_healthy(nodes: Cluster) -> None:
    """As an operator's script does between two nodes."""
    endpoints = ",".join(f"http://127.0.0.1:{nodes.places[name].http}" for name in nodes.names)
    command = [*RINGKEEP, "wait", "healthy", "--timeout", "60s", "--endpoint", endpoints]
    done = subprocess.run(command, capture_output=True, timeout=90)
    assert done.returncode == 0, done.stderr.decode()


def test_a_rolling_restart_is_hardly_felt(five: Cluster) -> None:
    diary = Diary()
    with DiskProbe(five.directory) as disk, Load(five) as load:
        load.go_on()
        for name in five.names:
            diary.note(f"SIGTERM to {name}")
            assert five.terminate(name) == 0, five.said(name)[-600:]
            diary.note(f"{name} ended")
            five.start(name)
            wait_until_healthy(five)
            diary.note("all are healthy")
            load.go_on()
        five.wait_whole()
        diary.note("all lead again what they prefer")
        load.go_on()
    print(f"{diary.with_waits(load)}\nlongest sync of the disk itself: {disk.longest_s:.3f} s")
    load.verify()
    for wait in load.slowest(1_000):
        stalled_s = disk.stalled_s(wait.began, wait.seconds)
        assert wait.seconds - stalled_s <= PAUSE_S, (
            f"{wait}, disk {stalled_s:.3f} s\n{diary.with_waits(load)}"
        )
