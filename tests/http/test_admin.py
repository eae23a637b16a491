"""The admin app: pages, health, metrics, the cluster routes, and the OpenAPI document."""

import html
import re
import subprocess
from typing import Any

import pytest
from starlette.routing import Route
from tests.support.http.host import Host
from tests.support.http.wire import Wire
from tests.support.paths import DOCS

from ringkeep.http.admin.app import make_app
from ringkeep.http.admin.change_routes import ChangeStreams
from ringkeep.http.openapi.examples import EXAMPLES

NEED_PARAMETERS = ("/get", "/v1/cluster/where", "/v1/cluster/plan")
ENDLESS = ("/v1/changes",)


def test_health(wire: Wire) -> None:
    assert wire.request("GET", "/livez").body == b"ok\n"
    ready = wire.request("GET", "/readyz?verbose")
    assert (ready.status, ready.body) == (200, b"ready\n")
    assert ready.headers["ringkeep-node"]


def test_a_node_that_is_not_ready_says_what_it_waits_for(host: Host, wire: Wire) -> None:
    host.service.waits_for = ["partition 7 to catch up"]
    short, long = wire.request("GET", "/readyz"), wire.request("GET", "/readyz?verbose")
    assert (short.status, short.body) == (503, b"not ready\n")
    assert long.status == 503 and b"partition 7 to catch up" in long.body
    assert wire.request("GET", "/livez").status == 200


def test_the_cluster_routes(wire: Wire) -> None:
    cluster = wire.request("GET", "/v1/cluster").json()
    assert {"cluster", "cluster_id", "map_version", "controller", "health", "zookeeper", "settings"} < set(
        cluster
    )
    assert {"name", "id", "http", "peer", "zone", "weight", "state"} < set(cluster["members"][0])
    partition = wire.request("GET", "/v1/cluster/partitions").json()["partitions"][0]
    assert {"partition", "epoch", "primary", "voters", "old_voters", "learners", "commit", "state"} == set(
        partition
    )
    where = wire.request("GET", "/v1/cluster/where?key=a+b%26").json()
    assert where["key"] == "a b&"
    assert {"key", "slot", "partition", "primary", "replicas"} == set(where)
    assert wire.request("GET", "/v1/cluster/where?key=%FF").json()["key_base64"] == "/w=="
    assert wire.request("GET", "/version").json()["version"]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/cluster?x=1",
        "/v1/cluster/where",
        "/v1/cluster/where?key=",
        "/v1/cluster/where?key=a&key=b",
        "/?x=1",
    ],
)
def test_wrong_queries(wire: Wire, target: str) -> None:
    answer = wire.request("GET", target)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["outcome"] == "not-applied"


def test_metrics(host: Host, wire: Wire) -> None:
    wire.request("GET", "/get?key=metrics")
    text = wire.request("GET", "/metrics").body.decode()
    assert re.search(r'^ringkeep_http_requests_total{method="GET",route="/get",status="404"} \d+', text, re.M)
    assert re.search(
        r'^ringkeep_http_request_seconds_bucket{le="\+Inf",method="GET",route="/get"} \d+', text, re.M
    )
    assert re.search(r"^ringkeep_http_requests_in_flight \d", text, re.M)
    assert re.search(r"^ringkeep_writes_total \d+", text, re.M)
    assert 'ringkeep_replicas{role="primary"} 1.0' in text
    counts = host.server.listener.counts[1]
    assert sum(counts.times.buckets) == sum(counts.statuses.values())


