"""The original three routes: POST /put, GET /get, DELETE /delete."""

import json
from base64 import b64encode

import pytest
from tests.support.http.wire import Wire

TRICKY = ["a&b", "a=b", "a+b", "a b", "a/b/../c", "//", "a%b", "a\x00b", "ä", "😀", "#?", '"', "\\", "{x}y"]


def quoted(text: str | bytes) -> str:
    """Percent-encode every byte: the form that no client gets wrong."""
    raw = text.encode() if isinstance(text, str) else text
    return "".join(f"%{byte:02X}" for byte in raw)


def put(wire: Wire, document: object, **headers: str | None) -> object:
    """POST /put and return the decoded answer, which must be a 200."""
    answer = wire.request("POST", "/put", json.dumps(document).encode(), **headers)
    assert answer.status == 200, answer
    return answer.json()


def test_put_get_delete(wire: Wire, key: str) -> None:
    stored = wire.request("POST", "/put", json.dumps({"key": key, "value": "v"}).encode())
    assert stored.status == 200
    assert stored.headers["content-type"] == "application/json"
    assert stored.headers["ringkeep-node"] and stored.headers["ringkeep-primary"]
    version = stored.json()["version"]
    assert stored.json() == {"status": "Success", "key": key, "version": version}
    assert wire.request("GET", f"/get?key={key}").json() == {"key": key, "value": "v", "version": version}
    assert wire.request("DELETE", f"/delete?key={key}").json() == {
        "status": "Success",
        "key": key,
        "deleted": True,
    }
    assert wire.request("DELETE", f"/delete?key={key}").json()["deleted"] is False
    missing = wire.request("GET", f"/get?key={key}")
    assert missing.status == 404
    assert missing.headers["content-type"] == "application/problem+json"
    problem = missing.json()
    assert (problem["status"], problem["key"], problem["outcome"]) == ("Failed", key, "not-applied")
    assert problem["error"] and problem["title"] and problem["type"] and problem["retryable"] is False


@pytest.mark.parametrize("tricky", TRICKY)
def test_tricky_keys_pass_through_query_and_path(wire: Wire, key: str, tricky: str) -> None:
    whole = key + tricky
    put(wire, {"key": whole, "value": tricky})
    assert wire.request("GET", f"/get?key={quoted(whole)}").json()["value"] == tricky
    answer = wire.request("GET", f"/v1/kv/{quoted(whole)}")
    assert answer.body == tricky.encode()
    assert wire.request("DELETE", f"/delete?key={quoted(whole)}").json() == {
        "status": "Success",
        "key": whole,
        "deleted": True,
    }


def test_plus_is_a_space_in_a_query_and_itself_in_a_path(wire: Wire, key: str) -> None:
    put(wire, {"key": f"{key} x", "value": "space"})
    put(wire, {"key": f"{key}+x", "value": "plus"})
    assert wire.request("GET", f"/get?key={key}+x").json()["value"] == "space"
    assert wire.request("GET", f"/get?key={key}%2Bx").json()["value"] == "plus"
    assert wire.request("GET", f"/v1/kv/{key}+x").body == b"plus"
    assert wire.request("GET", f"/v1/kv/{key}%20x").body == b"space"


def test_the_query_is_split_before_it_is_decoded(wire: Wire, key: str) -> None:
    put(wire, {"key": f"{key}&timeout=9x", "value": "v"})
    assert wire.request("GET", f"/get?key={key}%26timeout%3D9x&timeout=2s").json()["value"] == "v"
    assert wire.request("GET", f"/get?k%65y={key}%26timeout=9x").json()["value"] == "v"


def test_what_is_not_text_comes_as_base64(wire: Wire, key: str) -> None:
    raw_key = key.encode() + b"\xff"
    coded = {"key_base64": b64encode(raw_key).decode(), "value_base64": b64encode(b"\x80\x00").decode()}
    assert put(wire, coded)["key_base64"] == coded["key_base64"]  # type: ignore[index]  # JSON
    found = wire.request("GET", f"/get?key={quoted(raw_key)}").json()
    assert {name: found[name] for name in coded} == coded
    assert "key" not in found and "value" not in found
    assert wire.request("GET", f"/v1/kv/{quoted(raw_key)}").body == b"\x80\x00"
    assert (
        wire.request("DELETE", f"/delete?key={quoted(raw_key)}").json()["key_base64"] == coded["key_base64"]
    )
    assert wire.request("GET", f"/get?key={quoted(raw_key)}").json()["key_base64"] == coded["key_base64"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        'application/json; charset="UTF-8"',
        "application/json;charset=utf-8",
        "nonsense",
    ],
)
def test_any_content_type_will_do(wire: Wire, key: str, content_type: str | None) -> None:
    put(wire, {"key": key, "value": "v"}, content_type=content_type)


def test_values_keep_their_text(wire: Wire, key: str) -> None:
    for value in ("", '"quoted" \\ and \u0000', "ünïcödé 😀", "x" * 70_000):
        put(wire, {"value": value, "key": key})
        assert wire.request("GET", f"/get?key={key}").json()["value"] == value
        assert wire.request("GET", f"/v1/kv/{key}").body == value.encode()


