"""After a loss for good the best copy goes on, whoever holds it, and no version is given out again."""

from collections.abc import Iterator

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import SHORT_SESSION, Answer, Cluster, kv
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.steering import RECOVER_ALL, member, recovered, refused
from tests.support.coordination.threaded_proxy import ThreadedProxy
from tests.support.wait import until, until_each

from ringkeep.coordination.server import ZooKeeperServer
from ringkeep.core.protocol.limits import RECOVERY_STEP

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

FAILED = 412


def commits(nodes: Cluster, names: list[str], number: int) -> set[int | None]:
    return {nodes.partitions(name)[number]["commit"] for name in names}


def with_learner(nodes: Cluster, zookeeper: ThreadedProxy) -> int:
    """Add n4, and cut ZooKeeper off while it learns a partition; return which, once it holds all of that."""
    nodes.add("n4")
    nodes.start("n4")

    def learned() -> list[int]:
        zookeeper.mend()
        learning = [p["partition"] for p in nodes.partitions("n1") if p["learners"] == ["n4"]]
        if learning:
            zookeeper.cut()
            learning = [n for n in learning if nodes.partitions("n1")[n]["learners"] == ["n4"]]
        return learning

    number = int(until(learned, lambda: f"n4 to learn: {nodes.partitions('n1')}")[0])
    until(
        lambda: len(commits(nodes, nodes.names, number)) == 1,
        lambda: f"n4 to hold all of {number}: {commits(nodes, nodes.names, number)}",
    )
    return number


@pytest.fixture
def proxy(zookeeper: ZooKeeperServer) -> Iterator[ThreadedProxy]:
    found = ThreadedProxy(int(zookeeper.hosts.rpartition(":")[2]))
    yield found
    found.close()


@pytest.fixture
def three(make_cluster: MakeCluster, proxy: ThreadedProxy) -> Cluster:
    """Three nodes whose way to ZooKeeper can be cut."""
    return make_cluster(3, hosts=proxy.hosts, partitions=16, options=SHORT_SESSION).start().wait_whole()


@pytest.fixture
def five(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(5, partitions=16, options=SHORT_SESSION).start().wait_whole()


def test_a_learner_that_holds_everything_goes_on_when_all_voters_are_gone(
    three: Cluster, proxy: ThreadedProxy
) -> None:
    ballast = Ballast(three)
    number = with_learner(three, proxy)
    key = three.key_in(number, "late")
    version = three.stored("n1", key, b"last")
    until(lambda: len(commits(three, three.names, number)) == 1, "n4 to hold the last write too")
    gone = ["n1", "n2", "n3"]
    three.kill(*gone)
    three.names[:] = ["n4"]
    proxy.mend()
    told = {each["partition"]: each for each in recovered(three, *gone, via="n4")}
    assert (told[number]["goes_on_with"], told[number]["begins_empty"]) == ("n4", False)
    assert len(told) == 16, "every partition has lost its voters"
    three.wait_active("n4")
    three.holds("n4", key, b"last")
    ballast.verify("n4", number)
    again = three.stored("n4", key, b"after")
    assert again > RECOVERY_STEP > version
    three.kill("n4")
    three.start("n4").wait_ready("n4").wait_active("n4")
    three.holds("n4", key, b"after")


def test_a_learner_that_is_ahead_of_the_last_voter_goes_on(three: Cluster, proxy: ThreadedProxy) -> None:
    """The voter that is left is behind: it is filled anew, and goes on running."""
    Ballast(three)
    number = with_learner(three, proxy)
    key = three.key_in(number, "ahead")
    before = three.stored("n1", key, b"old")
    last = next(n for n in ("n3", "n2") if three.partitions("n1")[number]["primary"] != n)
    gone = [name for name in ("n1", "n2", "n3") if name != last]
    three.kill(last)
    version = three.stored(gone[0], key, b"new")
    until(
        lambda: len(commits(three, [*gone, "n4"], number)) == 1,
        lambda: f"n4 to hold the last write: {commits(three, [*gone, 'n4'], number)}",
    )
    three.kill(*gone)
    three.names[:] = left = [last, "n4"]
    proxy.mend()
    three.start(last)
    told = {each["partition"]: each for each in recovered(three, *gone, via="n4")}
    assert (told[number]["goes_on_with"], told[number]["left"]) == ("n4", ["n4", last])
    until_each(left, lambda via: three.wait_active(via), lambda via: f"{via} to see everything served")
    for via in left:
        three.holds(via, key, b"new")
    assert three.stored(last, key, b"newer") > RECOVERY_STEP > version > before
    three.kill(last)
    three.start(last)
    three.add("n5")
    three.start("n5")
    three.wait_ready().wait_healthy()
    for via in three.names:
        three.holds(via, key, b"newer")


def conditional(nodes: Cluster, via: str, key: bytes, version: int) -> Answer:
    return nodes.request(via, "PUT", kv(key), b"condition", {"If-Match": f'"{version}"'})


def test_a_node_that_is_cut_off_loses_nothing_for_those_that_it_does_not_hear(five: Cluster) -> None:
    """The sessions of the other four have expired, and they live."""
    ballast = Ballast(five)
    others = ["n2", "n3", "n4", "n5"]
    five.freeze(*others)
    until(
        lambda: (
            "must be named: --lost n2 --lost n3 --lost n4 --lost n5"
            in refused(five, "recover", RECOVER_ALL, via="n1")
        ),
        "the four to be silent, and their sessions to have expired",
    )
    named = RECOVER_ALL | {"lost": others[:3]}
    assert "must be named: --lost n5" in refused(five, "recover", named, via="n1")
    five.thaw(*others)
    five.wait_whole()
    for name in five.names:
        ballast.verify(name)
        assert member(five, "n1", name) is not None
    five.wait_healthy()


def test_no_version_is_given_out_twice_and_no_lost_one_is_met(five: Cluster) -> None:
    """The node that is left has none of the last writes, in any partition."""
    keys = [five.key_in(number, "key") for number in range(five.partition_count)]
    for key in keys:
        five.stored("n1", key, b"first")
    until(
        lambda: all(len(commits(five, five.names, n) - {None}) == 1 for n in range(five.partition_count)),
        "every replica to have everything",
    )
    five.kill("n1")
    until(
        lambda: all(p["primary"] != "n1" and p["state"] == "active" for p in five.partitions("n2")),
        "the others to lead everything",
    )
    lost = {key: [five.stored("n2", key, b"lost") for _ in range(20)] for key in keys}
    others = ["n2", "n3", "n4", "n5"]
    five.kill(*others)
    five.names[:] = ["n1"]
    five.start("n1")
    until(lambda: five.ask("n1", "GET", "/v1/cluster"), "n1 to answer")
    told = recovered(five, *others, via="n1")
    assert len(told) == five.partition_count
    assert {each["goes_on_with"] for each in told} == {"n1"}
    five.wait_active("n1")
    for key, versions in lost.items():
        assert conditional(five, "n1", key, versions[-1]).status == FAILED
        after = [five.stored("n1", key, b"after") for _ in range(20)]
        assert min(after) > RECOVERY_STEP > max(versions)
        assert all(conditional(five, "n1", key, version).status == FAILED for version in versions)
