"""Steering over HTTP: what orders look like, what is refused and how, and what reaches the service."""

import json
from functools import partial
from typing import Any

import pytest
from tests.support.http.host import Host
from tests.support.http.wire import Answer, Wire
from tests.support.wait import until

from ringkeep.core.cluster.cluster_settings import SETTINGS
from ringkeep.errors import Refusal

MOVES = "/v1/cluster/moves"
MOVE = {"partition": 3, "from": "node-1", "to": None, "bytes": 100, "bytes_done": 40, "rate": 20.0}
MOVE |= {"stage": "copying", "seconds_left": 3.0, "waits_for": None}
POSTS = [
    f"{MOVES}/pause",
    "/v1/cluster/nodes/node-1/drain",
    "/v1/cluster/nodes/node-1/decommission",
    "/v1/cluster/recover",
]


def post(wire: Wire, path: str, body: Any = None, **headers: str) -> Answer:
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.request("POST", path, raw, **headers)


def patch(wire: Wire, body: Any, **headers: str) -> Answer:
    return wire.request("PATCH", "/v1/cluster/settings", json.dumps(body).encode(), **headers)


def last_member(wire: Wire) -> dict[str, Any]:
    found: dict[str, Any] = wire.request("GET", "/v1/cluster").json()["members"][-1]
    return found


def refused(answer: Answer, status: int, slug: str) -> str:
    """Check the form of a refusal, and return what it says."""
    problem = answer.json()
    assert (answer.status, problem["type"]) == (status, f"/docs#{slug}"), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["outcome"] == "not-applied" and "Nothing was applied" in problem["detail"]
    assert problem["retryable"] is (status == 503)
    detail: str = problem["detail"]
    return detail


# --- moves ---------------------------------------------------------------------------------------------


def test_the_document_of_moves(wire: Wire) -> None:
    answer = wire.request("GET", MOVES)
    document = answer.json()
    assert set(document) == {
        "state", "limits", "planned", "running", "finished", "bytes_left", "rate", "seconds_left"
    }  # fmt: skip
    assert set(document["limits"]) == {"moves_at_once", "move_bytes_per_s"}
    assert answer.headers["cache-control"] == "no-store"


def test_moves_under_way_are_shown_as_the_service_has_them(host: Host, wire: Wire) -> None:
    host.service.steered.running = [MOVE]
    document = wire.request("GET", MOVES).json()
    assert document["running"] == [MOVE]
    assert (document["bytes_left"], document["rate"], document["seconds_left"]) == (60, 20.0, 3.0)


def moves_are(wire: Wire, state: str) -> bool:
    return bool(wire.request("GET", MOVES).json()["state"] == state)


def test_moves_are_held_and_go_on(wire: Wire) -> None:
    for verb, state in (("pause", "paused"), ("cancel", "cancelled"), ("resume", "running")):
        answer = post(wire, f"{MOVES}/{verb}")
        assert answer.status == 202 and set(answer.json()) == set(wire.request("GET", MOVES).json())
        until(partial(moves_are, wire, state), f"moves are {state}")
    assert post(wire, f"{MOVES}/resume", {}).status == 202
    assert "send none" in refused(post(wire, f"{MOVES}/resume", {"now": True}), 400, "bad-request")


# --- orders about a node -------------------------------------------------------------------------------


def test_a_node_is_drained_and_leads_again(wire: Wire) -> None:
    name = last_member(wire)["name"]
    answer = post(wire, f"/v1/cluster/nodes/{name}/drain")
    assert answer.status == 202 and answer.json()["watch"] == MOVES
    assert set(answer.json()["node"]) == set(last_member(wire)) and answer.json()["node"]["name"] == name
    until(lambda: last_member(wire)["state"] == "draining", f"{name} is draining")
    assert post(wire, f"/v1/cluster/nodes/{name}/undrain").status == 202
    until(lambda: last_member(wire)["state"] == "active", f"{name} is active again")


def test_a_node_gets_another_weight(wire: Wire) -> None:
    member = last_member(wire)
    path = f"/v1/cluster/nodes/{member['name']}/weight"
    assert post(wire, path, {"weight": member["weight"]}).json()["node"]["weight"] == member["weight"]
    for wrong in (
        None,
        {},
        {"weight": 0},
        {"weight": 101},
        {"weight": True},
        {"weight": 1.0},
        {"weight": "2"},
    ):
        assert "weight" in refused(post(wire, path, wrong), 400, "bad-request")