BAD_BODIES = {
    "empty": b"",
    "not json": b"key=a&value=b",
    "cut off": b'{"key":"a","value":"b"',
    "something behind": b'{"key":"a","value":"b"} x',
    "an array": b'["key","value"]',
    "a string": b'"key"',
    "null": b"null",
    "no key": b'{"value":"b"}',
    "no value": b'{"key":"a"}',
    "empty key": b'{"key":"","value":"b"}',
    "long key": b'{"key":"' + b"k" * 1025 + b'","value":"b"}',
    "key a number": b'{"key":1,"value":"b"}',
    "key null": b'{"key":null,"value":"b"}',
    "value null": b'{"key":"a","value":null}',
    "value an object": b'{"key":"a","value":{"b":1}}',
    "value a bool": b'{"key":"a","value":true}',
    "unknown member": b'{"key":"a","value":"b","tll":"1s"}',
    "ttl a number": b'{"key":"a","value":"b","ttl":1}',
    "ttl null": b'{"key":"a","value":"b","ttl":null}',
    "ttl twice": b'{"key":"a","value":"b","ttl":"1s","ttl":"1s"}',
    "ttl without a unit": b'{"key":"a","value":"b","ttl":"30"}',
    "key twice": b'{"key":"a","key":"b","value":"c"}',
    "value twice": b'{"key":"a","value":"b","value":"b"}',
    "key twice, once escaped": b'{"key":"a","k\\u0065y":"b","value":"c"}',
    "both keys": b'{"key":"a","key_base64":"YQ==","value":"b"}',
    "both values": b'{"key":"a","value":"b","value_base64":"Yg=="}',
    "null beside": b'{"key":"a","value":"b","value_base64":null}',
    "bad base64": b'{"key":"a","value_base64":"Yg"}',
    "base64 with blanks": b'{"key":"a","value_base64":"Y g="}',
    "lone surrogate": b'{"key":"\\ud800","value":"b"}',
    "lone low surrogate": b'{"key":"a","value":"\\udc00"}',
    "surrogate as bytes": b'{"key":"\xed\xa0\x80","value":"b"}',
    "not utf-8": b'{"key":"\xff","value":"b"}',
    "utf-16": '{"key":"a","value":"b"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + b'{"key":"a","value":"b"}',
    "control character": b'{"key":"a\x01","value":"b"}',
    "trailing comma": b'{"key":"a","value":"b",}',
    "single quotes": b"{'key':'a','value':'b'}",
    "deep arrays": b"[" * 200_000,
    "deep arrays in a member": b'{"key":"a","value":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": b'{"key":' * 100_000,
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_is_not_the_documented_object_is_refused(wire: Wire, name: str) -> None:
    answer = wire.request("POST", "/put", BAD_BODIES[name])
    assert answer.status == 400, answer
    problem = answer.json()
    assert (problem["status"], problem["outcome"]) == ("Failed", "not-applied")
    assert problem["detail"] == problem["error"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?key",
        "?key=",
        "?key=a&key=b",
        "?key=a&key=a",
        "?kee=a",
        "?key=a&x=1",
        "?key=%",
        "?key=%4",
        "?key=%zz",
        "?key=" + "k" * 1025,
        "?key=a&timeout=",
        "?key=a&timeout=5",
        "?key=a&timeout=0s",
        "?key=a&timeout=31s",
        "?key=a&timeout=-1s",
        "?key=a&timeout=1.5s",
        "?key=a&timeout=30001ms",
        "?key=a&timeout=1s&timeout=1s",
        "?key=a&consistency=maybe",
        "?key=a&at_least=x",
        "?key=a&at_least=-1",
        "?key=a&at_least=99999999999999999999",
        "?key=a&%00=1",
    ],
)
def test_a_query_that_is_wrong_is_refused(wire: Wire, query: str) -> None:
    answer = wire.request("GET", f"/get{query}")
    assert answer.status == 400, answer
    assert answer.json()["status"] == "Failed"


@pytest.mark.parametrize("query", ["consistency=stale", "at_least=1", "x=1"])
def test_writes_take_no_parameters_of_reads(wire: Wire, key: str, query: str) -> None:
    assert wire.request("DELETE", f"/delete?key={key}&{query}").status == 400
    assert wire.request("POST", f"/put?{query}", b'{"key":"a","value":"b"}').status == 400


def test_stale_reads_tell_their_age(wire: Wire, key: str) -> None:
    put(wire, {"key": key, "value": "v"})
    for name in (key, f"{key}-missing"):
        answer = wire.request("GET", f"/get?key={name}&consistency=stale")
        assert answer.status in (200, 404)  # a replica may be behind, and says how far
        assert int(answer.headers["age"]) >= 0
    assert "age" not in wire.request("GET", f"/get?key={key}-missing").headers
    assert "age" not in wire.request("GET", f"/get?key={key}&consistency=linearizable").headers


def test_conditions_hold_on_the_original_routes_too(wire: Wire, key: str) -> None:
    body = json.dumps({"key": key, "value": "v"}).encode()
    assert wire.request("POST", "/put", body, if_none_match="*").status == 200
    refused = wire.request("POST", "/put", body, if_none_match="*")
    assert refused.status == 412
    assert refused.json()["status"] == "Failed" and refused.json()["key"] == key
    assert wire.request("DELETE", f"/delete?key={key}", if_match=refused.headers["etag"]).status == 200
