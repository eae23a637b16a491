"""A node that takes shorter values than the default, whichever way they come."""

import json
from collections.abc import Callable

import pytest
from tests.support.http.host import Host
from tests.support.http.wire import Wire

MOST = 100


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/kv/k", lambda value: value.encode()),
        ("POST", "/put", lambda value: json.dumps({"key": "k", "value": value}).encode()),
        ("POST", "/v1/kv/k", lambda value: json.dumps({"op": "append", "value": value}).encode()),
        (
            "POST",
            "/v1/batch",
            lambda value: json.dumps({"operations": [{"op": "put", "key": "k", "value": value}]}).encode(),
        ),
    ],
)
def test_a_longer_value_is_refused(
    make_host: Callable[..., Host], method: str, path: str, body: Callable[[str], bytes]
) -> None:
    host = make_host(value_bytes=MOST)
    with Wire(host.url) as wire:
        assert wire.request(method, path, body("v" * MOST)).status in (200, 201)
        refused = wire.request(method, path, body("v" * (MOST + 1)))
        assert refused.status == 413 and f"{MOST} bytes" in refused.json()["detail"]
        assert wire.request("POST", "/v1/kv/n", b'{"op": "add"}').status in (200, 201)
