"""Cuts of which nobody is told: packets are lost without a refusal. How soon is everything written again?"""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.wires import Wires
from tests.support.coordination.threaded_proxy import ThreadedProxy
from tests.support.wait import until

from ringkeep.coordination.server import ZooKeeperServer

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="makes network namespaces"),
]

NODES, PARTITIONS = 5, 8
CUT_S = 2.5  # from a cut to a write of every partition through every node of the majority
HEAL_S = 2.0  # from healing to the same through every node
SPLIT_S = 0.5  # more than CUT_S: some links of the new majority must be made anew before it is one
FLAP_S = 1.5  # so long the node that flaps is there, and is not
PAUSE_S = 0.01


@pytest.fixture(scope="module")
def wires() -> Iterator[Wires]:
    with Wires() as made:
        yield made


@pytest.fixture(scope="module")
def running(
    wires: Wires, zookeeper: ZooKeeperServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    proxy = ThreadedProxy(int(zookeeper.hosts.rpartition(":")[2]), wires.host)
    try:
        directory = tmp_path_factory.mktemp("wired")
        with Cluster(directory, proxy.hosts, NODES, partitions=PARTITIONS, wires=wires) as cluster:
            cluster.start()
            yield cluster
    finally:
        proxy.close()


@pytest.fixture
def five(running: Cluster, wires: Wires) -> Iterator[Cluster]:
    wires.heal()
    running.wait_whole(60)
    yield running
    wires.heal()


def write_everywhere(
    cluster: Cluster, names: Sequence[str], since: float, partitions: Sequence[int] = range(PARTITIONS)
) -> float:
    """Write to these partitions through each of these nodes, all at once; return how long after `since` the
    last one was acknowledged."""

    def write(via: str, partition: int) -> float:
        key = cluster.key_in(partition, f"through-{via}")
        answer = cluster.put(via, key, b"value", timeout="20s")
        assert answer.status in (200, 201), f"PUT {key!r} through {via}: {answer}"
        return time.monotonic() - since

    with ThreadPoolExecutor(len(names) * PARTITIONS) as clients:
        jobs = [clients.submit(write, via, p) for via in names for p in partitions]
        return max(job.result() for job in jobs)


@pytest.mark.parametrize("cut_s", [1.7, 3.4, 6.8])
def test_a_silent_cut_is_got_over_and_so_is_its_end(five: Cluster, wires: Wires, cut_s: float) -> None:
    """The node that is cut off leads partitions, and once it is the controller.

    The cuts end just after TCP has sent again (after 1.4, 3.0 and 6.2 s), and would do so as late as can be.
    """
    lost = five.cluster()["controller"] if cut_s == 3.4 else five.most_primaries(five.names)
    rest = [name for name in five.names if name != lost]
    began = time.monotonic()
    wires.cut_off([lost], rest)
    took_s = write_everywhere(five, rest, began)
    until(lambda: time.monotonic() >= began + cut_s, "the end of the cut")
    healed = time.monotonic()
    wires.heal()
    healed_s = write_everywhere(five, five.names, healed)
    print(f"cut of {cut_s:g} s: written again after {took_s:.2f} s, and {healed_s:.2f} s after its end")
    assert took_s <= CUT_S
    assert healed_s <= HEAL_S


def test_a_cut_in_one_direction_is_found_out(five: Cluster, wires: Wires) -> None:
    """A primary whose words arrive nowhere, but who hears everybody, is replaced like a dead one."""
    lost = five.most_primaries(five.names)
    rest = [name for name in five.names if name != lost]
    began = time.monotonic()
    for name in rest:
        wires.mute(lost, name)
    took_s = write_everywhere(five, rest, began)
    healed = time.monotonic()
    wires.heal()
    healed_s = write_everywhere(five, five.names, healed)
    print(f"one way: written again after {took_s:.2f} s, and {healed_s:.2f} s after its end")
    assert took_s <= CUT_S
    assert healed_s <= HEAL_S


def test_splits_back_to_back_leave_every_majority_able_to_write(five: Cluster, wires: Wires) -> None:
    """Nodes that were apart a moment ago make the next majority: the links between them must be of use at
    once."""
    names, slowest_s = five.names, 0.0
    voters_of = [set(each["voters"]) for each in five.partitions()]
    for turn in range(6):
        minority = [names[turn % NODES], names[(turn + 2) % NODES]]
        majority = [name for name in names if name not in minority]
        electable = [number for number, voters in enumerate(voters_of) if len(voters & set(majority)) >= 2]
        began = time.monotonic()
        wires.heal()
        wires.cut_off(minority, majority)
        slowest_s = max(slowest_s, write_everywhere(five, majority, began, electable))
    print(f"six splits: written again after {slowest_s:.2f} s at most")
    assert slowest_s <= CUT_S + SPLIT_S


def test_a_node_that_flaps_holds_nobody_up(five: Cluster, wires: Wires) -> None:
    """It comes and goes; clients of the others wait no longer than for one cut."""
    flapping = five.most_primaries(five.names)
    rest = [name for name in five.names if name != flapping]
    over, longest = threading.Event(), dict.fromkeys(rest, 0.0)

    def write(via: str) -> None:
        number = 0
        while not over.is_set():
            key = five.key_in(number % PARTITIONS, f"beside-{via}")
            answer = five.put(via, key, b"value", timeout="20s")
            assert answer.status in (200, 201), answer
            longest[via] = max(longest[via], answer.seconds)
            number += 1
            over.wait(PAUSE_S)

    with ThreadPoolExecutor(len(rest)) as clients:
        jobs = [clients.submit(write, via) for via in rest]
        try:
            for _ in range(5):
                wires.cut_off([flapping], rest)
                time.sleep(FLAP_S)
                wires.heal()
                time.sleep(FLAP_S)
        finally:
            over.set()
        for job in jobs:
            job.result()
    print(f"beside a node that flaps: waited {max(longest.values()):.2f} s at most")
    assert max(longest.values()) <= CUT_S
