#!/usr/bin/env python3
"""A counter that many programs may increase at the same time, by compare-and-set.

    examples/counter.py visits http://127.0.0.1:8000 http://127.0.0.1:8010
    examples/counter.py visits --add 5 --times 10 http://127.0.0.1:8000

Each step reads the value with its version, and writes the sum on the condition that the version is still the
same (`If-Match`). A 412 means that another program was faster: read again, and decide again.

An answer may be lost although the write was applied. So each attempt has an `Idempotency-Key` of its own, and
is repeated with that key, through any node, until its result is known: a repetition changes nothing and is
told the first result. Without that, a counter would be increased twice, or not at all.

Exit codes: 0 done, 1 refused (nothing was added by this step), 4 the result of the last step is not known.
Uses the standard library only.
"""

import argparse
import http.client
import os
import sys
import time
import uuid
from itertools import cycle
from urllib.parse import quote, urlsplit

PATIENCE_S = float(
    os.environ.get("PATIENCE_S", "60")
)  # for one step; results are kept for 15 minutes or more
PAUSE_S = 0.1

DECIDED = {200, 201, 404, 412}  # the result of the request, whichever of its copies was answered
NOT_NOW = {408, 429, 503, 507}  # this copy was not applied, and never will be; try again
UNKNOWN = {500, 504}  # it may have been applied


class Refused(Exception):
    """The step was not applied, and never will be."""


class Unknown(Exception):
    """The step may have been applied."""


class Store:
    """One key-value store, reached through whichever of its nodes answers."""

    def __init__(self, nodes: list[str]) -> None:
        self._addresses = cycle([urlsplit(node).netloc for node in nodes])

    def settle(
        self, method: str, key: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, str]:
        """Repeat a request until it is decided. Return status, body and ETag. Raises Refused or Unknown.

        A write must have an Idempotency-Key.
        """
        deadline = time.monotonic() + PATIENCE_S
        maybe_applied = False
        said = "no node answers"
        for address in self._addresses:
            if time.monotonic() > deadline:
                raise Unknown(said) if maybe_applied else Refused(said)
            connection = http.client.HTTPConnection(address, timeout=10)
            try:
                connection.connect()
            except OSError as error:  # nothing was sent: the next node, please
                said = f"{address}: {error}"
                time.sleep(PAUSE_S)
                continue
            try:
                connection.request(method, f"/v1/kv/{quote(key, safe='')}?timeout=2s", body, headers)
                answer = connection.getresponse()
                status, content = answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                said = f"{address}: the connection broke ({error})"
                maybe_applied = method != "GET"
            else:
                if status in DECIDED:
                    return status, content, answer.headers.get("ETag", "")
                said = f"{address}: {status} {content.decode(errors='replace')}"
                if status in UNKNOWN:
                    maybe_applied = method != "GET"
                elif status not in NOT_NOW and not maybe_applied:
                    raise Refused(said)  # it is wrong, and would be wrong again
                # "Not applied" is said of one copy alone: one that was sent before may still have been.
            finally:
                connection.close()
            time.sleep(PAUSE_S)
        raise AssertionError("there is at least one node")


def add(store: Store, key: str, amount: int) -> int:
    """Add to the counter exactly once, and return the sum. Raises Refused or Unknown."""
    while True:
        status, content, etag = store.settle("GET", key, None, {})
        if status == 404:
            total, condition = amount, {"If-None-Match": "*"}
        else:
            total, condition = int(content) + amount, {"If-Match": etag}
        # The key names this attempt. The next one has another condition, so it is another request.
        headers = condition | {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "text/plain"}
        status, _, _ = store.settle("PUT", key, str(total).encode(), headers)
        if status in (200, 201):
            return total
        assert status == 412, "another program was faster"


def main() -> int:
    parser = argparse.ArgumentParser(description="Increase a counter, exactly once for each step.")
    parser.add_argument("key")
    parser.add_argument("nodes", nargs="+", metavar="NODE", help="http://HOST:PORT")
    parser.add_argument("--add", type=int, default=1, metavar="N")
    parser.add_argument("--times", type=int, default=1, metavar="N")
    options = parser.parse_args()
    store = Store(options.nodes)
    for _ in range(options.times):
        try:
            print(add(store, options.key, options.add), flush=True)
        except Refused as error:
            print(f"counter: not added: {error}", file=sys.stderr)
            return 1
        except Unknown as error:
            print(f"counter: it is not known whether it was added: {error}", file=sys.stderr)
            return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
