"""From a request's head to an `Exchange`: routes, fields, parameters, limits.

Called when the header fields are complete, so that what is wrong is refused before its body is waited for.
Pure but for reading the listener's state; raises Problem.
"""

import re
from hashlib import blake2b
from typing import Final

from ringkeep.core.protocol.client_requests import ANY, Kind, Request
from ringkeep.core.protocol.limits import KEY_BYTES, KIB
from ringkeep.http import problems
from ringkeep.http.connection.batch_call import BatchCall
from ringkeep.http.connection.exchange import KEEP, AppRequest, Exchange
from ringkeep.http.connection.listener_state import ListenerState
from ringkeep.http.connection.long_poll import LongPoll
from ringkeep.http.limits import (
    BATCH_BYTES,
    HEADER_BYTES,
    HEADER_COUNT,
    IN_FLIGHT,
    PUT_BODY_BYTES,
    TARGET_BYTES,
)
from ringkeep.http.parse.batch_body import parse_batch
from ringkeep.http.parse.header_fields import (
    check_charset,
    check_encoding,
    idempotency_key,
    read_tags,
    stored_content_type,
    write_condition,
)
from ringkeep.http.parse.operation_body import one_condition, parse_operation
from ringkeep.http.parse.put_body import check_value, parse_put
from ringkeep.http.parse.target import (
    USUAL_WAIT_MS,
    check_key,
    parse_key,
    parse_query,
    parse_stale,
    parse_timeout,
    parse_version,
    parse_wait,
    unquote,
)
from ringkeep.http.parse.time_to_live import parse_ttl
from ringkeep.http.problems import Problem, bad, busy, wrong_method
from ringkeep.http.routes import (
    BATCH,
    DELETE3,
    FIXED,
    GET3,
    KV,
    KV_DELETE,
    KV_GET,
    KV_POST,
    KV_PUT,
    KV_ROUTES,
    PUT3,
    methods_of,
)

_TIMEOUT: Final = frozenset({b"timeout"})
_READ: Final = frozenset({b"timeout", b"consistency", b"at_least"})
_PARAMETERS: Final = {
    PUT3: _TIMEOUT,
    GET3: _READ | {b"key"},
    DELETE3: _TIMEOUT | {b"key"},
    KV_PUT: _TIMEOUT | {b"ttl"},
    KV_GET: _READ | {b"newer_than", b"wait"},
    KV_DELETE: _TIMEOUT,
    KV_POST: _TIMEOUT,
    BATCH: _TIMEOUT,
}
_KINDS: Final = {
    PUT3: Kind.PUT,
    GET3: Kind.GET,
    DELETE3: Kind.DELETE,
    KV_PUT: Kind.PUT,
    KV_GET: Kind.GET,
    KV_DELETE: Kind.DELETE,
    KV_POST: Kind.ADD,  # until its body says which operation it is
    BATCH: Kind.BATCH,
}

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) (/[!-~]*) HTTP/1\.[01]\r\n")
_PARSED: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"})

# Fields with a meaning here, in the spelling used by `fields`; those that browsers and curl send are named to
# save the search. A field that may be repeated is a list: its lines are joined (RFC 9110, 5.3).
_MEANT: Final = (
    "Host",
    "Origin",
    "Sec-Fetch-Site",
    "Sec-Fetch-Mode",
    "Accept-Language",
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Transfer-Encoding",
    "Expect",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
)
_LISTS: Final = frozenset({
    b"if-match", b"if-none-match", b"content-encoding", b"sec-fetch-site", b"sec-fetch-mode",
    b"accept-language",
})  # fmt: skip
_SPELLINGS: Final = {
    spelling.encode(): name.lower().encode() for name in _MEANT for spelling in (name, name.lower())
} | {b"User-Agent": b"", b"Accept": b"", b"Connection": b"", b"Accept-Encoding": b"", b"Date": b""}

Fields = dict[bytes, bytes]


def read_fields(headers: list[tuple[bytes, bytes]]) -> Fields:
    """Return the fields with a meaning, by lower-case name. Raises Problem: 431, 400 for a repeated one."""
    fields: Fields = {}
    size = 0
    for name, value in headers:
        size += len(name) + len(value) + 4
        field = _SPELLINGS.get(name)
        if field is None:
            field = _SPELLINGS.get(name.lower())
        if not field:
            continue
        value = value.strip(b" \t")
        if field in fields:
            if field not in _LISTS:
                raise bad(f"The header field {field.decode()} is given twice.")
            value = fields[field] + b", " + value
        fields[field] = value
    if size > HEADER_BYTES or len(headers) > HEADER_COUNT:
        raise headers_too_large()
    return fields