def test_the_pages_escape_and_call_nobody(host: Host, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = host.service.cluster()
    cluster["members"][0]["zone"] = "<script>alert(1)</script>"
    monkeypatch.setattr(host.service, "cluster", lambda: cluster)
    cluster["problems"] = ["<i>node-9</i> does not answer"]
    host.service.waits_for = ["<b>"]
    for path in ("/", "/docs"):
        page = wire.request("GET", path)
        assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
        text = page.body.decode()
        assert not any(tag in text for tag in ("<script", "<b>", "<i>"))
        assert not re.search(r'(src|href)="(https?:)?//', text)
        assert "default-src 'none'" in page.headers["content-security-policy"]
    text = wire.request("GET", "/").body.decode()
    assert "node-9&lt;/i&gt; does not answer" in text
    assert "node-1" in text and "healthy" in text and f"curl -X POST http://{wire.host}/put" in text


def references(node: Any) -> list[str]:
    """Return every $ref within a document."""
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [reference for value in node.values() for reference in references(value)]
    return [reference for value in node for reference in references(value)] if isinstance(node, list) else []


def test_the_openapi_document_is_whole(wire: Wire) -> None:
    document = wire.request("GET", "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    served = {(path, method) for path, item in document["paths"].items() for method in item}
    assert {("/put", "post"), ("/get", "get"), ("/delete", "delete")} < served
    assert {("/v1/kv/{key}", method) for method in ("get", "head", "put", "delete", "post")} < served
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    names = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))
    for path, item in document["paths"].items():
        if "get" in item and "{" not in path and path not in NEED_PARAMETERS + ENDLESS:
            assert wire.request("GET", path).status == 200


def test_every_route_is_in_the_openapi_document_and_in_the_text(host: Host, wire: Wire) -> None:
    document = wire.request("GET", "/openapi.json").json()["paths"]
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    for route in make_app(host.service, host.server.listener, ChangeStreams(host.service)).routes:
        assert isinstance(route, Route) and route.methods is not None
        methods = {method.lower() for method in route.methods - {"HEAD"}}
        assert methods == set(document.get(route.path, ())), f"{route.path} is not in the OpenAPI document"
        start, end = route.path.rpartition("/")[::2]
        assert (
            f"{route.path}`" in text
            or f"{route.path}?" in text
            or (f"{start}/" in text and f"`{end}`" in text)
        ), f"docs/http.md does not name {route.path}"


def test_every_problem_has_its_place_in_the_docs(wire: Wire) -> None:
    page = wire.request("GET", "/docs").body.decode()
    for target in ("/get?key=nothing-here", "/nope", "/get?key="):
        slug = wire.request("GET", target).json()["type"].removeprefix("/docs#")
        assert f'id="{slug}"' in page


def test_a_defect_in_the_admin_app_is_a_500(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.service, "cluster", lambda: {"cluster": object()})
    with Wire(host.url) as wire:
        answer = wire.request("GET", "/v1/cluster")
        assert answer.status == 500 and answer.json()["outcome"] == "not-applied"
    with Wire(host.url) as wire:
        assert wire.request("GET", "/livez").status == 200
    assert host.call(lambda: host.server.listener.in_flight) == 0


def test_every_operation_has_an_example_that_works(host: Host, wire: Wire) -> None:
    """Each is typed as it stands there, reads after writes; the answers have the members that are shown."""
    host.service.steered.lost = {7: (["node-2", "node-3"], ["node-1"])}
    document = wire.request("GET", "/openapi.json").json()
    names = [
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    ]
    assert sorted(names) == sorted(EXAMPLES)
    names.remove("write")
    for name in ("write", *names):
        command = EXAMPLES[name].command.replace("curl ", "curl -sS --fail-with-body ", 1)
        command = command.replace("{node}", host.url).replace("node-2", "node-1-other-1")
        done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=30, text=True)
        assert done.returncode == 0, f"{command}: {done}"
        for member in re.findall(r'"\w+":', EXAMPLES[name].answer):
            assert member in done.stdout, f"{command} has no {member}: {done.stdout}"


def test_the_docs_show_bodies_answers_and_examples(host: Host, wire: Wire) -> None:
    page = html.unescape(wire.request("GET", "/docs").body.decode())
    for shown in (
        f"curl -X POST {host.url}/put -H 'Content-Type: application/json' -d",
        """'{"key": "hello", "value": "world"}'""",
        '{"status":"Success","key":"hello","version":7}',
        "<code>key_base64</code></td><td>base64",
        "<code>members[].disk_full</code></td><td>boolean",
        "<code>accept_loss</code></td><td>true",
        "<code>ETag</code></td><td>The version, in quotes.",
        '{"op": "touch", "ttl": "10m"}',
    ):
        assert shown in page, shown
