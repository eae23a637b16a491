"""What a request meets on its way through a node that forwards it: the same answers everywhere."""

import sys
from urllib.parse import quote_from_bytes

import pytest
from tests.support.cluster.cluster import Cluster, kv
from tests.support.transport.connections import connections_at
from tests.support.wait import until

from ringkeep.core.protocol.effects import Lane

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

ODD_KEYS = (
    b"a&b=c", b"a+b", b"a b", b"a%2Bb", b"100%", b"\0", b"a\0b", "🦊".encode(), b"\xff\xfe", b"a/../b", b"//",
    b".", b"?x#y", b'"\\', b"{}", b"{tag}1", b"key=", b"\r\n", b"x" * 1_024,
)  # fmt: skip


def test_no_key_breaks_on_its_way_through_another_node(nodes: Cluster) -> None:
    for key in ODD_KEYS:
        [via] = nodes.strangers(key)
        nodes.stored(via, key, b"value of " + key)
    for key in ODD_KEYS:  # only now: a key taken for another one would have overwritten it
        [via] = nodes.strangers(key)
        for name in (via, nodes.where(key)["primary"]):
            nodes.holds(name, key, b"value of " + key)
        if key.isascii() and b"\xff" not in key:
            answer = nodes.request(via, "GET", "/get?key=" + quote_from_bytes(key, safe=""))
            assert answer.json["key"] == key.decode() and answer.json["value"] == f"value of {key.decode()}"
    assert nodes.request("n1", "GET", "/get?key=a+b").json["value"] == "value of a b"


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/json",
        'Application/JSON; charset="UTF-8"',
        "text/plain",
        "application/x-www-form-urlencoded",
    ],
)
def test_any_content_type_will_do(nodes: Cluster, kind: str) -> None:
    key = f"typed {kind}"
    [via] = nodes.strangers(key.encode())
    headers = {"Content-Type": kind} if kind else {}
    answer = nodes.request(
        via, "POST", "/put", b'{"key":"%b","value":"v"}' % key.replace('"', '\\"').encode(), headers
    )
    assert answer.status == 200 and answer.json["status"] == "Success", answer
    nodes.holds(via, key.encode(), b"v")
    assert nodes.request(via, "PUT", kv(key.encode()), b"w", headers).status == 200
    for name in nodes.names:
        assert nodes.get(name, key.encode()).headers["Content-Type"] == (kind or "application/octet-stream")


def test_a_wrong_method_is_told_the_right_ones(nodes: Cluster) -> None:
    routes = {"/put": {"POST"}, "/get?key=k": {"GET"}, "/delete?key=k": {"DELETE"},
              "/v1/kv/k": {"GET", "HEAD", "PUT", "POST", "DELETE"}, "/v1/kv": {"GET", "HEAD", "DELETE"},
              "/v1/batch": {"POST"}}  # fmt: skip
    for path, right in routes.items():
        for method in {"GET", "PUT", "POST", "DELETE", "PATCH"} - right:
            answer = nodes.request("n1", method, path, b"{}")
            assert answer.status == 405, f"{method} {path}: {answer}"
            assert right <= set(answer.headers["Allow"].replace(" ", "").split(",")), answer.headers["Allow"]


def test_delete_answers_the_same_through_every_node(nodes: Cluster) -> None:
    key = b"deleted"
    for path, there, gone in ((kv(key), (204, b""), 404), ("/delete?key=deleted", (200, b"true"), 200)):
        for name in nodes.names:
            nodes.stored(name, key, b"v")
            first, second = nodes.request(name, "DELETE", path), nodes.request(name, "DELETE", path)
            assert first.status == there[0] and there[1] in first.body, f"through {name}: {first}"
            assert second.status == gone, f"through {name}: {second}"
            if gone == 200:
                assert (first.json["deleted"], second.json["deleted"]) == (True, False)
            assert nodes.get(name, key).status == 404


def test_connections_between_nodes_are_kept(nodes: Cluster) -> None:
    """A connection for each lane each way between any two nodes, the same before and after a load."""
    ports = [place.peer for place in nodes.places.values()]
    wanted = len(ports) * (len(ports) - 1) * len(Lane)
    until(
        lambda: len(connections_at(ports)) == wanted,
        lambda: f"{wanted} connections; there are {connections_at(ports)}",
    )
    before, left_over = connections_at(ports), connections_at(ports, every_state=True)
    for number in range(50):
        for name in nodes.names:
            nodes.stored(name, f"many-{number}".encode(), name.encode())
        assert connections_at(ports) == before
    new = connections_at(ports, every_state=True) - left_over
    assert not new, f"connections that came, and perhaps went: {new}"
