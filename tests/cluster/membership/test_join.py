"""A node joins under load: it takes its share over, from the others only, and nobody notices."""

import pytest
from tests.support.cluster.ballast import Ballast
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.make_cluster import MakeCluster
from tests.support.cluster.recorder import Recorder
from tests.support.cluster.steering import shares, wait_even, wait_state
from tests.support.cluster.transfers import Transfers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

PARTITIONS, REPLICATION = 64, 3
MORE_THAN_FAIR = 1.15  # so much may a join move, of what an even share is


@pytest.fixture
def three(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(3, partitions=PARTITIONS).start().wait_ready().wait_active()


def test_newcomers_take_their_share_under_load(three: Cluster) -> None:
    ballast = Ballast(three)
    with Recorder(three) as load:
        load.go_on()
        for newcomer in ("n4", "n5"):  # with three nodes of three replicas no old node could get anything
            old = list(three.names)
            with Transfers(three, "n1") as seen:
                three.add(newcomer)
                three.start(newcomer).wait_ready(newcomer)
                load.use(newcomer)
                wait_state(three, newcomer, "active")
                wait_even(three, three.names)
            share = PARTITIONS * REPLICATION / len(three.names)
            print(f"{newcomer}: {len(seen.begun)} replicas moved, {share:g} would be fair; {shares(three)}")
            assert {each.to for each in seen.begun} == {newcomer}, f"moved between {old}: {seen.begun}"
            assert seen.done == seen.begun, "every move was one, and stayed"
            assert 0.9 * share <= len(seen.done) <= MORE_THAN_FAIR * share
            load.go_on()
        three.wait_whole()
    print(load.report())
    load.verify()
    ballast.verify("n5")
    three.wait_healthy()
