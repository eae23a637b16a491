"""What an operator does to a cluster and sees of it, over HTTP: orders, moves, members, who holds what."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.support.cluster.cluster import Answer, Cluster
from tests.support.wait import until, until_each

ACCEPTED, CONFLICT = 202, 409
RECOVER_ALL = {"partitions": "all", "accept_loss": True}
PASSING = (
    "still registered", "has not reported yet", "must be named", "has a majority", "still answers",
    "answers, and is not lost", "is connected to ZooKeeper, and changes",
)  # fmt: skip
"""Why a recovery is refused for a while after a loss: until it is seen by everybody, and told."""
MOVED_S = 60.0  # for moves of some dozens of replicas, two map writes a second


def order(nodes: Cluster, path: str, body: Any = None, *, via: str = "", method: str = "POST") -> Answer:
    """Give an order through a node that runs; return the answer, whatever it is."""
    content = b"" if body is None else json.dumps(body).encode()
    return nodes.request(via or nodes.running()[0], method, f"/v1/cluster/{path}", content)


def ordered(nodes: Cluster, path: str, body: Any = None, *, via: str = "", method: str = "POST") -> Any:
    """Give an order, which must be taken."""
    answer = order(nodes, path, body, via=via, method=method)
    assert answer.status == ACCEPTED, f"{path} {body}: {answer}"
    return answer.json


def refused(nodes: Cluster, path: str, body: Any = None, *, via: str = "", method: str = "POST") -> str:
    """Give an order that must be refused because it makes no sense now; return the reason."""
    answer = order(nodes, path, body, via=via, method=method)
    assert answer.status == CONFLICT, f"{path} {body}: {answer}"
    return str(answer.json["detail"])


def settings(nodes: Cluster, **wanted: int) -> None:
    """Change settings, and wait until every node knows."""
    ordered(nodes, "settings", wanted, method="PATCH")
    until_each(
        nodes.running(),
        lambda name: nodes.cluster(name)["settings"].items() >= wanted.items(),
        lambda name: f"{name} to know of {wanted}; it has {nodes.cluster(name)['settings']}",
    )


def member(nodes: Cluster, name: str, via: str = "") -> dict[str, Any] | None:
    """Return what a node says of a member; None if the map names no such node."""
    members = nodes.cluster(via or None)["members"]
    return next((each for each in members if each["name"] == name), None)


def moves(nodes: Cluster, via: str = "") -> dict[str, Any]:
    found: dict[str, Any] = nodes.request(via or nodes.running()[0], "GET", "/v1/cluster/moves").json
    return found


def wait_state(nodes: Cluster, name: str, state: str | None, limit_s: float = MOVED_S) -> None:
    """Wait until the members have this node in this state, by every node's word; None: do not name it."""

    def seen() -> list[str | None]:
        found = [member(nodes, name, via) for via in nodes.running()]
        return [each["state"] if each is not None else None for each in found]

    until(lambda: set(seen()) == {state}, lambda: f"{name} to be {state}: {seen()}; {moves(nodes)}", limit_s)


def replicas(partition: dict[str, Any]) -> set[str]:
    return {*partition["voters"], *partition["old_voters"], *partition["learners"]}


def is_still(partitions: Iterable[dict[str, Any]]) -> bool:
    """Whether no partition is changing its replicas."""
    return all(not each["learners"] and not each["old_voters"] for each in partitions)


def wait_moved(nodes: Cluster, limit_s: float = MOVED_S) -> None:
    """Wait until nothing is planned or under way any more, by every node's word."""

    def left() -> list[Any]:
        found = [moves(nodes, via) for via in nodes.running()]
        return [each for one in found for each in (*one["planned"], *one["running"])]

    until(lambda: not left(), lambda: f"the moves to end; left: {left()[:4]}", limit_s)


def shares(nodes: Cluster) -> tuple[Counter[str], Counter[str]]:
    """Return how many replicas every node holds, and how many partitions it leads."""
    partitions = nodes.partitions()
    held = Counter(name for each in partitions for name in replicas(each))
    return held, Counter(each["primary"] for each in partitions)


def most(total: int, count: int) -> int:
    """Return how many of `total` one of `count` equal nodes may have: 1.1 times the mean, in whole things."""
    return max(-(-total // count), total * 11 // (count * 10))


def is_even(nodes: Cluster, names: Iterable[str], replication: int = 3) -> bool:
    """Whether these nodes, and no other, hold and lead what is theirs, none more than 1.1 times the mean."""
    names = set(names)
    held, led = shares(nodes)
    count, partitions = len(names), nodes.partition_count
    return (
        set(held) == names
        and set(led) == names
        and max(held.values()) <= most(partitions * replication, count)
        and max(led.values()) <= most(partitions, count)
    )


def wait_even(nodes: Cluster, names: Iterable[str], replication: int = 3, limit_s: float = MOVED_S) -> None:
    """Wait until these nodes share everything, and nothing changes any more."""
    names = list(names)
    until(
        lambda: is_still(nodes.partitions()) and is_even(nodes, names, replication),
        lambda: f"{names} to share everything; they have {shares(nodes)}; {moves(nodes)}",
        limit_s,
    )


def recovered(nodes: Cluster, *lost: str, via: str = "") -> list[dict[str, Any]]:
    """Order that everything goes on without these nodes, until it is taken; return what was told."""

    def taken() -> Any:
        answer = order(nodes, "recover", RECOVER_ALL | {"lost": lost}, via=via)
        if answer.status != ACCEPTED:
            assert any(reason in answer.body.decode() for reason in PASSING), answer
        return answer.json.get("partitions")

    found: list[dict[str, Any]] = until(
        taken, "the loss to be seen by everybody, and the recovery to be taken"
    )
    return found