def read_head(
    exchange: Exchange,
    listener: ListenerState,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    version: str,
    keep_alive: bool,
) -> Fields:
    """Complete an exchange, whose method is known, from the rest of its request's head; return the fields.

    Raises Problem if the request is refused; the exchange then knows how its answer has to look.
    """
    if version == "1.1":
        if not keep_alive:
            exchange.end_connection()
    elif keep_alive and version == "1.0":
        exchange.connection_line = KEEP
    else:
        exchange.end_connection()
    if version != "1.1" and version != "1.0":
        raise bad("The HTTP version is not served; use HTTP/1.1.")
    path, _, query = target.partition(b"?")
    fixed = FIXED.get(path)
    if fixed is not None:
        exchange.route = fixed[1]  # known first, because it decides how errors look
    if len(target) > TARGET_BYTES:
        raise uri_too_long()
    fields = read_fields(headers)
    host = fields.get(b"host")
    if target[:1] != b"/":
        target, host = _absolute(exchange, target)
        path, _, query = target.partition(b"?")
    if b"#" in target:
        raise bad("The URL holds a '#'; write it as '%23'.")
    if host:
        listener.hosts.check(path, host, fields)
    elif version == "1.1":
        raise bad("The header field Host is missing.")
    if b"transfer-encoding" in fields and (
        version == "1.0" or fields[b"transfer-encoding"].lower() != b"chunked"
    ):
        exchange.end_connection()  # where its body ends is open to doubt
        raise bad("The only transfer encoding served is 'chunked', in HTTP/1.1.")
    _route(exchange, path, query, fields)
    if exchange.request is None:
        exchange.app_request = AppRequest(target, headers)
    _admit(exchange, listener, fields)
    return fields


def _absolute(exchange: Exchange, target: bytes) -> tuple[bytes, bytes]:
    """Split a target of the form `http://host/path`; its host counts, not the field (RFC 9112, 3.2.2)."""
    if exchange.method == b"CONNECT":
        exchange.end_connection()  # what follows is not HTTP
    if exchange.method == b"CONNECT" or target == b"*":
        raise wrong_method("GET, HEAD, POST, PUT, DELETE")
    match = re.match(rb"http://([^/?#]+)(.*)", target, re.IGNORECASE | re.DOTALL)
    if match is None or match[2][:1] not in (b"/", b"?", b""):
        raise bad("The request target must be a path.")
    return (match[2] if match[2][:1] == b"/" else b"/" + match[2]), match[1]


def _route(exchange: Exchange, path: bytes, query: bytes, fields: Fields) -> None:
    """Find the route, and build its request; the admin app has none."""
    method = exchange.method
    if path.startswith(KV):
        route = KV_ROUTES.get(method)
        if route is None:
            raise wrong_method(methods_of(path))
        exchange.route = route
        request = _request(exchange, parse_query(query, _PARAMETERS[route]) if query else {}, fields)
        request.key = check_key(unquote(path[len(KV) :]))
    else:
        fixed = FIXED.get(path)
        if fixed is None:
            return
        exchange.route = fixed[1]
        if method != fixed[0]:
            raise wrong_method(methods_of(path))
        parameters = parse_query(query, _PARAMETERS[exchange.route]) if query else {}
        request = _request(exchange, parameters, fields)
        if exchange.route in (GET3, DELETE3):
            request.key = parse_key(parameters.get(b"key"))
    exchange.request = request


def _request(exchange: Exchange, parameters: Fields, fields: Fields) -> Request:
    """Make the request of a data route from its parameters and fields; the key is still missing."""
    route = exchange.route
    request = Request(_KINDS[route], b"", done=exchange.done)
    if parameters:
        if b"timeout" in parameters:
            request.timeout_ms = parse_timeout(parameters[b"timeout"])
        if b"at_least" in parameters:
            request.at_least = parse_version("at_least", parameters[b"at_least"])
        if b"consistency" in parameters:
            request.stale = parse_stale(parameters[b"consistency"])
        if b"ttl" in parameters:
            request.ttl_ms = parse_ttl(parameters[b"ttl"].decode("latin-1"), "The parameter")
    if route in (KV_GET, GET3):
        exchange.safe = True
        if route == KV_GET:
            exchange.match = read_tags("If-Match", fields.get(b"if-match"), weak=False)
            exchange.none_match = read_tags("If-None-Match", fields.get(b"if-none-match"), weak=True)
            _wait_for_change(exchange, request, parameters)
        return request
    request.condition = write_condition(fields.get(b"if-match"), fields.get(b"if-none-match"))
    if b"idempotency-key" in fields:
        request.idempotency = idempotency_key(fields[b"idempotency-key"])
    if route in (KV_PUT, PUT3, KV_POST, BATCH):
        if b"content-encoding" in fields:
            check_encoding(fields[b"content-encoding"])
        content_type = fields.get(b"content-type", b"")
        if route == KV_PUT:
            request.content_type = stored_content_type(content_type)
            exchange.body_limit = exchange.listener.value_bytes
        else:
            check_charset(content_type)
            exchange.body_limit = BATCH_BYTES if route == BATCH else PUT_BODY_BYTES
            if route == BATCH and request.condition != ANY:
                raise bad("A batch takes no If-Match and no If-None-Match: its conditions stand in its body.")
    return request


