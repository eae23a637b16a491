"""Keys that come and go while the stock is listed: some among it, some before and behind."""

import http.client
import itertools
import threading
from typing import Final

from harness.load import Endpoint, key_path
from trials.stock import Stock

COUNT: Final = 200
PAUSE_S: Final = 0.02


def passing_keys(stock: Stock) -> frozenset[bytes]:
    """Return names between those of the stock."""
    step = max(stock.count // COUNT, 1)
    return frozenset(f"{stock.key(number)}~".encode() for number in range(0, stock.count, step))


class Passing:
    """Writes and deletes them, one after the other. Use as a context. What became of a request does not
    matter: each key may be there or not.
    """

    def __init__(self, endpoints: list[Endpoint], keys: frozenset[bytes]) -> None:
        self.changes = 0
        self._endpoints, self._keys = list(endpoints), sorted(keys)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="passing keys", daemon=True)

    def __enter__(self) -> "Passing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        ways = itertools.cycle(self._endpoints)
        connection: http.client.HTTPConnection | None = None
        for method in itertools.cycle(("PUT", "DELETE")):
            for key in self._keys:
                if self._over.wait(PAUSE_S):
                    return
                connection = connection or http.client.HTTPConnection(*next(ways), timeout=10)
                try:
                    connection.request(method, key_path(key).decode(), b"here" if method == "PUT" else None)
                    reply = connection.getresponse()
                    reply.read()
                    self.changes += reply.status < 300
                except (OSError, http.client.HTTPException):
                    connection.close()
                    connection = None
