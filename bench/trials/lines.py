"""A listing as a stream of lines from a node, read in parts. It may end early: it is read on elsewhere."""

import http.client
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

from harness.load import Endpoint
from trials.judge import END

READ_BYTES = 1 << 18
ANSWER_S = 40.0  # a node gives up a page sooner


class EndedEarly(Exception):
    """The stream has no last line, or one that says that it failed."""


def stream(endpoint: Endpoint, query: str, after: bytes) -> Iterator[list[bytes]]:
    """Yield the whole lines of a stream from behind a key on, as they come. Raises EndedEarly."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=ANSWER_S)
    try:
        path = f"/v1/kv?{query}&timeout=10s" + (f"&after={quote_from_bytes(after, safe='')}" if after else "")
        connection.request("GET", path, headers={"Accept": "application/x-ndjson"})
        reply = connection.getresponse()
        if reply.status != 200:
            raise EndedEarly(f"answered {reply.status}")
        yield from _lines(reply)
    except (OSError, http.client.HTTPException) as error:
        raise EndedEarly(type(error).__name__) from None
    finally:
        connection.close()


def _lines(reply: http.client.HTTPResponse) -> Iterator[list[bytes]]:
    parts: list[bytes] = []  # of a line that is not whole
    while part := reply.read1(READ_BYTES):
        if b"\n" not in part:
            parts.append(part)
            continue
        *lines, rest = b"".join([*parts, part]).split(b"\n")
        parts = [rest]
        last = lines[-1]
        if last.startswith(END):
            if lines[:-1]:
                yield lines[:-1]
            if last.startswith(END + b"true"):
                return
            raise EndedEarly("a last line that says so")
        yield lines
    raise EndedEarly("no last line")
