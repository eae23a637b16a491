"""The fake node keeps the promises that the HTTP tests rely on: asked over HTTP, as a real node is."""

from tests.support.http.wire import Wire


def test_versions_only_grow_also_across_a_delete(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    versions = []
    for _ in range(3):
        versions.append(int(wire.request("PUT", path, b"v").headers["etag"].strip('"')))
        assert wire.request("DELETE", path).status == 204
    assert versions == sorted(set(versions))


def test_a_failed_condition_writes_nothing(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    tag = wire.request("PUT", path, b"v", content_type="a/b").headers["etag"]
    assert wire.request("PUT", path, b"w", if_match='"1x"').status == 412
    found = wire.request("GET", path)
    assert (found.body, found.headers["etag"], found.headers["content-type"]) == (b"v", tag, "a/b")


def test_a_failed_condition_is_the_first_result_too(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    assert wire.request("PUT", path, b"v", if_match="*", idempotency_key="i").status == 412
    assert wire.request("PUT", path, b"v").status == 201
    assert wire.request("PUT", path, b"v", if_match="*", idempotency_key="i").status == 412


def test_an_idempotency_key_belongs_to_one_data_key(wire: Wire, key: str) -> None:
    assert wire.request("PUT", f"/v1/kv/{key}-a", b"v", idempotency_key="i").status == 201
    assert wire.request("PUT", f"/v1/kv/{key}-b", b"w", idempotency_key="i").status == 201
    assert wire.request("GET", f"/v1/kv/{key}-b").body == b"w"