def test_what_reaches_the_service(host: Host, wire: Wire) -> None:
    base = "/v1/cluster/nodes/node%2D1-other-3"
    host.service.steered.members["node-1-other-3"]["state"] = "suspect"
    for verb, body in (
        ("weight", {"weight": 7}), ("drain", None), ("undrain", {}), ("decommission", None),
        ("decommission", {"dead": False}), ("decommission?dead=false", None),
    ):  # fmt: skip
        assert post(wire, f"{base}/{verb}", body).status == 202
    assert host.service.orders == [
        (verb, "node-1-other-3", 7 * (verb == "weight"))
        for verb in ("weight", "drain", "undrain", "decommission", "decommission", "decommission")
    ]


@pytest.mark.parametrize(
    ("query", "body"), [("?dead=true", None), ("", {"dead": True}), ("?dead=true", {"dead": True})]
)
def test_a_dead_node_is_given_up(host: Host, wire: Wire, query: str, body: Any) -> None:
    host.service.steered.members["node-1-other-3"]["state"] = "suspect"
    answer = post(wire, f"/v1/cluster/nodes/node-1-other-3/decommission{query}", body)
    assert answer.json()["node"]["state"] == "dead"
    assert host.service.orders == [("give-up", "node-1-other-3", 0)]


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?dead", None),
        ("?dead=1", None),
        ("?dead=true", {"dead": False}),
        ("?dead=true&dead=true", None),
        ("?force=true", None),
        ("", {"dead": 1}),
        ("", {"dead": None}),
        ("", {"dead": []}),
        ("", {"ded": True}),
        ("", b'{"dead": false, "dead": true}'),
    ],
)
def test_a_half_said_death_is_refused(wire: Wire, query: str, body: Any) -> None:
    name = last_member(wire)["name"]
    refused(post(wire, f"/v1/cluster/nodes/{name}/decommission{query}", body), 400, "bad-request")
    assert last_member(wire)["state"] == "active"


@pytest.mark.parametrize("verb", ["drain", "undrain", "decommission", "decommission?dead=true", "weight"])
def test_a_node_that_is_not_there(wire: Wire, verb: str) -> None:
    for name in ("nobody", "%FF", "a%20b"):
        body = {"weight": 2} if verb == "weight" else None
        refused(post(wire, f"/v1/cluster/nodes/{name}/{verb}", body), 404, "no-such-node")
    refused(post(wire, f"/v1/cluster/nodes/%2/{verb}", None), 400, "bad-request")


def test_a_node_that_lives_is_not_given_up(wire: Wire) -> None:
    name = last_member(wire)["name"]
    refused(post(wire, f"/v1/cluster/nodes/{name}/decommission?dead=true"), 409, "refused")
    assert last_member(wire)["state"] == "active"


# --- settings, plans, recovery, the copy of the map ------------------------------------------------------


