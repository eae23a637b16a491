"""The routes: by which number each is known, how a target names it, which methods it serves, what is counted.

Knows nothing of how a route is served: the data routes are in `connection`, all others in `admin`.
"""

import re
from typing import Final

from ringkeep.histogram import Histogram

ROUTES: Final = (
    ("POST", "/put"),
    ("GET", "/get"),
    ("DELETE", "/delete"),
    ("PUT", "/v1/kv/{key}"),
    ("GET", "/v1/kv/{key}"),
    ("DELETE", "/v1/kv/{key}"),
    ("POST", "/v1/kv/{key}"),
    ("POST", "/v1/batch"),
    ("*", "other"),
)
PUT3, GET3, DELETE3, KV_PUT, KV_GET, KV_DELETE, KV_POST, BATCH, OTHER = range(len(ROUTES))
"""The routes by number. The first three are the original ones; OTHER is the admin app and what is unknown."""

FIXED: Final = {
    path.encode(): (method.encode(), number)
    for number, (method, path) in enumerate(ROUTES)
    if number in (PUT3, GET3, DELETE3, BATCH)
}
"""Method and number of each data route whose path names no key, by its path."""

KV: Final = b"/v1/kv/"
"""What stands before the key in the path of the raw routes."""

KV_ROUTES: Final = {
    b"GET": KV_GET,
    b"HEAD": KV_GET,
    b"PUT": KV_PUT,
    b"DELETE": KV_DELETE,
    b"POST": KV_POST,
}

KEYS_PATH: Final = "/v1/kv"
CHANGES_PATH: Final = "/v1/changes"
MOVES_PATH: Final = "/v1/cluster/moves"
NODES_PATH: Final = "/v1/cluster/nodes"
SETTINGS_PATH: Final = "/v1/cluster/settings"
RECOVER_PATH: Final = "/v1/cluster/recover"

HOLDS: Final = ("pause", "resume", "cancel")
"""Orders about all moves, as the path below MOVES_PATH says them."""

NODE_ORDERS: Final = ("drain", "undrain", "decommission", "weight", "forget")
"""Orders about one node, as the path below NODES_PATH says them."""

_POSTED: Final = re.compile(
    f"{MOVES_PATH}/(?:{'|'.join(HOLDS)})|{NODES_PATH}/[^/]+/(?:{'|'.join(NODE_ORDERS)})|{RECOVER_PATH}".encode()
)


def methods_of(path: bytes) -> str:
    """Return the methods that a path serves, as the header field Allow has them."""
    if path in FIXED:
        return FIXED[path][0].decode()
    if path.startswith(KV):
        return ", ".join(method.decode() for method in KV_ROUTES)
    if path == KEYS_PATH.encode():
        return "DELETE, GET, HEAD"
    if path == CHANGES_PATH.encode():
        return "GET, HEAD, POST"
    if _POSTED.fullmatch(path):
        return "POST"
    return "GET, HEAD, PATCH" if path == SETTINGS_PATH.encode() else "GET, HEAD"


class RouteCounts:
    """Requests of one route: by status, and by time from the last byte of the request to its answer."""

    __slots__ = ("method", "path", "statuses", "times")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.statuses: dict[int, int] = {}
        self.times = Histogram()

    def count(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.times.add(seconds)
