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


def test_a_listing_shows_what_was_written_before_it(wire: Wire, key: str) -> None:
    tag = wire.request("PUT", f"/v1/kv/{key}", b"v").headers["etag"]
    found = wire.request("GET", f"/v1/kv?prefix={key}&values=true").json()["items"]
    assert [(each["version"], each["value"]) for each in found] == [(int(tag.strip('"')), "v")]
    assert wire.request("DELETE", f"/v1/kv/{key}").status == 204
    assert wire.request("GET", f"/v1/kv?prefix={key}").json()["items"] == []


def test_a_deletion_leaves_what_is_newer_than_its_beginning(wire: Wire, key: str) -> None:
    assert wire.request("PUT", f"/v1/kv/{key}", b"v").status == 201
    until = wire.request("DELETE", f"/v1/kv?prefix={key}").json()["until"]
    assert wire.request("PUT", f"/v1/kv/{key}", b"w").status == 201
    assert wire.request("DELETE", f"/v1/kv?prefix={key}&until={until}").json()["count"] == 0
    assert wire.request("GET", f"/v1/kv/{key}").body == b"w"