def test_settings_are_shown_and_changed(wire: Wire) -> None:
    before = wire.request("GET", "/v1/cluster/settings").json()
    assert before == {"settings": wire.request("GET", "/v1/cluster").json()["settings"]}
    answer = patch(wire, {"moves_at_once": 5, "move_bytes_per_s": 1_000_000})
    assert answer.status == 202 and answer.json()["watch"] == MOVES
    assert answer.json()["settings"]["moves_at_once"] == 5

    def limits() -> Any:
        return wire.request("GET", MOVES).json()["limits"]

    until(lambda: limits() == {"moves_at_once": 5, "move_bytes_per_s": 1_000_000}, "the limits to change")
    assert patch(wire, {"moves_at_once": 8, "move_bytes_per_s": 0}).status == 202
    until(lambda: limits() == {"moves_at_once": 8, "move_bytes_per_s": 0}, "the limits to be as before")


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "moves_at_once"),
        ({"moves_at_once": 0}, "from 1 to 64"),
        ({"moves_at_once": 65}, "from 1 to 64"),
        ({"moves_at_once": True}, "whole number"),
        ({"moves_at_once": "8"}, "whole number"),
        ({"moves_at_once": 8.0}, "whole number"),
        ({"moves_at_once": 1e999}, "Infinity is no JSON"),
        ({"move_bytes_per_s": -1}, "from 0 to"),
        ({"move_bytes_per_s": 10**30}, "from 0 to"),
        ({"grace_ms": SETTINGS["grace_ms"].least - 1}, "from"),
        ({"replication": 2}, "1, 3 or 5"),
        ({"replication": True}, "1, 3 or 5"),
        ({"partitions": 512}, "no member 'partitions'"),
        ([], "not a JSON object"),
        ("8", "not a JSON object"),
    ],
)
def test_wrong_settings_change_nothing(wire: Wire, wanted: Any, says: str) -> None:
    before = wire.request("GET", "/v1/cluster/settings").json()
    assert says in refused(patch(wire, wanted), 400, "bad-request")
    assert wire.request("GET", "/v1/cluster/settings").json() == before


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", b'{"a":1}x', b"\xef\xbb\xbf{}", b"[" * 60_000, b'{"moves_at_once":8,"moves_at_once":8}'],
)
def test_what_is_no_json(wire: Wire, body: bytes) -> None:
    refused(wire.request("PATCH", "/v1/cluster/settings", body), 400, "bad-request")


def planned(wire: Wire, query: str) -> dict[str, Any]:
    """Return a plan. A cluster that has just begun may not know all sizes yet, and refuses it until then."""
    found: list[Answer] = []

    def look() -> bool:
        found.append(wire.request("GET", f"/v1/cluster/plan?{query}"))
        return found[-1].status != 503

    until(look, "the sizes of all partitions are known")
    plan: dict[str, Any] = found[-1].json()
    return plan


def test_a_plan_moves_nothing(wire: Wire) -> None:
    member = last_member(wire)
    for query, action in ((f"leave={member['name']}", "leave"), ("join=new-1&zone=z&weight=2", "join")):
        plan = planned(wire, query)
        assert set(plan) == {"action", "node", "replicas", "bytes", "minimum", "members"}
        assert plan["action"] == action and plan["node"] == query.partition("=")[2].partition("&")[0]
        fields = {"name", "replicas", "after", "primaries", "primaries_after"}
        assert all(set(each) == fields for each in plan["members"])
    assert last_member(wire) == member
    refused(wire.request("GET", "/v1/cluster/plan?leave=nobody"), 404, "no-such-node")
    refused(wire.request("GET", f"/v1/cluster/plan?join={member['name']}"), 409, "refused")


def test_a_plan_reaches_the_service_as_it_was_asked(host: Host, wire: Wire) -> None:
    for query in ("join=a", "join=a&zone=rack%207", "join=a&zone=r&weight=100", "leave=node-1"):
        wire.request("GET", f"/v1/cluster/plan?{query}")
    assert host.service.planned == [("join", "a", "", 1), ("join", "a", "r", 100), ("leave", "node-1", "", 1)]


@pytest.mark.parametrize(
    "query",
    ["", "join=a&leave=b", "zone=z", "leave=a&weight=2", "join=", "join=a%20b", "join=%FF", "join=a&weight=0",
     "join=a&weight=101", "join=a&weight=+1", "join=a&zone=%01", "join=a&join=a", "stay=a"],
)  # fmt: skip
def test_half_a_plan_is_refused(wire: Wire, query: str) -> None:
    refused(wire.request("GET", f"/v1/cluster/plan?{query}"), 400, "bad-request")


def test_recovery_needs_consent_and_a_reason(wire: Wire) -> None:
    for partitions in ([0], "all"):
        for said in ({}, {"accept_loss": False}, {"accept_loss": 1}):
            body = {"partitions": partitions} | said
            detail = refused(post(wire, "/v1/cluster/recover", body), 400, "bad-request")
            assert "lost for good" in detail and '"accept_loss": true' in detail
        refused(
            post(wire, "/v1/cluster/recover", {"partitions": partitions, "accept_loss": True}), 409, "refused"
        )


@pytest.mark.parametrize(
    "partitions", [None, [], "some", 17, [-1], [1.5], [True], [1, 1], ["1"], [70_000], {}]
)
def test_recovery_of_nothing_in_particular(wire: Wire, partitions: Any) -> None:
    body = {"partitions": partitions, "accept_loss": True}
    assert '"all"' in refused(post(wire, "/v1/cluster/recover", body), 400, "bad-request")


