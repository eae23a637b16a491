"""What lasts: one link that stays cut, a controller that has lost ZooKeeper alone; and then a node dies."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster.cluster import Cluster
from tests.support.cluster.crossings import Crossings
from tests.support.coordination.threaded_proxy import ThreadedProxy
from tests.support.wait import until

from ringkeep.coordination.server import ZooKeeperServer
from ringkeep.core.protocol.quorum import majority

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SERVED_S = 3.0
"""It takes 0.3 s on an idle machine, and a session with ZooKeeper lasts longer than this."""
SESSION = ("--zookeeper-session-ms", "6000")


@pytest.fixture
def crossed(zookeeper: ZooKeeperServer, tmp_path: Path) -> Iterator[tuple[Cluster, Crossings]]:
    """Five nodes, whose links can be cut one by one."""
    with Cluster(tmp_path / "c", zookeeper.hosts, 5, partitions=32, options=SESSION) as nodes:
        crossings = Crossings(nodes)
        try:
            start_in_line(nodes)
            yield nodes, crossings
        finally:
            nodes.end()
            crossings.close()


def start_in_line(nodes: Cluster) -> None:
    """Start one after the other, so that the members' line has them by their numbers."""
    first = nodes.names[0]
    for count, name in enumerate(nodes.names, start=1):
        nodes.start(name)
        until(partial(has_met, nodes, first, count), f"{first} to see {name} registered")
    nodes.wait_ready().wait_active()


def has_met(nodes: Cluster, via: str, count: int) -> bool:
    answer = nodes.ask(via, "GET", "/v1/cluster")
    return answer is not None and len(answer.json["members"]) == count


def order(nodes: Cluster, via: str, method: str, path: str, body: object = None) -> None:
    payload = None if body is None else json.dumps(body).encode()
    answer = nodes.request(via, method, path, payload, {"Content-Type": "application/json"})
    assert answer.status == 202, answer


def complains(nodes: Cluster, via: str, lost: str) -> bool:
    return any(problem.startswith(f"{lost} ") for problem in nodes.cluster(via)["problems"])


def unserved(nodes: Cluster, via: str, lost: str, cut: set[str]) -> list[dict[str, Any]]:
    """Return the partitions that are not served, though a majority of their voters reach each other."""
    found = []
    for part in nodes.partitions(via):
        alive = [voter for voter in part["voters"] if voter != lost]
        apart = len(alive) - 1 if cut and cut <= set(alive) else len(alive)
        if apart >= majority(len(part["voters"])) and (part["primary"] == lost or part["state"] != "active"):
            found.append(part)
    return found


def test_a_link_of_the_controllers_stays_cut_and_another_node_dies(
    crossed: tuple[Cluster, Crossings],
) -> None:
    nodes, crossings = crossed
    controller, via, *others = nodes.names
    assert nodes.cluster()["controller"] == controller
    # The one of whom the controller must be told: it votes with the victim, and the controller does not. The
    # next in line (`via`) hears both, so that nobody but the controller acts.
    victim, other = next(
        (victim, other)
        for victim in others
        for other in others
        if other != victim
        and any(
            part["primary"] == victim and other in part["voters"] and controller not in part["voters"]
            for part in nodes.partitions()
        )
    )
    crossings.cut(controller, other)
    for name, lost in ((controller, other), (other, controller)):
        until(partial(complains, nodes, name, lost), f"{name} to miss {lost}")
    crossings.dead(victim)
    killed, pair = time.monotonic(), {controller, other}
    nodes.kill(victim)
    until(
        lambda: not unserved(nodes, via, victim, pair),
        lambda: f"others to serve for {victim}, while {pair} are cut: {unserved(nodes, via, victim, pair)}",
    )
    took_s = time.monotonic() - killed
    print(f"{victim} killed, {controller} and {other} cut: served again after {1000 * took_s:.0f} ms")
    assert took_s < SERVED_S
    order(nodes, other, "PATCH", "/v1/cluster/settings", {"moves_at_once": 3})
    until(
        lambda: nodes.cluster(controller)["settings"]["moves_at_once"] == 3,
        "an order that was given at the far end of the cut to be carried out",
    )
    order(nodes, controller, "POST", f"/v1/cluster/nodes/{via}/drain")
    until(
        lambda: all(part["primary"] != via for part in nodes.partitions(via)),
        lambda: f"{via} to lead nothing: {nodes.partitions(via)}",
    )


def test_a_controller_that_has_lost_zookeeper_alone_delays_no_failover(
    zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    with Cluster(tmp_path / "c", zookeeper.hosts, 4, partitions=16, options=SESSION) as nodes:
        ways = {name: ThreadedProxy(int(zookeeper.hosts.rpartition(":")[2])) for name in nodes.names}
        try:
            for name, way in ways.items():
                nodes.places[name].zookeeper = way.hosts
            nodes.start().wait_ready().wait_active()
            controller = nodes.cluster()["controller"]
            victim = nodes.most_primaries(set(nodes.names) - {controller})
            via = next(name for name in nodes.names if name not in (controller, victim))
            led = sum(part["primary"] == victim for part in nodes.partitions(via))
            assert led, "somebody must take over from it"
            ways[controller].cut()
            killed = time.monotonic()
            nodes.kill(victim)
            until(
                lambda: not unserved(nodes, via, victim, set()),
                lambda: f"others to serve for {victim}: {nodes.partitions(via)}",
            )
            took_s = time.monotonic() - killed
            print(
                f"{victim} with {led} primaries killed, {controller} without ZooKeeper:"
                f" served after {1000 * took_s:.0f} ms"
            )
            assert took_s < SERVED_S
            until(
                lambda: nodes.cluster(controller)["zookeeper"] == "disconnected",
                "the controller to give ZooKeeper up",
            )
            order(nodes, controller, "PATCH", "/v1/cluster/settings", {"moves_at_once": 3})
            until(
                lambda: nodes.cluster(via)["settings"]["moves_at_once"] == 3,
                "an order to a node without ZooKeeper to be carried out",
            )
        finally:
            nodes.end()
            for way in ways.values():
                way.close()
