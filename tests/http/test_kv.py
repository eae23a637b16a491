"""/v1/kv/{key}: raw bytes, entity tags, conditions, idempotency."""

import pytest
from tests.support.http.wire import Wire

from ringkeep.core.protocol.limits import VALUE_BYTES

WRITE_MISFITS = [
    {"if_match": "5"},
    {"if_match": 'W/"5"'},
    {"if_match": '"1", "2"'},
    {"if_match": '"1'},
    {"if_match": ""},
    {"if_none_match": '"5"'},
    {"if_none_match": ""},
    {"if_match": '"1"', "if_none_match": "*"},
    {"idempotency_key": ""},
    {"idempotency_key": "a b"},
    {"idempotency_key": "ä"},
    {"idempotency_key": "k" * 256},
]


def test_create_replace_read_delete(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    created = wire.request("PUT", path, b"one", content_type="text/x-test; a=b")
    assert (created.status, created.body) == (201, b"")
    replaced = wire.request("PUT", path, b"\x00\xfftwo", content_type="text/x-two")
    assert replaced.status == 200
    first, second = (int(answer.headers["etag"].strip('"')) for answer in (created, replaced))
    assert second > first > 0
    found = wire.request("GET", path)
    assert (found.status, found.body) == (200, b"\x00\xfftwo")
    assert found.headers["etag"] == f'"{second}"'
    assert found.headers["content-type"] == "text/x-two"
    assert found.headers["ringkeep-node"] and found.headers["ringkeep-primary"]
    head = wire.request("HEAD", path)
    assert (head.status, head.headers["content-length"]) == (200, "5")
    assert head.headers["etag"] == found.headers["etag"]
    deleted = wire.request("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    assert "content-length" not in deleted.headers
    for method in ("GET", "HEAD", "DELETE"):
        assert wire.request(method, path).status == 404
    again = wire.request("PUT", path, b"")
    assert again.status == 201 and int(again.headers["etag"].strip('"')) > second


def test_a_value_may_be_empty_and_its_type_is_octets_by_default(wire: Wire, key: str) -> None:
    assert wire.request("PUT", f"/v1/kv/{key}", b"").status == 201
    found = wire.request("GET", f"/v1/kv/{key}")
    assert (found.body, found.headers["content-type"]) == (b"", "application/octet-stream")


def test_a_stored_page_does_not_run_as_a_page_of_the_node(wire: Wire, key: str) -> None:
    wire.request("PUT", f"/v1/kv/{key}", b"<script>", content_type="text/html")
    found = wire.request("GET", f"/v1/kv/{key}")
    assert found.headers["content-security-policy"] == "sandbox"
    assert found.headers["x-content-type-options"] == "nosniff"


def test_paths_are_never_normalised(wire: Wire, key: str) -> None:
    for path in (f"/v1/kv/{key}/a/../b", f"/v1/kv/{key}//b", f"/v1/kv/{key}/./b", f"/v1/kv/{key}/"):
        assert wire.request("PUT", path, path.encode()).status == 201
        assert wire.request("GET", path).body == path.encode()
        assert wire.request("GET", path.replace(key + "/", key + "%2F")).body == path.encode()
    assert wire.request("GET", f"/v1/kv/{key}/b").status == 404
    assert wire.request("GET", f"/v1/../v1/kv/{key}/").status == 404
    assert wire.request("GET", f"//v1/kv/{key}/").status == 404


def test_compare_and_set(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    absent = wire.request("PUT", path, b"x", if_match="*")
    assert absent.status == 412 and "etag" not in absent.headers
    assert wire.request("PUT", path, b"x", if_match='"1"').status == 412
    tag = wire.request("PUT", path, b"one", if_none_match="*").headers["etag"]
    refused = wire.request("PUT", path, b"two", if_none_match="*")
    assert (refused.status, refused.headers["etag"]) == (412, tag)
    assert refused.json()["outcome"] == "not-applied" and refused.json()["status"] == 412
    for foreign in ('"0"', '"007"', '"abc"', '"-1"', '"99999999999999999999"'):
        refused = wire.request("PUT", path, b"two", if_match=foreign)
        assert (refused.status, refused.headers["etag"]) == (412, tag)
    newer = wire.request("PUT", path, b"two", if_match=tag)
    assert newer.status == 200
    assert wire.request("DELETE", path, if_match=tag).status == 412
    assert wire.request("DELETE", path, if_none_match="*").status == 412
    assert wire.request("GET", path).body == b"two"
    assert wire.request("PUT", path, b"three", if_match="*").status == 200
    assert wire.request("DELETE", path, if_match="*").status == 204


@pytest.mark.parametrize("headers", WRITE_MISFITS, ids=str)
def test_malformed_conditions_are_refused(wire: Wire, key: str, headers: dict[str, str]) -> None:
    for method, body in (("PUT", b"x"), ("DELETE", None)):
        answer = wire.request(method, f"/v1/kv/{key}", body, **headers)
        assert answer.status == 400, answer
        assert answer.json()["outcome"] == "not-applied"
    assert wire.request("GET", f"/v1/kv/{key}").status == 404


def test_conditional_reads(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    assert wire.request("GET", path, if_none_match="*").status == 404
    assert wire.request("GET", path, if_match="*").status == 412
    tag = wire.request("PUT", path, b"v").headers["etag"]
    for matching in (tag, "*", f"W/{tag}", f'"x", {tag}', f', "x" ,, {tag} ,'):
        for method in ("GET", "HEAD"):
            answer = wire.request(method, path, if_none_match=matching)
            assert (answer.status, answer.headers["etag"]) == (304, tag), matching
    for other in ('"x"', '"1x", "y"'):
        assert wire.request("GET", path, if_none_match=other).body == b"v"
    for broken in ("x", '"a" "b"', '"a', ","):
        assert wire.request("GET", path, if_none_match=broken).status == 400
    assert wire.request("GET", path, if_match=tag).status == 200
    assert wire.request("GET", path, if_match=f"W/{tag}").status == 412


def test_a_retry_returns_the_first_result(wire: Wire, key: str) -> None:
    path = f"/v1/kv/{key}"
    first = wire.request("PUT", path, b"one", idempotency_key="r1")
    wire.request("PUT", path, b"two")
    retry = wire.request("PUT", path, b"one", idempotency_key="r1")
    assert (retry.status, retry.headers["etag"]) == (201, first.headers["etag"])
    assert wire.request("GET", path).body == b"two"
    assert wire.request("PUT", path, b"other", idempotency_key="r1").status == 422
    assert wire.request("PUT", path, b"one", idempotency_key="r1", if_match="*").status == 422
    assert wire.request("PUT", path, b"one", idempotency_key="r1", content_type="a/b").status == 422
    reused = wire.request("DELETE", path, idempotency_key="r1")
    assert reused.status == 422 and reused.json()["outcome"] == "not-applied"
    assert wire.request("DELETE", path, idempotency_key="r2").status == 204
    assert wire.request("DELETE", path, idempotency_key="r2").status == 204
    body = f'{{"key":"{key}","value":"three"}}'.encode()
    version = wire.request("POST", "/put", body, idempotency_key="r3").json()["version"]
    assert wire.request("POST", "/put", body, idempotency_key="r3").json()["version"] == version


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 65_537, VALUE_BYTES])
def test_values_of_every_size_come_back(wire: Wire, key: str, size: int) -> None:
    value = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    assert wire.request("PUT", f"/v1/kv/{key}", value).status == 201
    assert wire.request("GET", f"/v1/kv/{key}").body == value
    assert wire.request("HEAD", f"/v1/kv/{key}").headers["content-length"] == str(size)


def test_a_key_of_1024_bytes_fits_in_every_form(wire: Wire, key: str) -> None:
    longest = key + "k" * (1024 - len(key))
    path = "/v1/kv/" + "".join(f"%{ord(c):02x}" for c in longest)
    assert wire.request("PUT", path, b"v").status in (200, 201)
    assert wire.request("GET", f"/v1/kv/{longest}").body == b"v"
    for path in (f"/v1/kv/{longest}x", f"/v1/kv/{longest}%78", "/v1/kv/"):
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            assert wire.request(method, path, b"v" if method == "PUT" else None).status == 400


@pytest.mark.parametrize("target", ["/v1/kv/a?x=1", "/v1/kv/a?prefix=", "/v1/kv/a?timeout=x", "/v1/kv/%f"])
def test_bad_targets(wire: Wire, target: str) -> None:
    assert wire.request("GET", target).status == 400


def test_content_types_that_cannot_be_kept(wire: Wire, key: str) -> None:
    assert wire.request("PUT", f"/v1/kv/{key}", b"", content_type="x" * 255).status == 201
    assert wire.request("PUT", f"/v1/kv/{key}", b"", content_type="x" * 256).status == 400
    assert wire.request("PUT", f"/v1/kv/{key}", b"", content_type="tëxt").status == 400
    assert wire.request("PUT", f"/v1/kv/{key}", b"", content_type="text/plain; charset=latin-1").status == 200


def test_at_least_is_met_or_refused(wire: Wire, key: str) -> None:
    version = wire.request("PUT", f"/v1/kv/{key}", b"v").headers["etag"].strip('"')
    assert wire.request("GET", f"/v1/kv/{key}?at_least={version}").body == b"v"
    answer = wire.request("GET", f"/v1/kv/{key}?at_least=9000000000000000000&timeout=50ms")
    assert answer.status == 503 and int(answer.headers["retry-after"]) > 0