@pytest.mark.parametrize("lost", ["b", [1], {"b": 1}, None, [None]])
def test_who_is_lost_is_a_list_of_names(wire: Wire, lost: Any) -> None:
    body = {"partitions": "all", "accept_loss": True, "lost": lost}
    assert "'lost'" in refused(post(wire, "/v1/cluster/recover", body), 400, "bad-request")


def test_partitions_are_recovered(host: Host, wire: Wire) -> None:
    host.service.steered.lost = {7: (["b", "c"], ["a"]), 9: (["c"], ["a"])}
    body = {"partitions": [7], "accept_loss": True, "lost": ["b", "c", "b"]}
    answer = post(wire, "/v1/cluster/recover", body)
    row = {"partition": 7, "gone": ["b", "c"], "left": ["a"], "goes_on_with": "a", "begins_empty": False}
    assert (answer.status, answer.json()) == (202, {"partitions": [row]})
    assert host.service.steered.named_lost == ["b", "c"]
    answer = post(wire, "/v1/cluster/recover", {"partitions": "all", "accept_loss": True})
    assert [each["partition"] for each in answer.json()["partitions"]] == [9]


def test_the_copy_of_the_map(wire: Wire) -> None:
    copy = wire.request("GET", "/v1/cluster/copy").json()
    assert set(copy) == {"name", "id", "cluster", "cluster_id", "map_version", "map", "promised"}
    assert all(len(row) == 2 for row in copy["promised"])


# --- errors, and pages from elsewhere --------------------------------------------------------------------


def test_no_order_is_taken_while_zookeeper_is_away(host: Host, wire: Wire) -> None:
    host.service.steered.away = "ZooKeeper is away: no orders are taken."
    for path in POSTS[:3]:
        answer = post(wire, path)
        assert "away: no orders are taken. Nothing" in refused(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
    refused(patch(wire, {"moves_at_once": 8}), 503, "unavailable")
    refused(post(wire, POSTS[3], {"partitions": "all", "accept_loss": True}), 503, "unavailable")


def test_a_refusal_says_why(host: Host, wire: Wire) -> None:
    assert "as many nodes" in refused(patch(wire, {"replication": 5}), 409, "refused")


def test_a_refusal_of_any_route_is_one(host: Host, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> dict[str, Any]:
        raise Refusal("not now.")

    monkeypatch.setattr(host.service, "moves", refuse)
    assert refused(wire.request("GET", MOVES), 409, "refused") == "not now. Nothing was applied."


def test_a_defect_leaves_open_whether_an_order_was_taken(
    host: Host, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host.service, "hold_moves", lambda verb: {"state": object()})
    answer = post(wire, POSTS[0])
    assert answer.status == 500 and answer.json()["outcome"] == "unknown"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": "evil.example", "accept_language": "en"},
        {"host": "evil.example", "origin": "http://evil.example"},
    ],
)
def test_pages_from_elsewhere_cannot_steer(wire: Wire, headers: dict[str, str]) -> None:
    before = wire.request("GET", "/v1/cluster/settings").json()
    for path in POSTS:
        refused(post(wire, path, {"partitions": "all", "accept_loss": True}, **headers), 403, "foreign-page")
    refused(patch(wire, {"moves_at_once": 3}, **headers), 403, "foreign-page")
    assert wire.request("GET", "/v1/cluster/settings").json() == before
    assert wire.request("GET", MOVES).json()["state"] == "running"


def test_a_page_of_this_node_may_steer(wire: Wire) -> None:
    assert post(wire, f"{MOVES}/resume", origin=f"http://{wire.host}").status == 202


def test_encoded_bodies_are_refused(wire: Wire) -> None:
    for headers in ({"content_encoding": "gzip"}, {"content_type": "application/json; charset=utf-16"}):
        refused(patch(wire, {"moves_at_once": 8}, **headers), 415, "unsupported-media-type")


def test_a_body_too_large(base_url: str) -> None:
    with Wire(base_url) as wire:
        assert post(wire, POSTS[3], b" " * 70_000).status == 413