def _wait_for_change(exchange: Exchange, request: Request, parameters: Fields) -> None:
    """Have a read of one key wait until the key is in another state, if that is asked for."""
    if b"newer_than" not in parameters:
        if b"wait" in parameters:
            raise bad("'wait' goes together with 'newer_than', the version that you have (0: of no key).")
        return
    if request.stale or exchange.match is not None or exchange.none_match is not None:
        raise bad("'newer_than' does not go together with 'consistency=stale', If-Match or If-None-Match.")
    newer_than = parse_version("newer_than", parameters[b"newer_than"])
    wait_ms = parse_wait(parameters[b"wait"]) if b"wait" in parameters else USUAL_WAIT_MS
    exchange.poll = LongPoll(request, exchange.listener.service, newer_than, wait_ms)


def _admit(exchange: Exchange, listener: ListenerState, fields: Fields) -> None:
    """Refuse what cannot be taken now: no length, too long a body, a node that does not serve or is full."""
    route = exchange.route
    length = fields.get(b"content-length")
    if length is None:
        if route in (PUT3, KV_PUT, KV_POST, BATCH) and b"transfer-encoding" not in fields:
            body = "--data-binary; an empty value has Content-Length: 0" if route == KV_PUT else "-d '{…}'"
            raise Problem(
                problems.LENGTH,
                "The request has neither Content-Length nor a chunked body. Nothing was applied; "
                f"send one (curl: {body}).",
            )
    elif int(length) > exchange.body_limit:
        raise too_large(exchange)
    expect = fields.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise Problem(
            problems.EXPECTATION,
            "The only expectation served is 100-continue. Nothing was applied; leave it out.",
        )
    if exchange.request is None:
        return
    reason = listener.service.serving()
    if reason is not None:
        raise Problem(
            problems.UNAVAILABLE,
            f"This node does not serve data now: {reason.rstrip('.')}. Nothing was applied; try again.",
        )
    if listener.in_flight >= IN_FLIGHT:
        raise busy()


def unknown_method(data: bytes) -> Problem:
    """Return the problem of a method that the parser does not know; `data` is what it was reading."""
    match = _REQUEST_LINE.match(data)
    if match is None or match[1] in _PARSED:
        return bad("The method of the request is not one of HTTP's.")
    return wrong_method(methods_of(match[2].partition(b"?")[0]))


def uri_too_long() -> Problem:
    """Return the 414 of a request target over the limit."""
    return Problem(
        problems.URI_TOO_LONG,
        f"The URL is longer than {TARGET_BYTES} bytes. Nothing was applied; a key has at most {KEY_BYTES:,}.",
    )


def headers_too_large() -> Problem:
    """Return the 431 of too many or too long header fields."""
    return Problem(
        problems.HEADERS,
        f"The header fields are more than {HEADER_COUNT}, or longer than {HEADER_BYTES // KIB} KiB. "
        "Nothing was applied; send fewer.",
    )


def too_large(exchange: Exchange) -> Problem:
    """Return the 413 of a body over the route's limit."""
    return Problem(
        problems.TOO_LARGE,
        f"The body has more than {exchange.body_limit} bytes. Nothing was applied; "
        f"a value has at most {exchange.listener.value_bytes} bytes.",
    )


def complete(exchange: Exchange, body: bytes) -> None:
    """Give the body to the request. Raises Problem (400, 413)."""
    request = exchange.request
    if request is None:
        assert exchange.app_request is not None, "a request that was not refused is for somebody"
        exchange.app_request.body = body
        return
    route, most = exchange.route, exchange.listener.value_bytes
    if route == KV_PUT:
        request.value = body
    elif exchange.safe:
        return  # a read has no use for a body
    elif route == PUT3:
        request.key, request.value, request.ttl_ms = parse_put(body)
        check_value(request.value, most)
    elif route == KV_POST:
        operation = parse_operation(body)
        request.kind, request.value, request.content_type, request.ttl_ms, condition = operation
        request.condition = one_condition(request.condition, condition)
        if request.kind != Kind.ADD:  # what it has are numbers
            check_value(request.value, most)
    elif route == BATCH:
        batch = parse_batch(body)
        for step in batch.steps:
            if step.kind != Kind.ADD:
                check_value(step.value, most)
        exchange.call = call = BatchCall(batch, request, exchange.listener.service)
        if exchange.listener.in_flight + call.size > IN_FLIGHT:
            raise busy()
    if request.idempotency:
        request.fingerprint = _fingerprint(exchange, request)


def _fingerprint(exchange: Exchange, request: Request) -> bytes:
    """Return the digest of all that makes a write another one than one of the same Idempotency-Key.

    Length-prefixed, so that no two requests have one text. Nodes of all versions have to agree on it: without
    a ttl it is as it was before there were any.
    """
    name = exchange.method if exchange.route != KV_POST else request.kind.name.lower().encode()
    if exchange.call is not None:
        name = exchange.call.name
    if request.ttl_ms:
        name += b";ttl=%d" % request.ttl_ms
    content_type = request.content_type
    digest = blake2b(
        b"%b %d %d %b" % (name, request.condition, len(content_type), content_type), digest_size=16
    )
    digest.update(request.value)
    return digest.digest()
